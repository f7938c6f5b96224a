"""Actions as networks meet them: a vector going into a forward model, a prediction coming out of an inverse one."""

from __future__ import annotations

import math

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from agents.faults import Unfit
from agents.layers import Dense, Linear


class Actions:
    """Coding of one action space.

    Args:
        space: Discrete (one-hot, cross-entropy) or Box (its numbers, squared error).

    Raises:
        ValueError: for any other space.
    """

    def __init__(self, space: spaces.Space) -> None:
        if not isinstance(space, spaces.Discrete | spaces.Box):
            raise Unfit(f"actions of {type(space).__name__} are not supported here; use Discrete or Box")
        self.first = int(space.start) if isinstance(space, spaces.Discrete) else None
        self.size = int(space.n) if isinstance(space, spaces.Discrete) else math.prod(space.shape)

    def vector(self, actions: Tensor) -> Tensor:
        """[M] or [M, A] as the environment takes them -> [M, size] float32."""
        if self.first is None:
            return actions.flatten(1).float() if actions.dim() > 1 else actions[:, None].float()
        return F.one_hot(actions.long() - self.first, self.size).float()

    def loss(self, prediction: Tensor, actions: Tensor) -> Tensor:
        """Scalar: cross-entropy of logits [M, size], or mean squared error."""
        if self.first is None:
            return F.mse_loss(prediction, self.vector(actions))
        return F.cross_entropy(prediction, actions.long() - self.first)

    @torch.no_grad()
    def metrics(self, prediction: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """Discrete: `accuracy`, and `chance`: the accuracy of always naming the minibatch's most frequent action.
        Box: `chance` alone: the loss of always naming the minibatch's mean action."""
        coded = self.vector(actions)
        if self.first is None:
            return {"chance": coded.var(0, correction=0).mean()}
        right = prediction.argmax(-1) == actions.long() - self.first
        return {"accuracy": right.float().mean(), "chance": coded.mean(0).max()}


def inverse_head(features_dim: int, hidden: int, actions: Actions) -> nn.Module:
    """(phi(s_t), phi(s_{t+1})) [M, 2D] -> prediction of a_t [M, size]."""
    return nn.Sequential(Dense(2 * features_dim, hidden), Linear(hidden, actions.size))


def to_floats(values: dict[str, Tensor]) -> dict[str, float]:
    """Scalars to numbers, with one transfer from the device for all of them."""
    numbers = torch.stack([value.detach() for value in values.values()]).tolist()
    return dict(zip(values, numbers, strict=True))
