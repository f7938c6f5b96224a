"""The report of a study: every analysis over its finished runs, in one folder, with the versions and commands.

A file in `sandbox/analyses` is a section here; nothing else has to know it. Data that came from outside (names of
environments and agents, versions) is escaped for where it is shown.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

import sandbox.analyses
from sandbox import terminal
from sandbox.analyses import _format
from sandbox.analyses._arms import Run, snapshot
from sandbox.analyses._format import to_csv, to_json
from sandbox.errors import CorruptFile, UsageError
from sandbox.files import read_json
from sandbox.runs import find_runs

__all__ = ["build", "names", "render_table", "to_csv", "to_json"]

WIDE = 100  # columns from which a console gets one table for all environments
ENV_WIDTH = 16  # characters: the longest word of most ids
SPARE = ("joules", "CPU s", "labels", "steps", "return", "success", "runs")  # in the order that a narrow console drops
NOTHING = "No run has finished: there are no numbers yet."
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
    """Print the rows (see `analyses.table.rows`), their notes and the claims, in the console's width.

    An environment is named in its first row, and not at all if it is the only one. A narrower console gets one table
    for each environment, and what does not fit beside the agents' names is left out, the cheapest columns first.
    """
    envs = list(dict.fromkeys(row["env"] for row in rows))
    if len(envs) == 1 or console.width >= WIDE:
        left_out = _print_table(rows, console, several=len(envs) > 1)
    else:
        left_out = []
        for env in envs:
            console.print(Text(_format.plain(env)))
            left_out += _print_table([row for row in rows if row["env"] == env], console, several=False)
    notes = [f"no room for: {', '.join(dict.fromkeys(left_out))}"] if left_out else []
    notes += _format.notes(rows)
    notes += [] if any(row["runs"] for row in rows) else [NOTHING]
    for note in [*notes, *_said(claims, several=len(envs) > 1)]:
        console.print(Text(_format.plain(note)))


def _said(claims: Sequence[dict[str, Any]], several: bool) -> list[str]:
    """The claims as lines; one line for those that say the same, as the report has each."""
    silent = [claim for claim in claims if claim["text"].endswith("no winner named")]
    shown = [claim for claim in claims if len(silent) < 2 or claim not in silent]
    lines = [f"{claim['env']}, " * several + claim["text"] for claim in shown]
    return lines + [f"{len(silent)} comparisons of under five seeds: no winner named"] * (len(silent) > 1)


def _print_table(rows: Sequence[dict[str, Any]], console: Console, several: bool) -> list[str]:
    """Print the rows of one environment, or with a column that says which; returns the columns that did not fit."""
    columns = _columns(rows, several)
    least = max(map(cell_len, ["agent", *(word for name in columns["agent"] for word in _words(name))]))
    known = any(row["success"] for row in rows)
    spare = list(SPARE) if known else sorted(SPARE, key=lambda name: name != "success")  # an empty column first
    left_out: list[str] = []
    while spare and _rest(columns) + least > console.width:
        left_out.append(spare.pop(0))
        del columns[left_out[-1]]
    room = max(console.width - _rest(columns), 1)
    columns["agent"] = [_wrapped(name, room) for name in columns["agent"]]
    table = Table(box=SIMPLE, padding=0, show_edge=False)
    for name in columns:
        words = name in ("env", "agent")
        table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, line))
    console.print(table)
    return left_out


def _columns(rows: Sequence[dict[str, Any]], several: bool) -> dict[str, list[str]]:
    """Name -> a cell for each row; an environment in its first row only."""
    envs = [_format.plain(row["env"]) for row in rows]
    firsts = [env if env != before else "" for env, before in zip(envs, ["", *envs], strict=False)]
    told = [row["labels"] and row["labels"]["actions"] + row["labels"]["states"] for row in rows]
    return ({"env": [textwrap.fill(env, ENV_WIDTH) for env in firsts]} if several else {}) | {
        "agent": [_format.plain(row["agent"]) for row in rows],
        "runs": [_format.runs(row) for row in rows],
        "success": [_format.bracket(row["success"]) for row in rows],
        "return": [_format.bracket(row["return"]) for row in rows],
        "steps": [_format.count(row["steps"]) for row in rows],
        "labels": [_format.count(count) for count in told],
        "CPU s": [_format.count(row["cpu_seconds"]) for row in rows],
        "joules": [_format.joules(row["joules"]) for row in rows],
    }


def _rest(columns: dict[str, list[str]]) -> int:
    """Characters of a line without the agent's name, one between columns."""
    cells = [[name, *(line for cell in column for line in cell.split("\n"))] for name, column in columns.items()]
    widths = [max(map(cell_len, column)) for column in cells if column[0] != "agent"]
    return sum(widths) + len(widths)


def _words(agent: str) -> list[str]:
    """An agent's name in pieces that stay whole: "bc", ":labels=8", "+rnd", ":lr=1e-3"."""
    return re.findall(r"[+:,]?[^+:,]*", agent)[:-1] or [""]


def _wrapped(agent: str, room: int) -> str:
    """The name in lines of at most `room` characters, cut inside a word only where a word is longer."""
    lines = [""]
    for word in _words(agent):
        if cell_len(lines[-1] + word) > room and lines[-1]:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _markdown(root: Path, runs: Sequence[Run], sections: dict[str, Path]) -> str:
    states = ", ".join(f"{n} {status}" for status, n in sorted(Counter(run.status for run in runs).items()))
    parts = [f"# {_format.escape(root.resolve().name)}\n", f"{len(runs)} runs: {_format.escape(states)}.\n"]
    parts += [] if any(run.status == "done" for run in runs) else [f"{NOTHING}\n"]
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
    resumed: Counter[str] = Counter()
    for run in runs:
        first, *later = _made_with(run)
        for name, value in first.items():
            found.setdefault(name, {})[value] = None
        resumed.update(_change(old, new) for old, new in pairwise([first, *later]))
    lines = [f"{name}: {'; '.join(values)}" for name, values in sorted(found.items())]
    if resumed:
        each = "; ".join(f"{change} ({_times(n)})" for change, n in sorted(resumed.items()))
        lines.append(f"resumed on other versions {_times(resumed.total())}: {each}")
    return "".join(f"* {_format.escape(line)}\n" for line in lines) or "Not recorded.\n"


def _made_with(run: Run) -> list[dict[str, str]]:
    """What a run began on, then what it was resumed on each time that this differed; packages among the rest."""
    path = run.path / "versions.json"
    try:
        recorded = read_json(path) if path.exists() else {}
    except CorruptFile as error:  # no number depends on it
        terminal.note(f"warning: left out of the versions: {error}")
        recorded = {}
    resumed = recorded.pop("resumed", [])
    return [
        {name: str(value) for name, value in (one | one.get("packages", {})).items() if name != "packages"}
        for one in (recorded, *resumed)
    ]


def _change(old: dict[str, str], new: dict[str, str]) -> str:
    """'commit abc to def, torch 2.12.0 to 2.13.0'."""
    names = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name, 'none')} to {new.get(name, 'none')}" for name in names)


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _commands(root: Path, runs: Sequence[Run]) -> str:
    """How to make this report again, and how to repeat one of its runs from its saved configuration."""
    repeat = ("sandbox", "train", "--config", str(runs[0].path / "config.json"), "--out", "again")
    again = [("sandbox", "report", str(root)), repeat]
    return "".join(f"    {_format.plain(shlex.join(words))}\n" for words in again)
