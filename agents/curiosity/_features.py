"""A space of features in which a bonus measures distance: learned from the agent's own experience, or left random.

inverse: L = -log p(a_t | phi(s_t), phi(s_{t+1}));   autoencoder: L = mean_k (x^_k(phi(s)) - x_k(s))^2;   random: none

Source: Pathak et al. 2017, eq. 3 (inverse dynamics); Burda et al. 2018, "Large-Scale Study of Curiosity-Driven
Learning", section 2.1 (random features; pixels through a variational autoencoder). What we do differently: a plain
autoencoder instead of a variational one, over numbers scaled to the bounds of their space, so that it reads symbols and
vectors as well as pictures. The features are the run's encoder with weights of its own; one epoch a rollout.
"""

from __future__ import annotations

from typing import Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.curiosity._batches import Shuffle, descend, take
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions, inverse_head, to_floats
from agents.rollout import Obs, Rollout, flatten_obs, map_obs

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
        return self.shuffle.stream.device

    def forward(self, obs: Obs) -> Tensor:
        """[M, D], with gradient."""
        return self.encoder(map_obs(lambda x: x.to(self.device), obs))

    def losses(self, obs: Obs, actions: Tensor, next_obs: Obs) -> dict[str, Tensor]:
        """Of a minibatch of steps [M, ...]: `loss`, and what tells how good it is. Empty for `random`."""
        if self.head is None:
            return {}
        phi_next = self(next_obs)
        if self.kind == "autoencoder":
            return {
                "loss": F.mse_loss(self.head(phi_next), self.numbers(map_obs(lambda x: x.to(self.device), next_obs)))
            }
        return self.inverse_losses(self(obs), actions.to(self.device), phi_next)

    def inverse_losses(self, phi: Tensor, actions: Tensor, phi_next: Tensor) -> dict[str, Tensor]:
        """Of features that are there already: `loss`, and the inverse model's metrics of `objectives`."""
        assert self.head is not None
        predicted = self.head(torch.cat([phi, phi_next], -1))
        return {"loss": self.actions.loss(predicted, actions)} | self.actions.metrics(predicted, actions)

    def learn(self, rollout: Rollout, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """One epoch of steps on `losses`; their means."""
        if self.head is None:
            return {}
        obs, next_obs, actions = flatten_obs(rollout.obs), flatten_obs(rollout.next_obs), rollout.actions.flatten(0, 1)
        steps = []
        for index in self.shuffle.draw(len(actions)):
            losses = self.losses(take(obs, index), actions[index.to(actions.device)], take(next_obs, index))
            descend(optimiser, losses["loss"])
            steps.append(losses)
        return to_floats({name: torch.stack([step[name].detach() for step in steps]).mean() for name in steps[0]})


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
                raise ValueError(f"observations of {type(part).__name__} cannot be read as numbers")
        self.size = sum(spaces.flatdim(part) for part in self.parts.values())

    def forward(self, obs: Obs) -> Tensor:
        given = obs if isinstance(obs, dict) else {"": obs}
        return torch.cat([_numbers(part, given[name]) for name, part in self.parts.items()], -1)


def _numbers(space: spaces.Space, x: Tensor) -> Tensor:
    """[M, ...] -> [M, flatdim] float32"""
    if isinstance(space, spaces.Discrete):
        return F.one_hot(x.long().flatten() - int(space.start), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        digits = zip(x.flatten(1).unbind(1), space.nvec.ravel().tolist(), strict=True)
        return torch.cat([F.one_hot(digit.long(), n).float() for digit, n in digits], -1)
    x = x.flatten(1).float()
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        return x
    low, high = (
        torch.as_tensor(bound.ravel(), dtype=torch.float32, device=x.device) for bound in (space.low, space.high)
    )
    return (x - low) / (high - low).clamp_min(1e-8)
