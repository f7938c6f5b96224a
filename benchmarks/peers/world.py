"""One bare Minigrid environment: random actions, reset where an episode ends."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import minigrid  # noqa: F401 - registers the ids
import numpy as np


def make(env: str) -> Callable[[int], object]:
    """A function that steps it."""
    world = gym.make(env).unwrapped
    world.reset(seed=0)
    rng = np.random.default_rng(0)

    def run(steps: int) -> None:
        for action in rng.integers(0, 7, steps).tolist():
            _, _, terminated, truncated, _ = world.step(action)
            if terminated or truncated:
                world.reset()

    return run
