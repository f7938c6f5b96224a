"""The crossing: how many labels a supervised arm needs to do as well as an arm that was told none.

For each world and each supervised arm with at least three label counts: success (the score where a world has no
success) against log2 of the labels, the level of every learner without labels (or one that is set), and n*, the
smallest number of labels at which the supervised arm reaches it. Arms that teach themselves first and then learn from
few labels (`bc:labels=n+inverse`) have an n* of their own; the ratio of both is what self-teaching saves.

The numbers are made in `sandbox.analyses._label_curve`. An n* may lie outside the counts that were tried: the sentence
then says "less than" or "more than", and the JSON has null for that end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import statistics
from sandbox.analyses import _format, _label_curve
from sandbox.analyses._arms import NUMBER, RANDOM, Arm, Run, by_env
from sandbox.analyses._label_curve import Array, Centre, Range
from sandbox.analyses.table import LABELS, doubts, references, seed_twice, values_of
from sandbox.registry import names

MIN_COUNTS = 3  # label counts without which there is no curve
TOLD = ("action labels", "state labels", "rewards seen", "terminations seen")
METHOD = """\
n*: smallest number of labels at which the arm reaches the level; median and 95 % interval of 2,000 draws (a Gaussian
process on log2 n, made monotone, crossed with draws of the level). All other numbers: IQM over seeds [95 % bootstrap
interval]."""


@dataclass(frozen=True)
class Curve:
    """One supervised arm over its label counts, fewest first; y is on the scale of `_label_curve`."""

    name: str
    arms: tuple[Arm, ...]
    x: Array  # [K] log2 of the labels per run
    points: tuple[Centre, ...]
    draws: Array  # [DRAWS, GRID] over `_label_curve.grid(x)`

    @property
    def kind(self) -> str:
        """ "action labels", "state labels", or "labels" of an arm that has both."""
        kinds = [kind for kind in ("action", "state") if any(arm.labels(f"{kind}s") for arm in self.arms)]
        return f"{kinds[0]} labels" if len(kinds) == 1 else "labels"


@dataclass(frozen=True)
class Level:
    """What is to be reached: a learner without labels, or a set number (without an arm)."""

    value: float
    low: float | None
    high: float | None
    draws: Array  # [DRAWS] on the curves' scale
    arm: Arm | None = None

    @property
    def arms(self) -> tuple[Arm, ...]:
        return () if self.arm is None else (self.arm,)


@dataclass(frozen=True)
class World:
    """One environment with at least one curve and one level."""

    env: str
    metric: str  # "success" or "score"
    group: tuple[Arm, ...]
    ends: tuple[float, float] | None
    supervised: tuple[Curve, ...]
    few: tuple[Curve, ...]  # self-taught first, then few labels
    levels: tuple[Level, ...]

    def values(self, arm: Arm) -> Array | None:
        return values_of(arm, self.metric, self.ends)


def analyse(runs: Sequence[Run], folder: Path, level: float | None = None) -> Path | None:
    """Write crossing.md, crossing.json and crossing.png into `folder`; returns the first, None without a crossing."""
    from sandbox.analyses import _crossing_figure

    found = worlds(runs, level)
    path, picture, data = (folder / f"crossing.{ending}" for ending in ("md", "png", "json"))
    if not found:
        for old in (path, picture, data):
            old.unlink(missing_ok=True)
        return None
    data.write_text(json.dumps(to_json(found), indent=2, allow_nan=False) + "\n", "utf-8")
    _crossing_figure.draw(found, picture)
    path.write_text("\n".join(map(_markdown, found)) + f"\n{METHOD}\n\n![crossing](crossing.png)\n", "utf-8")
    return path


def worlds(runs: Sequence[Run], level: float | None = None) -> list[World]:
    """Every environment in which something can be crossed. `level` is a success rate (or score) to reach besides."""
    found = (_world(env, group, level) for env, group in by_env(runs).items())
    return [world for world in found if (world.supervised or world.few) and world.levels]


def to_json(found: Sequence[World]) -> dict[str, Any]:
    """{"schema", "worlds": [{"env", "metric", "rows", "crossings", "ratios"}]}, JSON-ready."""
    parts = [
        {"env": world.env, "metric": world.metric}
        | {"rows": rows(world), "crossings": crossings(world), "ratios": ratios(world)}
        for world in found
    ]
    return {"schema": 1, "worlds": parts}


def rows(world: World) -> list[dict[str, Any]]:
    """One for each arm: what it was told (means per run) and how well it did; a curve's arms by their labels."""
    lines = []
    order = {name: i for i, name in reversed([*enumerate(family(arm.agent) for arm in world.group)])}
    for arm in world.group:
        values = world.values(arm)
        if values is not None:
            result = arm.interval(values)
            told = {kind: arm.labels(kind) for kind in LABELS}
            lines.append(
                {"env": world.env, "arm": family(arm.agent), "agent": arm.agent, "n": _count(arm)}
                | {"runs": len(values), "failed": arm.failed, "unfinished": arm.unfinished}
                | {"metric": world.metric, "labels": told}
                | {"value": result.value, "low": result.low, "high": result.high, "notes": "; ".join(arm.notes)}
            )
    return sorted(lines, key=lambda line: (order[line["arm"]], line["n"]))


