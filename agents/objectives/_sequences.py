"""What objectives on several steps at a time share: sequences, their features, and a model rolled out in latent space.

Sequences of k steps begin at every k-th step of the minibatch, which is itself drawn at random. So they hold as many
steps as the minibatch, and an objective that looks k steps ahead encodes little more than one that looks one ahead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from agents.layers import Dense, Linear
from agents.objectives._actions import Actions
from agents.objectives._ahead import Ahead
from agents.rollout import Index, Obs, map_obs


def starts(index: Index, k: int) -> Index:
    """Every k-th step of a minibatch: where sequences of k steps begin."""
    return index[0][::k], index[1][::k]


def views(steps: Ahead) -> Obs:
    """s_t ... s_{t+K} [M, K + 1, *obs]; those behind what is reached mean nothing."""
    if isinstance(steps.obs, dict) and isinstance(steps.next_obs, dict):
        return {name: _joined(steps.obs[name], steps.next_obs[name]) for name in steps.obs}
    assert isinstance(steps.obs, Tensor) and isinstance(steps.next_obs, Tensor)
    return _joined(steps.obs, steps.next_obs)


def features(encoder: Callable[[Obs], Tensor], sequences: Obs) -> Tensor:
    """Views [M, L, *obs] -> [M, L, D], in one pass."""
    first = next(iter(sequences.values())) if isinstance(sequences, dict) else sequences
    return encoder(map_obs(lambda x: x.flatten(0, 1), sequences)).unflatten(0, first.shape[:2])


def mean_where(values: Tensor, reached: Tensor) -> Tensor:
    """Mean of values [M, K] over the steps that are reached."""
    return (values * reached).sum() / reached.sum()


class Transition(nn.Module):
    """A step in latent space: (z [M, D], actions as the environment takes them, [M] or [M, A]) -> [M, D].

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    def __init__(self, features_dim: int, hidden: int, actions: Actions) -> None:
        super().__init__()
        self.actions = actions
        self.net = nn.Sequential(Dense(features_dim + actions.size, hidden), Linear(hidden, features_dim))

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:
        return self.net(torch.cat([z, self.actions.vector(actions)], -1))

    def roll_out(self, z: Tensor, actions: Tensor) -> Tensor:
        """z [M, D] through actions [M, K] or [M, K, A]: what is expected after 1 ... K of them, [M, K, D]."""
        expected = []
        for action in actions.unbind(1):
            z = self(z, action)
            expected.append(z)
        return torch.stack(expected, 1)


def _joined(first: Tensor, later: Tensor) -> Tensor:
    """[M, ...] and [M, K, ...] -> [M, K + 1, ...]"""
    return torch.cat([first[:, None], later], 1)
