"""The compiled world alone: random actions, all copies, resets and last views of an episode included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs import vector

DRAWN = 10_000  # calls of `step` before the same random actions come again


def make(env: str, copies: int) -> Callable[[int], object]:
    """A function that steps the world: steps // copies calls."""
    world = vector.make(env, copies)
    vector.reset(world, 0)
    actions = np.random.default_rng(0).integers(0, 7, (DRAWN, copies))

    def run(steps: int) -> None:
        for call in range(steps // copies):
            world.step(actions[call % DRAWN])

    return run
