"""A multi-layer perceptron over the flattened observation, for vectors, one-hot grids, and dicts of such.

features = relu(W_k ... relu(W_1 x)); discrete parts are one-hot, pictures are divided by 255 (SB3's preprocessing).
"""

from __future__ import annotations

from typing import Annotated

from gymnasium import spaces
from pydantic import Field
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space, preprocess_obs
from torch import Tensor, cat, eye

from agents.encoders import Encoder
from agents.faults import Unfit
from agents.layers import dense_layers
from agents.rollout import Obs

Width = Annotated[int, Field(ge=1, le=65536)]


def flatten(obs: Obs, space: spaces.Space) -> Tensor:
    """[B, *obs] -> [B, K] float32, parts of a dict in the order of the space."""
    if isinstance(space, spaces.Dict):
        assert isinstance(obs, dict)
        return cat([_flat(obs[name], part) for name, part in space.spaces.items()], dim=1)
    assert isinstance(obs, Tensor)
    return _flat(obs, space)


def _flat(part: Tensor, space: spaces.Space) -> Tensor:
    """SB3's preprocessing of one part; the two commonest kinds without its detours, which cost as much as a layer."""
    if isinstance(space, spaces.Discrete):
        return eye(int(space.n), device=part.device).index_select(0, part.long().reshape(-1))
    if isinstance(space, spaces.Box) and not (space.high.flat[0] == 255 and is_image_space(space)):
        return part.flatten(1).float()
    ready = preprocess_obs(part, space)
    assert isinstance(ready, Tensor)
    return ready.flatten(1)


class Mlp(Encoder):
    """Args: hidden, widths of the layers; the last one is D."""

    def __init__(self, observation_space: spaces.Space, *, hidden: tuple[Width, ...] = (128, 128)) -> None:
        if not hidden:
            raise Unfit("mlp needs at least one hidden layer; the encoder `flat` has none")
        parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
        widths = [sum(get_flattened_obs_dim(part) for part in parts), *hidden]
        super().__init__(observation_space, features_dim=widths[-1])
        self.layers = dense_layers(widths)

    def forward(self, obs: Obs) -> Tensor:
        return self.layers(flatten(obs, self._observation_space))
