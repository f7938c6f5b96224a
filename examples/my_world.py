"""A world of your own in one file: a corridor with a lamp that says at which end the reward lies.

Run from the folder of this file (the part before the colon is the module, the part after it the id):

    sandbox train ppo --env my_world:Corridor-v0 --steps 20000
    sandbox compare ppo bc:labels=200 state:labels=200 random oracle --env my_world:Corridor-v0 --steps 20000 --seeds 5

All of it is ordinary Gymnasium but `info["is_success"]`, `labels` and `oracle`: these three are offers, each optional.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

LEFT, RIGHT = 0, 1


class Corridor(gym.Env[np.ndarray, np.int64]):
    """`length` cells in a row; the agent starts in the middle, the episode ends at either end.

    Observation: Box(0, 1, (length + 1,)), the cell as one-hot, then the lamp (1: the reward lies to the right).
    Actions: 0 left, 1 right. Reward: 1 for arriving at the right end, else 0. Time limit: see `register` below.

    Args:
        length: number of cells, odd and at least 3.
    """

    metadata = {"render_modes": []}

    def __init__(self, *, length: int = 11) -> None:
        if length < 3 or length % 2 == 0:
            raise ValueError(f"length must be odd and at least 3, got {length}")
        self.length = length
        self.observation_space = spaces.Box(0.0, 1.0, (length + 1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.cell = self.length // 2
        self.lamp = int(self.np_random.integers(2))
        return self._view(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.cell += 1 if action == RIGHT else -1
        ended = self.cell in (0, self.length - 1)
        success = ended and (self.cell > 0) == bool(self.lamp)
        # Say it at every step, not only at the end: then the success rate is known.
        return self._view(), float(success), ended, False, {"is_success": success}

    def _view(self) -> np.ndarray:
        view = np.zeros(self.length + 1, np.float32)
        view[self.cell], view[-1] = 1.0, self.lamp
        return view

    def labels(self) -> dict[str, Any]:
        """Ground truth for `state`: integers are classes, floats are numbers. The same names at every step."""
        goal = (self.length - 1) * self.lamp
        return {"cell": np.int64(self.cell), "distance": np.float32(abs(goal - self.cell))}

    def oracle(self) -> int:
        """The best action now, for `bc` and `oracle`."""
        return RIGHT if self.lamp else LEFT


gym.register("Corridor-v0", entry_point=f"{__name__}:Corridor", max_episode_steps=100)
