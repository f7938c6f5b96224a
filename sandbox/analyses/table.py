"""The main table: one row per environment and agent, and the sentences that its numbers allow.

Numbers are over seeds: IQM and mean with the 95 % bootstrap interval of the IQM, from final evaluations only.

    score = (return - random) / (oracle - random),   random, oracle: mean return of those arms in the same environment

Source: Agarwal et al. 2021 (statistics, see `sandbox.statistics`); the normalisation is Atari's human-normalised score
with an oracle for the human. Different here: the score is null where a world has no oracle or one that is not above
random (dividing by a difference below zero would turn the order around); both ends count as known exactly. An arm
whose runs differ in a setting has no interval, and a note says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import energy, statistics
from sandbox.analyses import _format
from sandbox.analyses._arms import NUMBER, ORACLE, PLAIN, RANDOM, Arm, Run, by_env

LABELS = ("actions", "states", "rewards", "terminations")
# What arms must have in common to be compared.
SHARED = ("steps", "world", "learner", "evaluation", "device", "plugins", "expert")
HEADER = (
    "env", "agent", "runs", "success", "return", "score", "steps", "labels", "rewards seen",
    "terminations seen", "CPU s", "joules",
)  # fmt: skip


def analyse(runs: Sequence[Run], folder: Path) -> Path:
    """Write table.json, table.csv and table.md into `folder`; returns the last."""
    lines, said = rows(runs), claims(runs)
    (folder / "table.json").write_text(_format.to_json(folder.resolve().parent.name, lines, said), "utf-8")
    (folder / "table.csv").write_text(_format.to_csv(lines), "utf-8")
    path = folder / "table.md"
    path.write_text(markdown(lines, said), "utf-8")
    return path


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One JSON-ready dict per (env, agent), in the order of `arms`.

    "runs" counts finished runs, "failed" those that ended in an error, "unfinished" all others; every other number is
    over the finished ones and null without any: steps, labels, cpu_seconds, seconds (wall) and joules are means per
    run. "notes" says why there is no interval, and how many copies of runs were left out.

    Raises:
        CorruptFile: a run's result lacks what the table needs.
    """
    envs = by_env(runs)
    return [_row(arm, references(envs[arm.env])) for arm in chain.from_iterable(envs.values())]


def claims(runs: Sequence[Run], margin: float | None = None) -> list[dict[str, Any]]:
    """What may be said of each pair worth comparing, JSON-ready: difference = a - b, its interval, n, and a sentence.

    Pairs: every learning arm against the plain learner, every self-taught arm against every supervised one. Metric:
    score where both have one, else success, else return. Paired by seed where both arms have the same seeds. `n` is
    the number of seeds of the smaller arm. No correction for the number of pairs is made.
    """
    return [_claim(a, b, references(group), margin) for group in by_env(runs).values() for a, b in _pairs(group)]


def markdown(lines: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]) -> str:
    """The table and, below it, the claims."""
    text = _format.markdown_table(HEADER, [_cells(line) for line in lines])
    text += "\nIQM over seeds [95 % bootstrap interval]; steps, labels (actions + states), costs: means per run.\n"
    text += _format.markdown_notes(lines)
    if said:
        text += f"\nComparisons: {len(said)}, each with its own 95 % interval (no correction for their number).\n\n"
    return text + "".join(f"* {_format.escape(claim['env'] + ', ' + claim['text'])}\n" for claim in said)


def _cells(row: dict[str, Any]) -> list[str]:
    """A row's cells for people."""
    told = row["labels"] and row["labels"]["actions"] + row["labels"]["states"]
    numbers = [_format.bracket(row[metric]) for metric in ("success", "return", "score")]
    seen = [row["labels"] and row["labels"][kind] for kind in ("rewards", "terminations")]
    counts = [row["steps"], told, *seen, row["cpu_seconds"]]
    names = [row["env"], row["agent"], _format.runs(row)]
    return [*names, *numbers, *map(_format.count, counts), _format.joules(row["joules"])]


def _row(arm: Arm, ends: tuple[float, float] | None) -> dict[str, Any]:
    values = {metric: values_of(arm, metric, ends) for metric in ("success", "return", "score")}
    spent = costs(arm)
    return {
        "env": arm.env,
        "agent": arm.agent,
        "runs": len(arm.done),
        "failed": arm.failed,
        "steps": _mean(arm.entries(NUMBER, "steps")),
        **{metric: _summary(arm, scores) for metric, scores in values.items()},
        "labels": {kind: arm.labels(kind) for kind in LABELS} if arm.done else None,
        "cpu_seconds": _mean([cost["cpu_seconds"] for cost in spent]),
        "joules": _joules(spent),
        "median": {metric: None if scores is None else float(np.median(scores)) for metric, scores in values.items()},
        "seconds": _mean([cost["wall_seconds"] for cost in spent]),
        "levels": "; ".join(sorted(set(arm.entries(str, "evaluation", "levels")))),
        "privileged": sorted({str(name) for told in arm.entries(list, "privileged") for name in told}),
        "seeds": arm.seeds,
        "unfinished": arm.unfinished,
        "notes": "; ".join(arm.notes),
    }


