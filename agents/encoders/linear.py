"""A linear map of the flattened observation: all that principal components are (the supervised part `pca` fits them).

features = W x + b, x: numbers as they are, pictures in [0, 1], discrete parts and each of MiniGrid's cells one-hot
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.encoders import Encoder, is_symbolic_view
from agents.encoders.mlp import Width, flatten
from agents.encoders.symbolic import N_IDS, joint_ids
from agents.rollout import Obs


def one_hot(obs: Obs, space: spaces.Space) -> Tensor:
    """[B, *obs] -> [B, K] float32: the x above."""
    if isinstance(space, spaces.Dict) and is_symbolic_view(space.spaces.get("image")):
        assert isinstance(obs, dict)
        view = obs["image"].long().flatten(1, 2)
        table = torch.from_numpy(joint_ids()).to(view.device).long()
        ids = table[view[..., 0] << 8 | view[..., 1] << 4 | view[..., 2]]
        cells = torch.zeros(*ids.shape, N_IDS, device=ids.device).scatter_(2, ids[..., None], 1.0).flatten(1)
        rest = spaces.Dict({name: part for name, part in space.spaces.items() if name != "image"})
        return torch.cat([cells, flatten(obs, rest)], 1) if rest.spaces else cells
    return flatten(obs, space)


class Linear(Encoder):
    """Args: features, D."""

    def __init__(self, observation_space: spaces.Space, *, features: Width = 128) -> None:
        super().__init__(observation_space, features)
        self.map = nn.Linear(_width(observation_space), features)

    def forward(self, obs: Obs) -> Tensor:
        return self.map(one_hot(obs, self._observation_space))


def _width(space: spaces.Space) -> int:
    """K, read off one observation of zeros."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    zeros = {name: torch.zeros(1, *(part.shape or ()), dtype=torch.uint8) for name, part in parts.items()}
    return one_hot(zeros if isinstance(space, spaces.Dict) else zeros[""], space).shape[1]
