"""Ours beside what people would use instead, and what our runs cost. `make bench` sets up all it needs and runs it.

    python -m benchmarks [--only PART ...] [--quick]

Each part is written to benchmarks/results/PART.json and printed; docs/benchmark.md is made from those files. A
benchmark is not a test: it fails only if something cannot run.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import bonus_costs, interleave, page, whole_runs
from benchmarks.table import GROUPS
from sandbox.files import write_json
from sandbox.versions import versions

Measure = Callable[[], dict[str, Any]]


def group(name: str, rounds: int) -> dict[str, Any]:
    """Measures a group."""
    times, ready = interleave.take_turns(GROUPS[name].contenders, rounds)
    return {"rounds": rounds} | interleave.result(GROUPS[name], times, ready)


def parts(quick: bool) -> dict[str, Measure]:
    """Name -> what measures it."""
    rounds, steps = (1, 65_536) if quick else (5, 800_000)
    measures: dict[str, Measure] = {name: functools.partial(group, name, rounds) for name in GROUPS}
    measures["curiosity"] = functools.partial(bonus_costs.measure, rounds)
    measures["memory"] = functools.partial(whole_runs.memory, steps)
    measures["jobs"] = functools.partial(whole_runs.jobs, 5 * steps, 1 if quick else 3)
    return measures


def show(console: Console, name: str, found: dict[str, Any]) -> None:
    """The tables of the page, for the terminal."""
    for title, names, rows in page.tables(name, found):
        table = Table(*names, title=title, title_justify="left")
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(parts(False)), metavar="PART", help=", ".join(parts(False)))
    parser.add_argument("--quick", action="store_true", help="one round, short runs, nothing written")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    console = Console(width=None if sys.stdout.isatty() else 140)
    made = {"command": "make bench", "date": datetime.now(UTC).date().isoformat(), "versions": versions()}
    for name, measure in parts(options.quick).items():
        if options.only and name not in options.only:
            continue
        found = measure()
        show(console, name, found)
        if not options.quick:
            write_json(page.RESULTS / f"{name}.json", made | found)
    if not options.quick:
        console.print(f"written: {page.RESULTS}, {page.write()}")


if __name__ == "__main__":
    main()
