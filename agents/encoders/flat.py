"""The flattened observation itself, without weights: with `net_arch` this is SB3's standard MlpPolicy."""

from __future__ import annotations

from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from torch import Tensor

from agents.encoders import Encoder
from agents.encoders.mlp import flatten
from agents.rollout import Obs


class Flat(Encoder):
    """obs -> [B, K]; nothing to learn, so no objective can train it."""

    def __init__(self, observation_space: spaces.Space) -> None:
        parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
        super().__init__(observation_space, features_dim=sum(get_flattened_obs_dim(part) for part in parts))

    def forward(self, obs: Obs) -> Tensor:
        return flatten(obs, self._observation_space)
