"""How much of an order of arms is luck of the seeds.

Within a world arms are ranked by the IQM of their scores (1 is best; ties share the mean rank). `halves` is Kendall's
tau-b between the orders by two random halves of the seeds: 1 if both halves tell the same order, about 0 if neither
tells anything. Over some worlds an arm's place is its mean of (rank - 1) / (arms - 1), 0 if it is always best; its
interval is that of a bootstrap that draws seeds again within each world, the same for all arms; `keeps` is the share of
these draws in which it has the position that it has in the full data. These worlds, and the arms that all of them hold,
are those with most cells of one arm in one world, where worlds with more arms come before worlds with fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sandbox.statistics import MIN_SEEDS, iqm

DRAWS, SPLITS = 1000, 200

Cell = tuple[str, str]  # world, arm


def stability(scores: Mapping[Cell, Mapping[int, float]]) -> dict[str, Any]:
    """`worlds` and `arms`, a row each; arms with fewer than five seeds are left out, and worlds with one arm.

    Places are compared over worlds with the same arms: an average over other worlds is another measure.
    """
    tables = {world: table for world in dict.fromkeys(w for w, _ in scores) if (table := _table(world, scores))}
    rng = np.random.default_rng(0)
    shared = _shared(tables)
    places = {world: _draws(matrix, rng) for world, (_, matrix) in shared.items()}
    worlds = [
        {"world": world, "arms": len(names), "seeds": matrix.shape[1], "halves": _halves(matrix, rng)}
        for world, (names, matrix) in tables.items()
    ]
    return {"worlds": worlds, "arms": _over_worlds(shared, places)}


Table = tuple[list[str], np.ndarray]  # arms, scores [arms, seeds]


def _table(world: str, scores: Mapping[Cell, Mapping[int, float]]) -> Table | None:
    arms = {arm: of for (w, arm), of in scores.items() if w == world and len(of) >= MIN_SEEDS}
    seeds = sorted(set.intersection(*map(set, arms.values()))) if arms else []
    if len(arms) < 2 or len(seeds) < MIN_SEEDS:
        return None
    return list(arms), np.array([[of[seed] for seed in seeds] for of in arms.values()])


def _shared(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Some of the tables, cut to the arms that they share."""
    best: tuple[list[str], list[str]] = ([], [])
    chosen: list[str] = []
    for world in sorted(tables, key=lambda world: -len(tables[world][0])):
        chosen.append(world)
        names = [arm for arm in tables[chosen[0]][0] if all(arm in tables[one][0] for one in chosen)]
        if len(names) > 1 and len(names) * len(chosen) > len(best[0]) * len(best[1]):
            best = (list(chosen), names)
    worlds, names = best
    return {world: (names, tables[world][1][[tables[world][0].index(arm) for arm in names]]) for world in worlds}


def ranks(values: np.ndarray) -> np.ndarray:
    """[..., arms] -> ranks, 1 for the highest, ties at their mean rank."""
    above = values[..., None, :] > values[..., :, None]
    equal = values[..., None, :] == values[..., :, None]
    return 0.5 + above.sum(-1) + equal.sum(-1) / 2


def tau(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b; 0 where one of the two orders nothing."""
    a, b = (np.sign(v[:, None] - v[None, :]) for v in (x, y))
    size = np.sqrt(np.abs(a).sum() * np.abs(b).sum())
    return float((a * b).sum() / size) if size else 0.0


def _halves(matrix: np.ndarray, rng: np.random.Generator) -> float:
    """Mean over random splits."""
    n = matrix.shape[1]
    orders = (rng.permutation(n) for _ in range(SPLITS))
    return float(
        np.mean([tau(iqm(matrix[:, o[: n // 2]], axis=1), iqm(matrix[:, o[n // 2 :]], axis=1)) for o in orders])
    )


def _draws(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[1 + draws, arms] places in 0..1: of the data, then of each draw of seeds."""
    arms, n = matrix.shape
    drawn = matrix[:, rng.integers(n, size=(DRAWS, n))]  # [arms, draws, n]
    values = np.concatenate([iqm(matrix, axis=1)[None], iqm(drawn, axis=2).T])
    return (ranks(values) - 1) / (arms - 1)


def _over_worlds(tables: Mapping[str, Table], places: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    if not tables:
        return []
    means = np.mean(list(places.values()), axis=0).T  # [arms, 1 + draws]
    positions = ranks(-means.T)  # the lowest place is first
    keeps = (positions[1:] == positions[0]).mean(0)
    low, high = np.quantile(means[:, 1:], [0.025, 0.975], axis=1)
    rows = [
        {"arm": name, "worlds": len(tables), "place": float(means[i, 0]), "low": float(low[i]), "high": float(high[i]),
         "keeps": float(keeps[i])}
        for i, name in enumerate(next(iter(tables.values()))[0])
    ]  # fmt: skip
    return sorted(rows, key=lambda row: row["place"])
