"""Minigrid itself as the peers can read it: one vector of 151 float32 (the 7x7x3 view, then the direction as one-hot).

The same numbers as our encoder `flat` gives. rllte's encoders take pictures of at least 36 pixels a side or vectors,
and neither a dict nor integers.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401 - registers the ids
import numpy as np
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.rollout import Obs

DIRECTIONS = 4


class FlatView(gym.ObservationWrapper):
    """Dict{"image", "direction", "mission"} -> [151] float32."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        image = env.observation_space["image"]  # type: ignore[index]
        self.cells = int(np.prod(image.shape))
        self.observation_space = gym.spaces.Box(0, 255, (self.cells + DIRECTIONS,), np.float32)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        vector = np.zeros(self.cells + DIRECTIONS, np.float32)
        vector[: self.cells] = observation["image"].ravel()
        vector[self.cells + observation["direction"]] = 1.0
        return vector


def flat(obs: Obs) -> Tensor:
    """The same of views of ours [T, N, ...]: [T, N, 151] float32."""
    assert isinstance(obs, dict)
    directions = torch.nn.functional.one_hot(obs["direction"], DIRECTIONS)
    return torch.cat([obs["image"].flatten(2), directions], -1).float()


def make_env(env: str, copies: int) -> VecEnv:
    """SB3's default: copies one after the other in this process (`DummyVecEnv`), each with its `Monitor`."""
    return make_vec_env(env, n_envs=copies, seed=0, wrapper_class=FlatView)
