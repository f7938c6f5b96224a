"""The picture of the crossing: success against labels, one panel per world.

Points are IQMs over seeds with their 95 % bootstrap intervals; a line and its band are median and 95 % of the curve's
draws. A learner without labels is a horizontal line with its interval as a band, n* a diamond on it with its interval;
random and oracle are dashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sandbox import statistics
from sandbox.analyses import _label_curve
from sandbox.analyses._arms import ORACLE, RANDOM
from sandbox.analyses._format import plain
from sandbox.analyses.curves import ENDS, MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sandbox.analyses.crossing import Curve, Level, World


def draw(worlds: Sequence[World], path: Path) -> None:
    """Write the PNG `path`, a panel for each world, two beside each other."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(worlds), 2)
    lines = -(-len(worlds) // columns)
    with matplotlib.rc_context({"font.size": 12, "text.parse_math": False}):
        figure = Figure(figsize=(10 if columns == 1 else 16, 7 * lines), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, world in zip(panels, worlds, strict=False):
            _panel(panel, world)
        for panel in panels[len(worlds) :]:
            panel.set_axis_off()
        figure.savefig(path, metadata={"Software": None})


def _panel(panel: Axes, world: World) -> None:
    looks = zip(cycle(PALETTE), cycle(MARKERS), strict=False)
    panel.set_xscale("log", base=2)
    drawn = [(curve, next(looks)) for curve in (*world.supervised, *world.few)]
    for curve, (color, marker) in drawn:
        _curve(panel, world, curve, color, marker)
    for level in world.levels:
        color = next(looks)[0]
        _level(panel, level, color)
        for curve, _ in drawn:
            _n_star(panel, curve, level, color)
    for arm in world.group:
        values = world.values(arm)
        if arm.base in (RANDOM, ORACLE) and values is not None:
            panel.axhline(statistics.iqm(values), color=ENDS[arm.base], linestyle="--", label=arm.base)
    panel.set_title(plain(world.env))
    panel.set_xlabel("labels")
    panel.set_ylabel(world.metric)
    if world.metric == "success":
        panel.set_ylim(-0.03, 1.03)
    panel.xaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
    panel.grid(alpha=0.3)
    panel.legend(loc="best", frameon=False, fontsize=10)


def _curve(panel: Axes, world: World, curve: Curve, color: str, marker: str) -> None:
    n = 2 ** _label_curve.grid(curve.x)
    low, middle, high = np.quantile(curve.draws, [0.025, 0.5, 0.975], axis=0)
    if world.metric == "success":
        low, middle, high = (_label_curve.success_of(y) for y in (low, middle, high))
    panel.plot(n, middle, color=color, linewidth=2)
    panel.fill_between(n, low, high, color=color, alpha=0.2, linewidth=0)
    for i, (arm, x) in enumerate(zip(curve.arms, curve.x, strict=True)):
        found = arm.interval(world.values(arm))  # type: ignore[arg-type]
        bar = None
        if found.low is not None and found.high is not None:
            bar = np.maximum([[found.value - found.low], [found.high - found.value]], 0)
        label = plain(curve.name) if i == 0 else None
        panel.errorbar(2**x, found.value, bar, color=color, marker=marker, capsize=3, label=label)


def _level(panel: Axes, level: Level, color: str) -> None:
    label = f"{plain(level.arm.agent)}, no labels" if level.arm else f"level {level.value:g}"
    panel.axhline(level.value, color=color, linewidth=2, label=label)
    if level.low is not None and level.high is not None:
        panel.axhspan(level.low, level.high, color=color, alpha=0.15, linewidth=0)


def _n_star(panel: Axes, curve: Curve, level: Level, color: str) -> None:
    """A diamond at n* where it is within the counts; its interval ends at the counts' ends."""
    found = _label_curve.reach(_label_curve.grid(curve.x), curve.draws, level.draws)
    ends = np.clip([found.low, found.high], curve.x[0], curve.x[-1])
    panel.plot(2.0**ends, [level.value] * 2, color=color, linewidth=5, alpha=0.5, solid_capstyle="butt")
    if np.isfinite(found.middle[0]) and found.middle[0] == found.middle[1]:
        n = 2.0 ** found.middle[0]
        panel.plot(n, level.value, color=color, marker="D", markersize=9, markeredgecolor="black")
        panel.axvline(n, color=color, linestyle=":", linewidth=1)
