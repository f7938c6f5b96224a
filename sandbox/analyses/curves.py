"""Learning curves: what an arm can do against how many environment steps it has used, one panel per environment.

Each line is the IQM over finished seeds with its pointwise 95 % bootstrap interval (whole curves drawn again; none for
one seed, nor for runs of several settings). Arms without a curve, and those that are told the actions, are dashed lines
at their final value. A run whose metrics cannot be read is left out of its line, with a warning; the title counts them.

Source: Agarwal et al. 2021 (sample-efficiency curves). Different here: seeds evaluated at different steps are joined by
linear interpolation, only over the range that every seed covers, so that no seed drops out of a line half-way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox import statistics, terminal
from sandbox.analyses._arms import NUMBER, ORACLE, RANDOM, Arm, Run, arms, by_env
from sandbox.analyses._format import plain
from sandbox.errors import CorruptFile
from sandbox.files import read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stay apart for colour-blind readers: Okabe and Ito's without yellow (too pale for a line), two of Tol's.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#999933")
ENDS = {RANDOM: "#777777", ORACLE: "#000000"}
MARKERS = "osD^vPX"  # one fewer than colours: a second round of colours has other markers
KEYS = {"success": "eval/success_rate", "return": "eval/mean_reward"}
MAX_POINTS = 200
Curve = tuple[np.ndarray, np.ndarray]  # steps [K], values [n_runs, K]


def analyse(runs: Sequence[Run], folder: Path) -> Path | None:
    """Write curves.png into `folder`; returns its path, None where no run has finished."""
    path = folder / "curves.png"
    if not any(arm.done for arm in arms(runs)):
        path.unlink(missing_ok=True)
        return None
    return draw(runs, path)


def draw(runs: Sequence[Run], path: Path) -> Path:
    """Draw every environment's panel into the PNG `path`, 1600 x 1000 pixels (taller from ten environments on)."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    envs = {env: group for env, group in by_env(runs).items() if any(arm.done for arm in group)}
    columns = int(np.ceil(np.sqrt(max(len(envs), 1))))
    lines = max(-(-len(envs) // columns), 1)
    with matplotlib.rc_context({"font.size": 13, "text.parse_math": False}):  # a "$" in a name is only a "$"
        figure = Figure(figsize=(16, max(10.0, 3.3 * lines)), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        styles = _styles(list(envs.values()))
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, (env, group) in zip(axes, envs.items(), strict=False):
            _panel(panel, env, group, styles)
        for panel in axes[len(envs) :]:
            panel.set_axis_off()
        handles = {str(line.get_label()): line for panel in axes for line in panel.get_lines()}
        if handles:
            names = [agent for agent in styles if agent in handles]
            figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(path, metadata={"Software": None})
    return path


def curve(arm: Arm, metric: str) -> Curve | None:
    """The arm's evaluations during training on one grid of steps; None where a seed has fewer than two of them.

    A run whose metrics cannot be read is left out, with a warning: no number of the report depends on them.
    """
    seeds = []
    for run in arm.done:
        try:
            seeds.append(_evaluations(run.path, KEYS[metric]))
        except CorruptFile as error:
            terminal.note(f"warning: left out of the curves: {error}")
    if not seeds or any(len(steps) < 2 for steps, _ in seeds):
        return None
    first, last = max(steps[0] for steps, _ in seeds), min(steps[-1] for steps, _ in seeds)
    grid = np.unique(np.concatenate([steps for steps, _ in seeds]))
    grid = grid[(grid >= first) & (grid <= last)]
    if len(grid) < 2:
        return None
    grid = grid[np.unique(np.linspace(0, len(grid) - 1, min(len(grid), MAX_POINTS)).round().astype(int))]
    return grid, np.stack([np.interp(grid, steps, values) for steps, values in seeds])


def _evaluations(folder: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [K] ascending, each once (its last value), and the values of `key` [K] of one run.

    Raises:
        CorruptFile: the file cannot be read, or a step or value in it is no number.
    """
    path = folder / "metrics.jsonl"
    found = {}
    for row in read_rows(path):
        if row.get(key) is not None:
            if not isinstance(row["step"], NUMBER) or not isinstance(row[key], NUMBER):
                raise CorruptFile(f"{path}: {key} at step {row['step']} is {str(row[key])[:80]}")
            found[row["step"]] = row[key]
    steps = sorted(found)
    return np.array(steps, np.float64), np.array([found[step] for step in steps], np.float64)


def _panel(panel: Axes, env: str, group: Sequence[Arm], styles: dict[str, dict[str, Any]]) -> None:
    metric, left_out = _metric(group), 0
    for arm in group:
        style, label = styles[plain(arm.agent)], plain(arm.agent)
        drawn = curve(arm, metric) if arm.learns and not arm.labels("actions") else None
        if drawn is not None:
            _line(panel, drawn, label, style, interval=not arm.mixed)
            left_out += len(arm.done) - len(drawn[1])
        elif (final := arm.scores(metric)) is not None:
            panel.axhline(statistics.iqm(final), label=label, color=style["color"], linestyle="--", linewidth=2)
    panel.set_title(f"{plain(env)} ({_n(group)}{f'; {left_out} without a curve' if left_out else ''})")
    _dress(panel, metric)


def _dress(panel: Axes, metric: str) -> None:
    from matplotlib.ticker import EngFormatter

    panel.set_xlabel("environment steps")
    panel.set_ylabel(metric)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))  # 500k, 1M
    if metric == "success":
        panel.set_ylim(-0.03, 1.03)
    panel.grid(alpha=0.3)


def _line(panel: Axes, drawn: Curve, label: str, style: dict[str, Any], interval: bool) -> None:
    steps, values = drawn
    middle, low, high = statistics.band(values)
    panel.plot(steps, middle, label=label, linewidth=2, markevery=max(len(steps) // 8, 1), **style)
    if interval and low is not None and high is not None:
        panel.fill_between(steps, low, high, color=style["color"], alpha=0.2, linewidth=0)


def _metric(group: Sequence[Arm]) -> str:
    """Success where every finished arm knows it, else return."""
    return "success" if all(arm.scores("success") is not None for arm in group if arm.done) else "return"


def _styles(groups: Sequence[Sequence[Arm]]) -> dict[str, dict[str, Any]]:
    """The same colour and marker for an agent in every panel; a second round of colours has other markers."""
    looks: Iterator[tuple[str, str]] = zip(cycle(PALETTE), cycle(MARKERS), strict=False)
    styles: dict[str, dict[str, Any]] = {}
    for arm in (arm for group in groups for arm in group):
        if (name := plain(arm.agent)) not in styles:
            color, marker = (ENDS[arm.base], "") if arm.base in ENDS else next(looks)
            styles[name] = {"color": color, "marker": marker}
    return styles


def _n(group: Sequence[Arm]) -> str:
    """'n=5' or 'n=3 to 5': finished runs per arm."""
    sizes = sorted({len(arm.done) for arm in group})
    return f"n={sizes[0]}" if len(sizes) == 1 else f"n={sizes[0]} to {sizes[-1]}"
