"""Which bonuses help in which world, and which do harm: every arm against PPO without a bonus.

In a world each arm's IQM over seeds is held against that of `none`, paired by seed, with the interval of the claims
(`_claims.py`) at 1 - 0.05 / k for the k arms that have been run there. An arm is

    above, below    as the interval lies
    no worse        the interval holds zero and does not reach the margin, 0.05 of the scale, below it, where `none` has
                    more than that to lose: no harm done
    no evidence     else
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox import statistics
from sandbox.statistics import MIN_SEEDS, Estimate
from studies import _claims

SCALES = {"return": 500.0}  # CartPole's; elsewhere scores are in 0..1
NOT_BONUSES = ("random", "oracle", "none")
OUTCOMES = ("above", "below", "no worse", "no evidence")


def beside(scores: _claims.Scores, metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each world where `none` and another arm have five seeds: arms by outcome, with their scores.

    Args:
        metrics: world -> what its score is.
    """
    return [row for world, metric in metrics.items() if (row := _row(world, metric, scores))]


def _row(world: str, metric: str, scores: _claims.Scores) -> dict[str, Any] | None:
    there = {arm: of for (w, arm), of in scores.items() if w == world and len(of) >= MIN_SEEDS}
    arms = [arm for arm in there if arm not in NOT_BONUSES]
    if "none" not in there or not arms:
        return None
    level = 1 - 0.05 / len(arms)
    found: dict[str, list[str]] = {name: [] for name in OUTCOMES}
    n, margin = [], _claims.MARGIN * SCALES.get(metric, 1.0)
    values = {arm: round(float(statistics.iqm(list(there[arm].values()))), 4) for arm in ["none", *arms]}
    for arm in arms:
        one = _claims.Comparison(_claims.arm_in(world, arm), _claims.arm_in(world, "none")).estimate(scores, level)
        if one is not None:
            found[outcome(one, level, margin if values["none"] > margin else 0.0)].append(arm)
            n.append(one.n)
    return {"world": world, "metric": metric, "level": level, "n": min(n, default=0), "iqm": values, **found}


def outcome(found: Estimate, level: float, margin: float) -> str:
    said = _claims.outcome("above", found, level)
    if said != "no evidence":
        return {"held": "above", "refuted": "below"}[said]
    assert found.low is not None
    return "no worse" if margin and found.low >= -margin else "no evidence"
