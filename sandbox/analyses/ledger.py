"""The ledger: what each arm was told and what it spent, so that no result can hide its price.

Action labels (a supervisor's answers), state labels (ground truth in a loss), reward evaluations and terminations seen
are counted by the runs; CPU-seconds are measured, joules measured or estimated, and never summed across the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sandbox import energy
from sandbox.analyses import _format
from sandbox.analyses._arms import Run, arms
from sandbox.analyses.table import LABELS, costs, rows

HEADER = (
    "env", "agent", "runs", "steps", "action labels", "state labels", "reward evaluations", "terminations seen",
    "CPU s", "wall s", "joules", "privileged", "levels",
)  # fmt: skip


def analyse(runs: Sequence[Run], folder: Path) -> Path:
    """Write ledger.md into `folder`; returns its path."""
    path = folder / "ledger.md"
    path.write_text(markdown(runs), "utf-8")
    return path


def markdown(runs: Sequence[Run]) -> str:
    """The table (means per run), the sum over all finished runs, and what the joules are."""
    return f"{_format.markdown_table(HEADER, _lines(runs))}\nMeans per run. {_total(runs)}\n"


def _lines(runs: Sequence[Run]) -> list[list[str]]:
    lines = []
    for row in rows(runs):
        told = [row["labels"] and row["labels"][kind] for kind in LABELS]
        numbers = [_format.count(x) for x in (row["steps"], *told, row["cpu_seconds"], row["seconds"])]
        notes = [", ".join(row["privileged"]) or "-", row["levels"] or "-"]
        lines.append([row["env"], row["agent"], _format.runs(row), *numbers, _format.joules(row["joules"]), *notes])
    return lines


def _total(runs: Sequence[Run]) -> str:
    spent = [cost for arm in arms(runs) for cost in costs(arm)]
    if not spent:
        return "No run has finished."
    sources = sorted({cost["joules"]["source"] for cost in spent})
    total = energy.add(*spent)
    text = f"All {len(spent)} finished runs: {_format.count(total['cpu_seconds'])} CPU s, "
    text += f"joules {_format.joules(total['joules'])}, largest peak memory {total['peak_memory_mb']:.0f} MB. "
    text += f"Joules: {_format.escape('; '.join(sources))}."
    if any(source.startswith(energy.MEASURED) for source in sources):
        text += " RAPL counts the whole machine: runs that ran side by side count each other."
    return text
