"""The 2 x 2 of the labels study: is it the data or the objective that a frozen encoder owes its worth to?

Four agents with a frozen encoder and a head that learns from reward: with a bonus or without (`data`), and with an
encoder that inverse dynamics taught on that agent's experience or one that learned nothing (`objective`). A main effect
is the mean over the other factor, the interaction what both together give beyond their sum; differences of IQMs, paired
by seed, with `statistics.wide_difference`'s 95 % intervals. The bonus goes on while the head learns: `data` is what
curiosity does to both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sandbox import statistics
from sandbox.statistics import MIN_SEEDS

FROZEN, UNTRAINED = "inverse:mode=frozen", "inverse:mode=frozen,pretrain_steps=0"
ARMS = {
    ("without a bonus", "untrained"): f"ppo+{UNTRAINED}",
    ("without a bonus", "self-taught"): f"ppo+{FROZEN}",
    ("curious", "untrained"): f"ppo+noveld+{UNTRAINED}",
    ("curious", "self-taught"): f"ppo+noveld+{FROZEN}",
}
EFFECTS = {  # weights of the cells, in the order of ARMS
    "data": (-0.5, -0.5, 0.5, 0.5),
    "objective": (-0.5, 0.5, -0.5, 0.5),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}


def effects(rows: Sequence[dict[str, Any]], worlds: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each world whose four arms have five common seeds, then one over all where there are several."""
    found = {world: cells for world in worlds if (cells := cells_of(rows, world)) is not None}
    lines = [{"worlds": [world]} | _line(cells[:, :, None]) for world, cells in found.items()]
    if len(found) > 1:
        n = min(cells.shape[1] for cells in found.values())
        every = np.stack([cells[:, :n] for cells in found.values()], -1)
        lines.append({"worlds": list(found)} | _line(every))
    return lines


def cells_of(rows: Sequence[dict[str, Any]], world: str) -> np.ndarray | None:
    """Scores [4, seeds] of the arms in one world."""
    scores = {row["arm"]: dict(zip(row["seeds"], row["scores"], strict=True)) for row in rows if row["world"] == world}
    seeds = sorted(set.intersection(*(set(scores.get(arm, {})) for arm in ARMS.values())))
    if len(seeds) < MIN_SEEDS:
        return None
    return np.array([[scores[arm][seed] for seed in seeds] for arm in ARMS.values()])


def _line(cells: np.ndarray) -> dict[str, Any]:
    """Of cells [4, seeds, worlds]: the IQM of each, and the effects."""
    told = {name: _effect(cells, weights) for name, weights in EFFECTS.items()}
    return {"n": cells.shape[1], "cells": [round(float(statistics.iqm(cell)), 4) for cell in cells]} | told


def _effect(cells: np.ndarray, weights: tuple[float, ...]) -> dict[str, Any]:
    """What the cells of positive weight have beyond those of negative weight."""
    w = np.array(weights)[:, None, None]
    found = statistics.wide_difference((cells * w.clip(0)).sum(0), (cells * -w.clip(None, 0)).sum(0))
    low, high = (None if end is None else round(end, 4) for end in (found.low, found.high))
    return {"value": round(found.value, 4), "low": low, "high": high}
