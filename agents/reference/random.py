"""Uniformly random actions: the floor (score 0) of every comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from agents.reference import Reference


class Random(Reference):
    """Samples the action space with a generator of its own."""

    def __init__(self, action_space: spaces.Space, seed: int = 0) -> None:
        super().__init__(action_space, seed)
        action_space.seed(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: np.ndarray | None = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        first = next(iter(observation.values())) if isinstance(observation, dict) else observation
        return np.stack([self.action_space.sample() for _ in range(len(first))]), state
