"""What the verbs print: a plan, a table, a crossing, and what to type next. Data go to stdout, notes to stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sandbox import report as reporting
from sandbox import terminal
from sandbox.analyses import _format, crossing
from sandbox.config import Experiment
from sandbox.listing import Row, to_csv, to_text
from sandbox.runs import Run
from sandbox.study import folder_of


def show_plan(experiments: list[Experiment], out: Path, workers: int, output: str) -> None:
    """What would run, where, and what it would cost at most."""
    rows, total = _plan_rows(experiments, out)
    as_data = {"json": lambda: json.dumps(rows, indent=2), "csv": lambda: to_csv(rows).rstrip()}
    print(as_data.get(output, lambda: to_text(rows))())
    counted = f"{len(rows)} run{'s' if len(rows) > 1 else ''}, {workers} at a time"
    (terminal.note if output in as_data else print)(
        f"{counted}; {total:,} environment steps are still to do, evaluations and what unfinished runs have saved aside"
    )


def _plan_rows(experiments: list[Experiment], out: Path) -> tuple[list[Row], int]:
    """A row for each run, and the steps of those that are not done."""
    from sandbox.plan import Plan, check_device, plan

    plans: dict[tuple[str, str], Plan] = {}  # the same for every seed
    rows, total = [], 0
    for one in experiments:
        key = one.agent, one.world.id
        resolved = plans[key] = plans.get(key) or plan(one)
        check_device(one.device)
        folder, state = folder_of(one, out), status(one, out)
        total += resolved.steps if state != "done" else 0
        rows.append(
            {"agent": one.agent, "world": one.world.id, "seed": str(one.seed), "steps": f"{resolved.steps:,}",
             "copies": str(resolved.copies), "encoder": resolved.encoder, "status": state, "folder": str(folder)}
        )  # fmt: skip
    return rows, total


def status(one: Experiment, out: Path) -> str:
    run = Run(folder_of(one, out))
    return run.status if run.config_file.exists() else "new"


def kept(run: Run) -> str:
    """What a run that was cut goes on from."""
    steps = [int(path.name.removeprefix("step-")) for path in run.checkpoints.glob("step-*")]
    return f"kept: the checkpoint of step {max(steps):,}" if steps else "nothing was saved yet: it would begin again"


def write(rows: list[dict[str, Any]], claims: list[dict[str, Any]], name: str, output: str) -> None:
    if output == "json":
        print(reporting.to_json(name, rows, claims))
    elif output == "csv":
        print(reporting.to_csv(rows), end="")
    else:
        from rich.console import Console

        terminal_out = Console(highlight=False)
        if not terminal_out.is_terminal:
            terminal_out = Console(highlight=False, width=120)
        reporting.render_table(rows, terminal_out, claims)
    sys.stdout.flush()


def write_crossing(found: list[crossing.World], output: str) -> None:
    """The rows as a table or CSV, the n* as sentences below the table; as JSON all that crossing.json holds."""
    if output == "json":
        print(json.dumps(crossing.to_json(found), indent=2, allow_nan=False))
        return
    for world in found:
        if output == "csv":
            print(to_csv([crossing.flat(row) for row in crossing.rows(world)]), end="")
        else:
            print(to_text(crossing.cells(world)) + "\n")
            print("\n".join(_format.plain(text) for text in crossing.sentences(world)))
    sys.stdout.flush()


def next_lines(lines: list[str]) -> None:
    terminal.note("\nnext:")
    for line in lines:
        terminal.note(f"  {line}")