def crossings(world: World) -> list[dict[str, Any]]:
    """n* of every curve against every level: a number and its interval, null where an end is outside what was tried."""
    return [_crossing(world, curve, level) for curve in (*world.supervised, *world.few) for level in world.levels]


def ratios(world: World) -> list[dict[str, Any]]:
    """n* of every supervised arm over that of every arm that taught itself before, at every level."""
    pairs = [(a, b, level) for a in world.supervised for b in world.few for level in world.levels]
    return [_ratio(world, a, b, level) for a, b, level in pairs]


def cells(world: World) -> list[dict[str, str]]:
    """`rows` for people."""
    return [
        {"agent": _format.plain(row["agent"]), "runs": _format.runs(row)}
        | {name: f"{row['labels'][kind]:,.0f}" for name, kind in zip(TOLD, LABELS, strict=True)}
        | {world.metric: _format.bracket(row | {"iqm": row["value"]})}
        for row in rows(world)
    ]


def flat(row: dict[str, Any]) -> dict[str, str]:
    """One of `rows` for CSV: plain numbers, the labels of each kind in a column."""
    told = {f"labels_{kind}": value for kind, value in row["labels"].items()}
    values = {name: value for name, value in row.items() if name != "labels"} | told
    return {name: "" if value is None else str(value) for name, value in values.items()}


def sentences(world: World) -> list[str]:
    """What may be said."""
    return [found["text"] for found in (*crossings(world), *ratios(world))]


def family(agent: str) -> str:
    """The agent without its number of labels: "bc:lr=0.01" of "bc:labels=64,lr=0.01"."""
    return re.sub(r"[:,](?=\+|$)", "", re.sub(r"(?<=[:,])labels=[^,+]*,?", "", agent))


# ---------------------------------------------------------------------- curves and levels


def _world(env: str, group: Sequence[Arm], level: float | None) -> World:
    ends = references(group)
    done = tuple(arm for arm in group if arm.done)
    known = all(arm.scores("success") is not None for arm in done)
    bare = World(env, "success" if known else "score", done, ends, (), (), ())
    if not known and ends is None:
        return bare
    curves = _curves(bare)
    few = [curve for curve in curves if _taught_itself(curve)]
    supervised = [curve for curve in curves if curve not in few]
    levels = [_level(bare, arm) for arm in done if arm.learns and not arm.supervised]
    if level is not None:
        played = [n for arm in done for n in arm.entries(NUMBER, "evaluation", "episodes")]
        y = _label_curve.stabilised(np.array(level), np.array(np.mean(played))) if known else level
        levels.append(Level(level, None, None, np.full(_label_curve.DRAWS, y)))
    return World(env, bare.metric, done, ends, tuple(supervised), tuple(few), tuple(levels))


