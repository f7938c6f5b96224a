"""What each bonus costs, beside RLeXplore's class for it where it has one: microseconds of CPU time a step."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import interleave, recorded
from benchmarks.interleave import spread
from benchmarks.table import COUNTERPARTS, CURIOSITY, RECORD
from envs import vector

Rounds = Sequence[dict[str, Any]]  # what a contender answered, one a round


def measure(rounds: int) -> dict[str, Any]:
    """Both sides in turns, and how often the recorded views repeat."""
    times, ready = interleave.take_turns(CURIOSITY.contenders, rounds)
    environments = {"peers" if one.peer else "ours": ready[one.name]["versions"] for one in CURIOSITY.contenders}
    world = vector.make(RECORD["env"], RECORD["copies"])
    views = recorded.different(recorded.rollouts(world, RECORD["n_steps"], 1)[0])
    found = {"rounds": rounds, "record": RECORD, "different_views": views, "environments": environments}
    return found | result(times)


def result(times: Mapping[str, Rounds]) -> dict[str, Any]:
    """`rows`: ours as they are by default; `peer_sized`: with networks of the peer's size."""
    ours, peer_sized, theirs = (times[one.name] for one in CURIOSITY.contenders)
    return {
        "rows": [row(name, ours, theirs) for name in names(ours)],
        "peer_sized": [row(name, peer_sized, theirs) for name in names(peer_sized)],
    }


def names(ours: Rounds) -> list[str]:
    """The bonuses among what a contender answered."""
    return [name for name, value in ours[0].items() if isinstance(value, dict)]


def row(name: str, ours: Rounds, theirs: Rounds) -> dict[str, Any]:
    """A bonus of ours beside its peer; `ratio`: peer / ours, made within each round."""
    halves = {half: [1e6 * one[name][half] / one["steps"] for one in ours] for half in ("reward", "update")}
    both = [sum(pair) for pair in zip(*halves.values(), strict=True)]
    medians = {half: statistics.median(values) for half, values in halves.items()}
    found: dict[str, Any] = {"bonus": name, "ours": medians | total(both), "peer": None, "ratio": None}
    if name not in COUNTERPARTS:
        return found
    found["peer_class"] = COUNTERPARTS[name]
    spent = [one[COUNTERPARTS[name]] for one in theirs]
    if isinstance(spent[0], str):
        return found | {"peer_failed": spent[0]}
    peer = [1e6 * seconds / one["steps"] for seconds, one in zip(spent, theirs, strict=True)]
    ratio = spread([b / a for a, b in zip(both, peer, strict=True)])
    found |= {"peer": total(peer), "ratio": ratio["median"]}
    return found | {"ratio_low": ratio["low"], "ratio_high": ratio["high"]}


def total(values: Sequence[float]) -> dict[str, float]:
    """`sum` is the median, beside the smallest and the largest."""
    found = spread(values)
    return {"sum": found["median"], "low": found["low"], "high": found["high"]}
