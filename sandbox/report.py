"""The report of a study: every analysis over its finished runs, in one folder, with the versions and commands.

A file in `sandbox/analyses` is a section here; nothing else has to know it. Data that came from outside (names of
environments and agents, versions) is escaped for where it is shown.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

import sandbox.analyses
from sandbox.analyses import _format
from sandbox.analyses._arms import Run, snapshot
from sandbox.analyses._format import to_csv, to_json
from sandbox.errors import UsageError
from sandbox.runs import find_runs, read_json

__all__ = ["build", "names", "render_table", "to_csv", "to_json"]

WIDE = 100  # columns from which a console gets one table for all environments
ENV_WIDTH = 16  # characters: the longest word of most ids
METHOD = """\
Final checkpoints only, extrinsic reward only. Seeds are the replicates: IQM over seeds with 95 % stratified bootstrap
percentile intervals (2,000 draws, generator seeded from the data). Under five seeds no winner is named; an interval of
the difference across zero reads "no evidence of a difference". At five to ten seeds such intervals are too narrow:
6 to 15 of 100 comparisons of equal arms would miss zero, not 5.
"""


def build(root: Path, found: Sequence[Run] | None = None) -> Path:
    """Run every analysis over `found` (all runs below `root`) and write `<root>/report/`; returns that folder.

    Raises:
        UsageError: where there is no run below `root`.
        CorruptFile: a run's file cannot be read.
        OSError: the report cannot be written (disk full, permission); the runs are untouched.
    """
    runs = [snapshot(run) for run in (find_runs(root) if found is None else found)]
    if not runs:
        raise UsageError(f"{root} holds no runs: name the folder of a run or of a study.")
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    written = {name: importlib.import_module(f"sandbox.analyses.{name}").analyse(runs, folder) for name in names()}
    sections = {name: path for name, path in written.items() if path is not None}  # None: nothing to say of these runs
    (folder / "report.md").write_text(_markdown(root, runs, sections), "utf-8")
    return folder


def names() -> list[str]:
    """The analyses: files in `sandbox/analyses` that do not begin with "_"; the main table first."""
    found = (module.name for module in pkgutil.iter_modules(sandbox.analyses.__path__))
    return sorted((name for name in found if not name.startswith("_")), key=lambda name: (name != "table", name))


def render_table(rows: Sequence[dict[str, Any]], console: Console, claims: Sequence[dict[str, Any]] = ()) -> None:
    """Print the rows (see `analyses.table.rows`) and the claims; fits in 100 columns.

    An environment is named in its first row, and not at all if it is the only one. A narrower console gets one table
    for each environment, which fits in 80 columns.
    """
    envs = list(dict.fromkeys(row["env"] for row in rows))
    if len(envs) == 1 or console.width >= WIDE:
        console.print(_table(rows, several=len(envs) > 1))
    else:
        for env in envs:
            console.print(Text(_format.plain(env)), _table([row for row in rows if row["env"] == env], several=False))
    silent = [claim for claim in claims if claim["text"].endswith("no winner named")]
    for claim in claims:
        if len(silent) < 2 or claim not in silent:
            prefix = f"{claim['env']}, " if len(envs) > 1 else ""
            console.print(Text(_format.plain(prefix + claim["text"])))
    if len(silent) > 1:  # one line for what says the same; the report has each
        console.print(Text(f"{len(silent)} comparisons of under five seeds: no winner named"))


def _table(rows: Sequence[dict[str, Any]], several: bool) -> Table:
    """The rows of one environment, or with a column that says which."""
    table = Table(box=SIMPLE, padding=0, show_edge=False)
    for name in ("env", "agent")[0 if several else 1 :]:
        table.add_column(name, overflow="fold")
    for name in ("runs", "success", "return", "steps", "labels", "CPU s", "joules"):
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for row in rows:
        env = "" if row["env"] == before else textwrap.fill(_format.plain(row["env"]), ENV_WIDTH)
        table.add_row(*map(Text, ([env] if several else []) + _cells(row)))
        before = row["env"]
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    told = row["labels"] and row["labels"]["actions"] + row["labels"]["states"]
    numbers = [_format.bracket(row["success"]), _format.bracket(row["return"])]
    counts = [_format.count(x) for x in (row["steps"], told, row["cpu_seconds"])]
    return [_format.plain(row["agent"]), _format.runs(row), *numbers, *counts, _format.joules(row["joules"])]


def _markdown(root: Path, runs: Sequence[Run], sections: dict[str, Path]) -> str:
    states = ", ".join(f"{n} {status}" for status, n in sorted(Counter(run.status for run in runs).items()))
    parts = [f"# {_format.escape(root.resolve().name)}\n", f"{len(runs)} runs: {_format.escape(states)}.\n"]
    for name, path in sections.items():
        parts.append(f"## {name.replace('_', ' ').capitalize()}\n\n{_section(path)}")
    parts += [f"## Method\n\n{METHOD}", f"## Versions\n\n{_versions(runs)}", f"## Commands\n\n{_commands(root, runs)}"]
    return "\n".join(parts)


def _section(path: Path) -> str:
    """A picture is shown, Markdown is taken in, any other file is linked."""
    if path.suffix == ".md":
        return path.read_text("utf-8")
    return f"{'!' if path.suffix == '.png' else ''}[{path.stem}]({quote(path.name)})\n"


def _versions(runs: Sequence[Run]) -> str:
    """Each entry of the runs' versions.json, with every value that occurs: more than one means a mixed study."""
    found: dict[str, dict[str, None]] = {}
    for path in (run.path / "versions.json" for run in runs):
        versions = read_json(path) if path.exists() else {}
        packages = versions.pop("packages", {})
        for name, value in (versions | packages).items():
            found.setdefault(name, {})[str(value)] = None
    lines = [f"{name}: {'; '.join(values)}" for name, values in sorted(found.items())]
    return "".join(f"* {_format.escape(line)}\n" for line in lines) or "Not recorded.\n"


def _commands(root: Path, runs: Sequence[Run]) -> str:
    """How to make this report again, and how to repeat one of its runs from its saved configuration."""
    repeat = ("sandbox", "train", "--config", str(runs[0].path / "config.json"), "--out", "again")
    again = [("sandbox", "report", str(root)), repeat]
    return "".join(f"    {_format.plain(shlex.join(words))}\n" for words in again)