def _curves(world: World) -> list[Curve]:
    families: dict[str, list[Arm]] = {}
    for arm in world.group:
        if arm.supervised:
            families.setdefault(family(arm.agent), []).append(arm)
    found: list[Curve] = []
    for name, members in families.items():
        members.sort(key=_count)
        x = np.log2([_count(arm) for arm in members])
        if len(np.unique(x)) >= MIN_COUNTS:
            points = tuple(_centre(world, arm) for arm in members)
            draws = _label_curve.curves(x, points, stream=len(found) + 2)
            found.append(Curve(name, tuple(members), x, points, draws))
    return found


def _level(world: World, arm: Arm) -> Level:
    shown = arm.interval(world.values(arm))  # type: ignore[arg-type]
    return Level(shown.value, shown.low, shown.high, _label_curve.levels(_centre(world, arm)), arm)


def _centre(world: World, arm: Arm) -> Centre:
    """An arm on the curves' scale: success with the noise that its evaluation has at least, or the score as it is."""
    values = world.values(arm)
    assert values is not None
    if world.metric != "success":
        return _label_curve.centre(values)
    episodes = np.array(arm.entries(NUMBER, "evaluation", "episodes"), np.float64)
    return _label_curve.centre(_label_curve.stabilised(values, episodes), least=float((0.25 / episodes).mean()))


def _count(arm: Arm) -> float:
    """Labels per run, by the ledger: the name may leave a default out."""
    return arm.labels("actions") + arm.labels("states")


def _taught_itself(curve: Curve) -> bool:
    """A supervised base beside an objective: the encoder comes from unlabelled experience."""
    agent = curve.arms[0]
    parts = {part.partition(":")[0] for part in re.split(r"\+(?=[a-z_])", agent.agent)}
    return agent.base in names("supervised") and bool(parts & set(names("objectives")))


# ---------------------------------------------------------------------- numbers and sentences


def _crossing(world: World, curve: Curve, level: Level) -> dict[str, Any]:
    found = _reach(curve, level)
    arms = (*curve.arms, *level.arms)
    n = min(len(arm.done) for arm in arms)
    middle = _middle(found)
    return {
        "env": world.env,
        "metric": world.metric,
        "supervised": curve.name,
        "self_taught": level.arm.agent if level.arm else None,
        "level": level.value,
        "n_star": _power(middle),
        "low": _power(found.low) if n > 1 else None,
        "high": _power(found.high) if n > 1 else None,
        "smallest": 2 ** curve.x[0],
        "largest": 2 ** curve.x[-1],
        "n": n,
        "text": _doubtful(world, curve, level, arms, n)
        or f"{_worth(world, curve, level, found)} ({n} seeds{_notes(arms)}{_idle(world, level)})",
    }


def _ratio(world: World, a: Curve, b: Curve, level: Level) -> dict[str, Any]:
    found = _reach(a, level) - _reach(b, level)
    arms = (*a.arms, *b.arms, *level.arms)
    n = min(len(arm.done) for arm in arms)
    middle = _middle(found)
    who = f"of {level.arm.agent}" if level.arm else "that was set"
    text = f"at the {world.metric} {_format.decimal(level.value)} {who} on {world.env}: "
    text += f"{a.name} needs {_times(found)} the labels of {b.name}"
    return {
        "env": world.env,
        "supervised": a.name,
        "few_labels": b.name,
        "self_taught": level.arm.agent if level.arm else None,
        "level": level.value,
        "ratio": _power(middle),
        "low": _power(found.low) if n > 1 else None,
        "high": _power(found.high) if n > 1 else None,
        "n": n,
        "text": _doubtful(world, a, level, arms, n) or f"{text} ({n} seeds{_notes(arms)})",
    }


