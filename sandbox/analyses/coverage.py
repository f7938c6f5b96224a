"""Coverage: how much of what can be reached an arm visited, as numbers and as a map of all its training's visits.

A map adds up the visits of all seeds in logarithmic colours; what is blank was never visited.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.analyses import _format
from sandbox.analyses._arms import NUMBER, Arm, Run, Snapshot, by_env
from sandbox.analyses._format import bracket, markdown_table, plain

LEGEND = """\
`episode`: share of the reachable cells that an evaluation episode visits; `life`: share visited in training, where all
episodes have one level; `entropy`: of all visits in training, 1 where every cell was visited equally often. IQM over
seeds [95 % bootstrap interval]."""
MAPS = 48  # panels of the picture at most
PLACES = {  # in a result
    "episode": ("coverage", "evaluation"),
    "life": ("coverage", "training", "coverage"),
    "entropy": ("coverage", "training", "entropy"),
    "visits": ("coverage", "visits"),
}


def analyse(runs: Sequence[Run], folder: Path) -> Path:
    """Write coverage.md (and coverage.png where a world has a map) into `folder`; returns the former."""
    found = [(env, arm) for env, group in by_env(runs).items() for arm in group if arm.done]
    arms = [(env, arm) for env, arm in found if _told(arm)]
    path, picture = folder / "coverage.md", folder / "coverage.png"
    maps = [(env, arm) for env, arm in arms if _visits(arm)][:MAPS]
    picture.unlink(missing_ok=True)
    nothing = "No world of these runs counts what was visited.\n" if found else "No run has finished.\n"
    text = _table(arms) if arms else nothing
    if maps:
        _draw(maps, picture)
        text += "\n![visits in training](coverage.png)\n"
    path.write_text(text, "utf-8")
    return path


def rows(arms: Sequence[tuple[str, Arm]]) -> list[dict[str, Any]]:
    """One for each environment and arm: interval of each number, None where no seed has it."""
    return [
        {"env": env, "agent": arm.agent, "runs": len(_told(arm)), "failed": arm.failed, "unfinished": arm.unfinished}
        | {"notes": "; ".join(arm.notes)}
        | {name: _summary(arm, name) for name in ("episode", "life", "entropy")}
        for env, arm in arms
    ]


def _told(arm: Arm) -> list[Snapshot]:
    """The finished seeds whose results have a coverage."""
    return [run for run in arm.done if run.result and run.result.get("coverage")]


def _visits(arm: Arm) -> list[np.ndarray]:
    """Of every seed that has a map, how often each cell was visited in training."""
    return [np.array(visits, float) for visits in _known(arm, list, "visits")]


def _known(arm: Arm, kind: type | tuple[type, ...], name: str) -> list[Any]:
    """An entry of the seeds that have it: not all worlds count a life's coverage, nor do all agents train."""
    return [run.entry(kind, *PLACES[name]) for run in _told(arm) if _has(run, name)]


def _has(run: Snapshot, name: str) -> bool:
    found: Any = run.result
    for key in PLACES[name]:
        found = found.get(key) if isinstance(found, dict) else None
    return found is not None


def _summary(arm: Arm, name: str) -> dict[str, Any] | None:
    known = _known(arm, NUMBER, name)
    if not known:
        return None
    found = arm.interval(np.array(known))
    return {"iqm": found.value, "low": found.low, "high": found.high}


def _table(arms: Sequence[tuple[str, Arm]]) -> str:
    names = ("episode", "life", "entropy")
    found = rows(arms)
    lines = [[row["env"], row["agent"], _format.runs(row), *(bracket(row[name]) for name in names)] for row in found]
    notes = _format.markdown_notes(found)
    return markdown_table(["env", "agent", "runs", *names], lines) + f"\n{LEGEND}\n{notes}"


def _draw(maps: Sequence[tuple[str, Arm]], path: Path) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(maps), 6)
    lines = -(-len(maps) // columns)
    with matplotlib.rc_context({"font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(2.7 * columns, 2.9 * lines), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel in panels:
            panel.set_axis_off()
        for panel, (env, arm) in zip(panels, maps, strict=False):
            visits = np.sum(_visits(arm), axis=0)
            panel.imshow(np.log10(np.where(visits > 0, visits, np.nan)), cmap="viridis", interpolation="nearest")
            panel.set_title(f"{plain(env)}\n{plain(arm.agent)}", fontsize=8)
        figure.savefig(path, metadata={"Software": None})
