"""Coverage: how much of what can be reached an arm visited, as numbers and as a map of all its training's visits.

A map adds up the visits of all seeds in logarithmic colours; what is blank was never visited.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import statistics
from sandbox.analyses._arms import Arm, Run, by_env
from sandbox.analyses._format import bracket, markdown_table, plain

LEGEND = """\
`episode`: share of the reachable cells that an evaluation episode visits; `life`: share visited in training, where all
episodes have one level; `entropy`: of all visits in training, 1 where every cell was visited equally often. IQM over
seeds [95 % bootstrap interval]."""
MAPS = 48  # panels of the picture at most


def analyse(runs: Sequence[Run], folder: Path) -> Path:
    """Write coverage.md (and coverage.png where a world has a map) into `folder`; returns the former."""
    arms = [(env, arm) for env, group in by_env(runs).items() for arm in group if _told(arm)]
    path, picture = folder / "coverage.md", folder / "coverage.png"
    maps = [(env, arm) for env, arm in arms if any("visits" in told for told in _told(arm))][:MAPS]
    picture.unlink(missing_ok=True)
    text = _table(arms) if arms else "No world of these runs counts what was visited.\n"
    if maps:
        _draw(maps, picture)
        text += "\n![visits in training](coverage.png)\n"
    path.write_text(text, "utf-8")
    return path


def rows(arms: Sequence[tuple[str, Arm]]) -> list[dict[str, Any]]:
    """One for each environment and arm: interval of each number, None where no seed has it."""
    return [
        {"env": env, "agent": arm.agent, "runs": len(_told(arm))}
        | {name: _summary([_number(told, name) for told in _told(arm)]) for name in ("episode", "life", "entropy")}
        for env, arm in arms
    ]


def _told(arm: Arm) -> list[dict[str, Any]]:
    """The finished seeds' coverage, as their results have it."""
    found = [(run.result or {}).get("coverage") for run in arm.done]
    return [told for told in found if told]


def _number(told: dict[str, Any], name: str) -> float | None:
    if name == "episode":
        return told["evaluation"]
    return told.get("training", {}).get({"life": "coverage", "entropy": "entropy"}[name])


def _summary(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    found = statistics.interval(np.array(known))
    return {"iqm": found.value, "low": found.low, "high": found.high}


def _table(arms: Sequence[tuple[str, Arm]]) -> str:
    names = ("episode", "life", "entropy")
    lines = [[row["env"], row["agent"], row["runs"], *(bracket(row[name]) for name in names)] for row in rows(arms)]
    return markdown_table(["env", "agent", "runs", *names], lines) + f"\n{LEGEND}\n"


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
            visits = sum(np.array(told["visits"], float) for told in _told(arm) if "visits" in told)
            panel.imshow(np.log10(np.where(visits > 0, visits, np.nan)), cmap="viridis", interpolation="nearest")
            panel.set_title(f"{plain(env)}\n{plain(arm.agent)}", fontsize=8)
        figure.savefig(path, metadata={"Software": None})
