"""A multi-layer perceptron over the flattened observation, for vectors, one-hot grids, and dicts of such.

features = relu(W_k ... relu(W_1 x)); discrete parts are one-hot, pictures are divided by 255 (SB3's preprocessing).
"""

from __future__ import annotations

from typing import Annotated

from gymnasium import spaces
from pydantic import Field
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, preprocess_obs
from torch import Tensor, cat, nn

from agents.encoders import Encoder
from agents.rollout import Obs

Width = Annotated[int, Field(ge=1, le=65536)]


def flatten(obs: Obs, space: spaces.Space) -> Tensor:
    """[B, *obs] -> [B, K] float32, parts of a dict in the order of the space."""
    ready = preprocess_obs(obs, space)
    if isinstance(ready, dict):
        return cat([ready[name].flatten(1) for name in space.spaces], dim=1)  # type: ignore[attr-defined]
    return ready.flatten(1)


class Mlp(Encoder):
    """Args: hidden, widths of the layers; the last one is D."""

    def __init__(self, observation_space: spaces.Space, *, hidden: tuple[Width, ...] = (128, 128)) -> None:
        if not hidden:
            raise ValueError("mlp needs at least one hidden layer; the encoder `flat` has none")
        parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
        widths = [sum(get_flattened_obs_dim(part) for part in parts), *hidden]
        super().__init__(observation_space, features_dim=widths[-1])
        pairs = zip(widths, widths[1:], strict=False)
        self.layers = nn.Sequential(*(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())))

    def forward(self, obs: Obs) -> Tensor:
        return self.layers(flatten(obs, self._observation_space))
