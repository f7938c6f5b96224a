"""Floor and ceiling of every comparison: one file each, with SB3's `predict`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


class Reference:
    """A policy that learns nothing.

    Args:
        action_space: of one copy.
        seed: of its own generator.
    """

    def __init__(self, action_space: spaces.Space, seed: int = 0) -> None:
        self.action_space, self.seed = action_space, seed

    def bind(self, env: Any) -> None:
        """The vector environment that it is about to act in (an oracle reads the true state from it)."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: np.ndarray | None = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """([N, ...] actions, state), as SB3's policies."""
        raise NotImplementedError
