"""From features back to the observation, in the terms in which an encoder reads it: what a reconstruction costs.

Symbols (each channel of each cell of a symbolic view, each part of a Discrete, MultiDiscrete or MultiBinary space):
cross-entropy, averaged over the symbols. Pictures: squared error of pixels / 255. Other numbers: squared error in units
of their running std, cut at 5 stds. The costs of the parts of a dict are added up.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from torch import Tensor, nn
from torch.nn import functional as F

from agents.encoders import is_symbolic_view
from agents.faults import Unfit
from agents.layers import Dense, Linear
from agents.normalise import RunningMoments
from agents.rollout import Obs

FILTERS = 16


class Decoder(nn.Module):
    """(features [M, D], observation [M, *obs]) -> scalar.

    Raises:
        ValueError: if a part of the space is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """

    def __init__(self, space: spaces.Space, features_dim: int, hidden: int) -> None:
        super().__init__()
        parts = dict(sorted(space.spaces.items())) if isinstance(space, spaces.Dict) else {"": space}
        self.names = list(parts)
        self.heads = nn.ModuleList(_head(part, features_dim, hidden) for part in parts.values())

    def forward(self, z: Tensor, obs: Obs) -> Tensor:
        given = obs if isinstance(obs, dict) else {"": obs}
        costs = [head(z, given[name]) for name, head in zip(self.names, self.heads, strict=True)]
        return torch.stack(costs).sum()


class _Symbols(nn.Module):
    """Integers, each with a first value and a number of classes."""

    first: Tensor
    impossible: Tensor

    def __init__(self, first: np.ndarray, classes: np.ndarray, features_dim: int, hidden: int) -> None:
        super().__init__()
        self.most, counts = int(classes.max()), torch.from_numpy(classes.astype(np.int64).ravel())
        self.register_buffer("first", torch.from_numpy(first.astype(np.int64).ravel()), persistent=False)
        self.ragged = bool((counts < self.most).any())
        self.register_buffer("impossible", torch.arange(self.most)[:, None] >= counts, persistent=False)
        self.net = nn.Sequential(Dense(features_dim, hidden), Linear(hidden, len(counts) * self.most))

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        logits = self.net(z).unflatten(
            1, self.impossible.shape
        )  # [M, classes, symbols] is softmaxed 4 times as fast as its transpose
        symbols = x.reshape(len(z), -1).long() - self.first
        logits = logits.masked_fill(self.impossible, -1e30) if self.ragged else logits
        return F.cross_entropy(logits, symbols, reduction="none").mean()  # torch's own mean varies on a GPU


class _Picture(nn.Module):
    """Channel-first pixels, by two transposed convolutions that double the side."""

    def __init__(self, space: spaces.Box, features_dim: int, hidden: int) -> None:
        super().__init__()
        channels, *self.side = space.shape
        rows, columns = (math.ceil(side / 4) for side in self.side)
        self.net = nn.Sequential(
            Dense(features_dim, FILTERS * rows * columns),
            nn.Unflatten(1, (FILTERS, rows, columns)),
            nn.ConvTranspose2d(FILTERS, FILTERS, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(FILTERS, channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        height, width = self.side
        return F.mse_loss(self.net(z)[..., :height, :width], x.float() / 255)


class _Numbers(nn.Module):
    """Any other numbers."""

    def __init__(self, space: spaces.Box, features_dim: int, hidden: int) -> None:
        super().__init__()
        self.moments = RunningMoments((math.prod(space.shape),))
        self.net = nn.Sequential(Dense(features_dim, hidden), Linear(hidden, math.prod(space.shape)))

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        values = x.reshape(len(z), -1)
        self.moments.update(values)
        return F.mse_loss(self.net(z), self.moments.normalise(values))


def _head(space: spaces.Space, features_dim: int, hidden: int) -> nn.Module:
    """The decoder of one part of an observation."""
    if isinstance(space, spaces.Discrete):
        return _Symbols(np.array([space.start]), np.array([space.n]), features_dim, hidden)
    if isinstance(space, spaces.MultiDiscrete):
        return _Symbols(space.start, space.nvec, features_dim, hidden)
    if isinstance(space, spaces.MultiBinary):
        return _Symbols(np.zeros(space.shape), np.full(space.shape, 2), features_dim, hidden)
    if not isinstance(space, spaces.Box):
        raise Unfit(f"autoencoder: observations of {type(space).__name__} cannot be rebuilt; use another objective")
    if is_symbolic_view(space):
        return _Symbols(space.low, space.high.astype(np.int64) - space.low + 1, features_dim, hidden)
    return (_Picture if is_image_space(space) else _Numbers)(space, features_dim, hidden)
