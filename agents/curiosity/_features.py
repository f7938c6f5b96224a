"""A space of features in which a bonus measures distance: learned from the agent's own experience, or left random.

inverse: L = -log p(a_t | phi(s_t), phi(s_{t+1}));   autoencoder: L = mean_k (x^_k(phi(s)) - x_k(s))^2;   random: none

Source: Pathak et al. 2017, eq. 3 (inverse dynamics); Burda et al. 2018, "Large-Scale Study of Curiosity-Driven
Learning", section 2.1 (random features; pixels through a variational autoencoder). What we do differently: a plain
autoencoder instead of a variational one, over numbers scaled to the bounds of their space, so that it reads symbols and
vectors as well as pictures. The features are the run's encoder with weights of its own; one epoch a rollout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.curiosity._batches import Shuffle, descend, different_steps, means, take
from agents.faults import Unfit
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions, inverse_head
from agents.rollout import Obs, Rollout, map_obs

Kind = Literal["inverse", "random", "autoencoder"]


class Features(nn.Module):
    """phi: obs [M, ...] -> [M, D].

    Args:
        kind: what trains the encoder; `random` leaves it as it was made.
        hidden: units of the head's hidden layer.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: for `inverse`, if the action space is neither Discrete nor Box.
    """

    def __init__(self, context: Context, kind: Kind, *, hidden: int = 256, proportion: float | None = None) -> None:
        super().__init__()
        self.kind, self.shuffle = kind, Shuffle(context.n_envs, proportion)
        self.encoder = context.make_encoder().requires_grad_(kind != "random")
        self.dim = self.encoder.features_dim
        self.head: nn.Module | None = None
        if kind == "inverse":
            self.actions = Actions(context.action_space)
            self.head = inverse_head(self.dim, hidden, self.actions)
        elif kind == "autoencoder":
            self.numbers = Numbers(context.observation_space)
            self.head = nn.Sequential(Dense(self.dim, hidden), Linear(hidden, self.numbers.size))

    @property
    def device(self) -> torch.device:
        return self.shuffle.device

    def forward(self, obs: Obs) -> Tensor:
        """[M, D], with gradient."""
        return self.encoder(map_obs(lambda x: x.to(self.device), obs))

    def minibatches(self, rollout: Rollout) -> Iterator[Steps]:
        """One epoch: each different step and view of a minibatch once, as it is when its turn comes."""
        views, steps = different_steps(rollout)
        for index in self.shuffle.draw(len(steps.ids)):
            different, which = steps.among(steps.ids[index.to(steps.ids.device)])
            left, actions, reached = take(steps.obs, different).values()
            seen, where = views.among(torch.cat([left, reached]))
            obs = take(views.obs, seen)
            phi, phi_next = self(obs).index_select(0, where.to(self.device)).chunk(2)
            yield Steps(phi, actions.to(self.device), phi_next, take(obs, where.chunk(2)[1]), which.to(self.device))

    def losses(self, steps: Steps) -> dict[str, Tensor]:
        """What trains phi: `loss`, and what tells how good it is. Empty for `random`."""
        if self.head is None:
            return {}
        if self.kind == "autoencoder":
            numbers = self.numbers(map_obs(lambda x: x.to(self.device), steps.reached))
            return {"loss": F.mse_loss(steps.each(self.head(steps.phi_next)), steps.each(numbers))}
        predicted, actions = (
            steps.each(self.head(torch.cat([steps.phi, steps.phi_next], -1))),
            steps.each(steps.actions),
        )
        return {"loss": self.actions.loss(predicted, actions)} | self.actions.metrics(predicted, actions)

    def learn(self, rollout: Rollout, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """One epoch of steps on `losses`; their means."""
        if self.head is None:
            return {}
        taken = []
        for steps in self.minibatches(rollout):
            taken.append(self.losses(steps))
            descend(optimiser, taken[-1]["loss"])
        return means(taken)


class Steps(NamedTuple):
    """The different steps of a minibatch; `which` [M] says which of them each of its M steps is."""

    phi: Tensor  # [m, D] of the view left, with gradient
    actions: Tensor  # [m] or [m, A]
    phi_next: Tensor  # [m, D] of the view reached
    reached: Obs  # [m, ...], that view
    which: Tensor

    def each(self, values: Tensor) -> Tensor:
        """Of the different steps [m, ...] -> of each step [M, ...]."""
        return values.index_select(0, self.which)


class Numbers(nn.Module):
    """An observation as plain numbers [M, size]: bounded boxes scaled to [0, 1], unbounded ones as they are, classes
    one-hot. What a decoder has to give back, and what a hash without an encoder reads.

    Raises:
        ValueError: if a part of the space is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """

    def __init__(self, space: spaces.Space) -> None:
        super().__init__()
        self.parts = dict(sorted(space.spaces.items())) if isinstance(space, spaces.Dict) else {"": space}
        for part in self.parts.values():
            if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
                raise Unfit(f"observations of {type(part).__name__} cannot be read as numbers")
        self.size = sum(spaces.flatdim(part) for part in self.parts.values())

    def forward(self, obs: Obs) -> Tensor:
        given = obs if isinstance(obs, dict) else {"": obs}
        return torch.cat([_numbers(part, given[name]) for name, part in self.parts.items()], -1)


def _numbers(space: spaces.Space, x: Tensor) -> Tensor:
    """[M, ...] -> [M, flatdim] float32"""
    if isinstance(space, spaces.Discrete):
        return F.one_hot(x.long().flatten() - int(space.start), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        bounds = zip(
            x.flatten(1).long().unbind(1), space.start.ravel().tolist(), space.nvec.ravel().tolist(), strict=True
        )
        return torch.cat([F.one_hot(digit - start, n).float() for digit, start, n in bounds], -1)
    x = x.flatten(1).float()
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        return x
    low, high = (
        torch.as_tensor(bound.ravel(), dtype=torch.float32, device=x.device) for bound in (space.low, space.high)
    )
    return (x - low) / (high - low).clamp_min(1e-8)
