"""Do probes order agents as their scores do? (Zhang et al. 2022 found so on Atari, with frozen encoders.)

In each world six agents with the same bonus and reward, which differ only in what shapes their encoder, are ordered by
how well a linear reader finds the oracle's action, the reward or the true state in their features (mean over seeds),
and by their scores (IQM over seeds). Kendall's tau-b of the two orders is 1 if they agree and -1 if one is the other
reversed. Its mean over worlds has an interval as wide as `statistics.wide_difference` makes it, from a bootstrap that
draws seeds again in each world, the same draw for all agents and for both orders.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from sandbox.statistics import MIN_SEEDS, Estimate, half_width, iqm
from studies._claims import combined, outcome
from studies._ranks import tau

BASE = "ppo+noveld"
ARMS = (
    BASE, *(f"{BASE}+inverse{how}" for how in (
        "", ":mode=finetune", ":mode=frozen", ":mode=frozen,pretrain_steps=0", ":mode=finetune,shuffled=true",
    )),
)  # fmt: skip
JUDGED = ("oracle", "reward")  # Zhang's
VARIABLES = (*JUDGED, "state")
DRAWS = 2000

Table = tuple[np.ndarray, dict[str, np.ndarray]]  # scores [agents, seeds], and each variable's probes, the same


def judge(rows: Sequence[dict[str, Any]], worlds: Sequence[str]) -> dict[str, Any]:
    """Claim 6, from rows whose `probes` are variable -> a number for each of the row's seeds."""
    tables = {world: table for world in worlds if (table := table_of(rows, world))}
    level = 1 - 0.05 / 2
    found = {name: agreement([t for t in tables.values() if name in t[1]], name, level) for name in VARIABLES}
    n = min((scores.shape[1] for scores, _ in tables.values()), default=0)
    missing = f"not run ({len(tables)} of {len(worlds)} worlds)"
    so_far = f"so far, in {', '.join(tables)}: " if len(tables) < len(worlds) else ""
    judged = [outcome("above", one, level) for name in JUDGED if (one := found[name])]
    return {
        "claim": "6",
        "text": "Probes of the oracle's action and of the reward order agents as their scores do (Zhang et al. 2022).",
        "verdict": combined(judged) if len(tables) == len(worlds) and len(judged) == 2 else missing,
        "n": n, "level": level,
        "lines": [so_far + _line(name, one, level, tables.values()) for name, one in found.items() if one],
        "worlds": {world: {name: round(tau_of(t, name), 3) for name in t[1]} for world, t in tables.items()},
    }  # fmt: skip


def table_of(rows: Sequence[dict[str, Any]], world: str) -> Table | None:
    """None where an agent has fewer than five probed seeds, or where all scores are equal: they order nothing."""
    arms = {row["arm"]: row for row in rows if row["world"] == world and row["arm"] in ARMS and row.get("probes")}
    if len(arms) < len(ARMS):
        return None
    names = [name for name in VARIABLES if all(name in arms[arm]["probes"] for arm in ARMS)]
    probes = {name: [_by_seed(arms[arm], arms[arm]["probes"][name]) for arm in ARMS] for name in names}
    seeds = sorted(set.intersection(*(set(one) for of in probes.values() for one in of)))
    if len(seeds) < MIN_SEEDS:
        return None
    scores = _matrix([_by_seed(arms[arm], arms[arm]["scores"]) for arm in ARMS], seeds)
    if np.ptp(iqm(scores, axis=1)) == 0:
        return None
    return scores, {name: _matrix(of, seeds) for name, of in probes.items()}


def _by_seed(row: dict[str, Any], values: Sequence[float | None]) -> dict[int, float]:
    """What is there."""
    return {seed: value for seed, value in zip(row["seeds"], values, strict=True) if value is not None}


def _matrix(arms: Sequence[dict[int, float]], seeds: Sequence[int]) -> np.ndarray:
    return np.array([[of[seed] for seed in seeds] for of in arms])


def tau_of(table: Table, name: str, drawn: np.ndarray | slice = slice(None)) -> float:
    """Kendall's tau-b of the order by probes and the order by scores, on the seeds `drawn`."""
    scores, probes = table
    return tau(probes[name][:, drawn].mean(1), iqm(scores[:, drawn], axis=1))


def agreement(tables: Sequence[Table], name: str, level: float) -> Estimate | None:
    """Mean tau over worlds with its bootstrap interval; None without a world."""
    if not tables:
        return None
    rng = np.random.default_rng(0)
    n = [scores.shape[1] for scores, _ in tables]
    draws = [
        np.mean([tau_of(table, name, rng.integers(k, size=k)) for table, k in zip(tables, n, strict=True)])
        for _ in range(DRAWS)
    ]
    mean, least = float(np.mean([tau_of(table, name) for table in tables])), min(n)
    half = half_width(draws, least, level)
    return Estimate(mean, max(mean - half, -1.0), min(mean + half, 1.0), (least,))


def _line(name: str, found: Estimate, level: float, tables: Collection[Table]) -> str:
    told = f"Kendall's tau of the orders by {name} probes and by scores is {found.value:.2f}"
    read = sum(name in table[1] for table in tables)
    where = f"mean of {read} worlds" + ("; in the others it is too rare to be read" if read < len(tables) else "")
    verdict = outcome("above", found, level) if name in JUDGED else "beside it, not judged"
    return f"{verdict}: {told} [{found.low:.2f}, {found.high:.2f}] ({where})"
