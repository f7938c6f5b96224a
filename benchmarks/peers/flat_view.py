"""Minigrid itself as the peers can read it: one vector of 151 float32 (the 7x7x3 view, then the direction as one-hot).

The same numbers as our encoder `flat` gives. rllte's encoders take pictures of at least 36 pixels a side or vectors,
and neither a dict nor integers.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401 - registers the ids
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv


class FlatView(gym.ObservationWrapper):
    """Dict{"image", "direction", "mission"} -> [151] float32."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        image = env.observation_space["image"]  # type: ignore[index]
        self.cells = int(np.prod(image.shape))
        self.observation_space = gym.spaces.Box(0, 255, (self.cells + 4,), np.float32)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        vector = np.zeros(self.cells + 4, np.float32)
        vector[: self.cells] = observation["image"].ravel()
        vector[self.cells + observation["direction"]] = 1.0
        return vector


def make_env(env: str, copies: int) -> VecEnv:
    """SB3's default: copies one after the other in this process (`DummyVecEnv`), each with its `Monitor`."""
    return make_vec_env(env, n_envs=copies, seed=0, wrapper_class=FlatView)
