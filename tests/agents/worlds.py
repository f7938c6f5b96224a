"""Small random worlds of every kind of space, for tests of bonuses and objectives."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.rollout import Obs, Rollout, map_obs

T, N = 24, 3


class Encoder(BaseFeaturesExtractor):
    """Symbols one-hot or as they are, then one layer."""

    def __init__(self, space: spaces.Space) -> None:
        super().__init__(space, 16)
        self.space, self.net = space, nn.Sequential(nn.Linear(flatdim(space), 16), nn.Tanh())

    def forward(self, observations: Obs) -> Tensor:
        parts = observations if isinstance(observations, dict) else {"": observations}
        spaces_ = self.space.spaces if isinstance(self.space, spaces.Dict) else {"": self.space}
        return self.net(torch.cat([self._code(spaces_[k], parts[k]) for k in sorted(parts)], -1))

    @staticmethod
    def _code(space: spaces.Space, part: Tensor) -> Tensor:
        return (
            F.one_hot(part.long(), int(space.n)).float()
            if isinstance(space, spaces.Discrete)
            else part.flatten(1).float()
        )


SYMBOLS = spaces.Dict({"image": spaces.Box(0, 10, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)})
VECTOR, POINT = spaces.Box(-5, 5, (4,), np.float32), spaces.Box(-5, 5, (3,), np.float32)
WORLDS = {
    "symbols": (SYMBOLS, spaces.Discrete(7)),
    "vector": (VECTOR, spaces.Discrete(2)),
    "continuous": (POINT, spaces.Box(-1, 1, (1,), np.float32)),
}


def context(world: str) -> Context:
    space, actions = WORLDS[world]
    return Context(space, actions, N, lambda: Encoder(space))


def rollout(world: str, seed: int) -> Rollout:
    """Random views that hang together: the successor is the next view, but for ends of both kinds."""
    space, action_space = WORLDS[world]
    g = torch.Generator().manual_seed(seed)

    def views(part: spaces.Space) -> Tensor:
        if isinstance(part, spaces.Discrete):
            return torch.randint(int(part.n), (T + 1, N), generator=g)
        if part.dtype == np.uint8:
            return torch.randint(11, (T + 1, N, *part.shape), generator=g, dtype=torch.uint8)
        return torch.randn(T + 1, N, *part.shape, generator=g)

    def draw() -> Obs:
        return {k: views(v) for k, v in space.spaces.items()} if isinstance(space, spaces.Dict) else views(space)

    def joined(ended: Tensor, following: Tensor, fresh: Tensor) -> Tensor:
        shape = (T - 1, N) + (1,) * (following.dim() - 2)
        return torch.cat([fresh[:1], torch.where(ended[:-1].view(shape), fresh[1:T], following[: T - 1])])

    terminated, truncated = (torch.rand(2, T, N, generator=g) < 0.1).unbind()
    after, fresh, ended = draw(), draw(), terminated | truncated
    if isinstance(after, dict):
        obs: Obs = {k: joined(ended, after[k], fresh[k]) for k in after}
    else:
        obs = joined(ended, after, fresh)
    if isinstance(action_space, spaces.Discrete):
        actions = torch.randint(int(action_space.n), (T, N), generator=g)
    else:
        actions = torch.randn(T, N, *action_space.shape, generator=g)
    return Rollout(obs, actions, map_obs(lambda x: x[:T], after), torch.zeros(T, N), terminated, truncated)
