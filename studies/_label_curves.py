"""Learning curves of the labels study against steps and against the reward evaluations seen, from its result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox import statistics
from sandbox.analyses.curves import KEYS, MARKERS, PALETTE
from sandbox.runs import Run

AXES = {"steps": "environment steps", "rewards": "reward evaluations"}


def evaluations(run: Run, metric: str) -> dict[str, list[float]] | None:
    """Scores during training, at which `steps`, and the `rewards` seen until then.

    None without training, and where what is told is not reward alone.
    """
    found = run.result or {}
    if found["labels"]["actions"] or not found["labels"]["rewards"]:
        return None
    read = {row["step"]: row[KEYS[metric]] for row in run.metrics() if row.get(KEYS[metric]) is not None}
    unpaid = found["steps"] - found["labels"]["rewards"]  # steps of pre-training and of labels come first
    return {
        "steps": list(read), "rewards": [max(0, step - unpaid) for step in read],
        "scores": [round(value, 4) for value in read.values()],
    }  # fmt: skip


def curve(runs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """IQM over the seeds at each evaluation that all of them have, from what is kept of them."""
    found = [one["curve"] for one in runs if one["curve"]]
    if not found:
        return None
    read = [dict(zip(one["steps"], one["scores"], strict=True)) for one in found]
    rewards = dict(zip(found[0]["steps"], found[0]["rewards"], strict=True))
    steps = sorted(set.intersection(*map(set, read)))
    values = [float(statistics.iqm([one[step] for one in read])) for step in steps]
    iqm = [round(value, 4) for value in values]
    return {"n": len(found), "steps": steps, "rewards": [rewards[s] for s in steps], "iqm": iqm}


def draw(result: dict[str, Any], path: Path) -> None:
    """Two panels for each world whose arms were evaluated during training."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in result["arms"] if row["curve"]]
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    styles = {
        arm: {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]} for i, arm in enumerate(arms)
    }
    figure = Figure(figsize=(11, 3.2 * max(len(worlds), 1) + 1.5), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(max(len(worlds), 1), len(AXES), squeeze=False)
    for line, world in zip(panels, worlds, strict=False):
        for panel, axis in zip(line, AXES, strict=True):
            _panel(panel, axis, [row for row in rows if row["world"] == world], styles)
    handles = {str(one.get_label()): one for panel in panels.ravel() for one in panel.get_lines()}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _panel(panel: Any, axis: str, rows: Sequence[dict[str, Any]], styles: dict[str, dict[str, Any]]) -> None:
    from matplotlib.ticker import EngFormatter

    for row in rows:
        unpaid = max(sum(seen == 0 for seen in row["curve"]["rewards"]) - 1, 0) if axis == "rewards" else 0
        x, y = row["curve"][axis][unpaid:], row["curve"]["iqm"][unpaid:]
        panel.plot(x, y, label=row["arm"], markersize=4, **styles[row["arm"]])
    panel.set_title(f"{rows[0]['world']} (n = {min(row['curve'].get('n', len(row['seeds'])) for row in rows)})")
    panel.set_xlabel(AXES[axis])
    panel.set_ylabel(rows[0]["metric"])
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.grid(alpha=0.3)