def costs(arm: Arm) -> list[dict[str, Any]]:
    """[runs] of what a run cost, each entry checked; joules have a value of None where it is not known."""
    found = {name: arm.entries(NUMBER, "cost", name) for name in ("cpu_seconds", "wall_seconds", "peak_memory_mb")}
    joules = arm.entries((*NUMBER, type(None)), "cost", "joules", "value")
    sources = arm.entries(str, "cost", "joules", "source")
    found["joules"] = [{"value": x, "source": source} for x, source in zip(joules, sources, strict=True)]
    return [dict(zip(found, parts, strict=True)) for parts in zip(*found.values(), strict=True)]


def _joules(spent: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean per run, with its source."""
    if not spent:
        return None
    total = energy.add_joules([cost["joules"] for cost in spent])
    return {**total, "value": None if total["value"] is None else total["value"] / len(spent)}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _summary(arm: Arm, scores: np.ndarray | None) -> dict[str, float | None] | None:
    if scores is None:
        return None
    result = arm.interval(scores)
    return {"iqm": result.value, "mean": float(scores.mean()), "low": result.low, "high": result.high}


def references(group: Sequence[Arm]) -> tuple[float, float] | None:
    """(mean return of random, of oracle) in one environment; None unless both are there and the oracle is above."""
    means = {arm.agent: scores.mean() for arm in group if (scores := arm.scores("return")) is not None}
    if RANDOM not in means or ORACLE not in means or not means[ORACLE] > means[RANDOM]:
        return None
    return float(means[RANDOM]), float(means[ORACLE])


def values_of(arm: Arm, metric: str, ends: tuple[float, float] | None) -> np.ndarray | None:
    """[runs] of "success", "return" or "score"."""
    if metric != "score":
        return arm.scores(metric)
    returns = arm.scores("return")
    return None if returns is None or ends is None else (returns - ends[0]) / (ends[1] - ends[0])


def _pairs(group: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """(a, b) without repetition; arms without a finished run have nothing to say."""
    learning = [arm for arm in group if arm.learns and arm.done]
    base = [arm for arm in learning if arm.agent == PLAIN]
    against_plain = [(arm, plain) for plain in base for arm in learning if arm is not plain]
    told, taught = ([arm for arm in learning if arm.supervised is flag] for flag in (True, False))
    return against_plain + [(a, b) for a in taught for b in told if PLAIN not in (a.agent, b.agent)]


def _claim(a: Arm, b: Arm, ends: tuple[float, float] | None, margin: float | None) -> dict[str, Any]:
    metric, x, y = _common(a, b, ends)
    paired = a.seeds == b.seeds
    result = statistics.difference(x, y, paired=paired)
    return {
        "env": a.env,
        "metric": metric,
        "a": a.agent,
        "b": b.agent,
        "difference": result.value,
        "low": result.low,
        "high": result.high,
        "n": result.n,
        "text": _text(a, b, metric, result, margin),
    }


def _common(a: Arm, b: Arm, ends: tuple[float, float] | None) -> tuple[str, np.ndarray, np.ndarray]:
    """The first of score, success, return that both arms have, and its values."""
    for metric in ("score", "success", "return"):
        x, y = values_of(a, metric, ends), values_of(b, metric, ends)
        if x is not None and y is not None:
            return metric, x, y
    raise ValueError(f"{a.agent} and {b.agent} share no metric in {a.env}")


def _text(a: Arm, b: Arm, metric: str, result: statistics.Estimate, margin: float | None) -> str:
    """The verdict with its metric and everything that makes the two arms less than comparable."""
    twice = seed_twice(a, b)
    if twice:
        return f"{a.agent} against {b.agent}: no winner named, {twice}"
    return "; ".join([f"{metric}: {statistics.verdict(a.agent, b.agent, result, margin)}", *doubts(a, b)])


def seed_twice(*group: Arm) -> str:
    """Which arm holds runs of several settings, so that it is no arm; "" if none does."""
    found = [arm.agent for arm in group if arm.twice]
    return f"{found[0]} has a seed twice (settings differ)" if found else ""


def doubts(*group: Arm) -> list[str]:
    """Failed runs and unlike settings, which a sentence about these arms must name."""
    notes = [
        f"{arm.failed} failed run{'s' if arm.failed > 1 else ''} of {arm.agent} left out" for arm in group if arm.failed
    ]
    mixed = dict.fromkeys(key for arm in group for key in arm.mixed)
    unlike = [key for key in dict.fromkeys((*SHARED, *mixed)) if key in mixed or _apart(key, group)]
    return [*notes, f"not the same {', '.join(unlike)}"] if unlike else notes


def _apart(key: str, group: Sequence[Arm]) -> bool:
    """Whether a setting parts these arms.

    A run names only the plugins that its agent uses, and the expert only where it takes action labels: to have none
    parts no arms, two versions of one plugin do, and so do two experts (or one and the world's oracle).
    """
    if key == "plugins":
        used = {part for arm in group for text in arm.settings.get(key, ()) for part in json.loads(text).items()}
        return len(used) > len({name for name, _ in used})
    asked = [arm for arm in group if key != "expert" or arm.labels("actions")]
    return len({frozenset(arm.settings.get(key, ())) for arm in asked}) > 1