def _reach(curve: Curve, level: Level) -> Range:
    return _label_curve.reach(_label_curve.grid(curve.x), curve.draws, level.draws)


def _middle(found: Range) -> float | None:
    """log2 of the median; the few draws whose end is open part its two sides by a hair."""
    return sum(found.middle) / 2 if np.isfinite(found.middle).all() else None


def _worth(world: World, curve: Curve, level: Level, found: Range) -> str:
    """What may be said of n*, without the number of seeds."""
    least, most = f"less than {2 ** curve.x[0]:,.0f}", f"more than {2 ** curve.x[-1]:,.0f}"
    low, high = (
        least if found.low == -np.inf else _number(found.low),
        most if found.high == np.inf else _number(found.high),
    )
    subject = f"{level.arm.agent} without labels is worth" if level.arm else f"{world.metric} {level.value:g} takes"
    of = f"{curve.kind} of {curve.name} on {world.env}"
    if found.low == -np.inf and found.high == np.inf:
        return f"{subject} an unknown number of {of}: no evidence, the interval is {least} to {most}"
    if found.middle[1] == np.inf:
        return f"{subject} {most if found.low >= curve.x[-1] else f'at least {low}'} {of}"
    if found.middle[0] == -np.inf:
        return f"{subject} {least if found.high <= curve.x[0] else f'at most {high}'} {of}"
    return f"{subject} about {_number(sum(found.middle) / 2)} [{low}, {high}] {of}"


def _times(found: Range) -> str:
    low, high = (f"{2**end:.2g}" if np.isfinite(end) else "open" for end in (found.low, found.high))
    same = ", no evidence of a difference," if found.low <= 0 <= found.high else ""
    if (middle := _middle(found)) is not None:
        return f"{2**middle:.2g} [{low}, {high}] times{same}"
    if np.isfinite(found.low):
        return f"at least {low} times{same}"
    return f"at most {high} times{same}" if np.isfinite(found.high) else "an unknown multiple (no evidence) of"


def _doubtful(world: World, curve: Curve, level: Level, arms: Sequence[Arm], n: int) -> str:
    """The sentence that names no number, where none may be named."""
    subject = level.arm.agent if level.arm else f"{world.metric} {level.value:g}"
    who, twice = f"{subject} against {curve.name} on {world.env}", seed_twice(*arms)
    if twice:
        return f"{who}: no winner named, {twice}"
    return f"{who}, {n} seed{'s' if n > 1 else ''}: no winner named" if n < statistics.MIN_SEEDS else ""


def _notes(arms: Sequence[Arm]) -> str:
    return "".join(f"; {note}" for note in doubts(*arms))


def _idle(world: World, level: Level) -> str:
    """A learner that may have learned nothing is worth few labels whatever the supervised arm does."""
    floor, seeds = next(
        ((v, arm.seeds) for arm in world.group if arm.base == RANDOM and (v := world.values(arm)) is not None),
        (None, []),
    )
    if level.arm is None or floor is None:
        return ""
    values, same = world.values(level.arm), level.arm.seeds == seeds
    gained = statistics.difference(values, floor, paired=same)  # type: ignore[arg-type]
    return "" if gained.low is None or gained.low > 0 else "; no evidence that it is above random"


def _power(x: float | None) -> float | None:
    return float(2**x) if x is not None and np.isfinite(x) else None


def _number(x: float) -> str:
    """2^x as three digits say it: 1,410."""
    return f"{float(f'{2**x:.3g}'):,.0f}"


def _markdown(world: World) -> str:
    lines = cells(world)
    table = _format.markdown_table(list(lines[0]), [list(line.values()) for line in lines], text_columns=1)
    table += _format.markdown_notes(rows(world))
    said = "".join(f"* {_format.escape(text)}\n" for text in sentences(world))
    return f"### {_format.escape(world.env)}\n\n{table}\n{said}"
