"""The world's own oracle, a planner over the true state: the ceiling (score 1) of every comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.reference import Reference


class Oracle(Reference):
    """Takes the action that a perfect supervisor would label."""

    def bind(self, env: Any) -> None:
        self.env = env

    def predict(
        self, observation: Any, state: Any = None, episode_start: np.ndarray | None = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        return self.env.oracle(), state
