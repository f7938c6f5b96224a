"""Elliptical episodic bonus: pay for features that point where the episode's features so far did not.

b_t = phi^T C^-1 phi,   phi = phi(s_{t+1}),   C = lambda I + sum of phi phi^T over the arrivals before it in the episode
u = C^-1 phi,   C^-1 <- C^-1 - u u^T / (1 + b_t)   (Sherman & Morrison 1950)

Source: Henaff et al. 2022, "Exploration via Elliptical Episodic Bonuses", section 3, and the authors' code (lambda .1,
phi from inverse dynamics, which changes while C stands). As there the first step of an episode is paid 0: its b is
|phi|^2 / lambda whatever the view is. What we do differently: a step is paid for the view where it arrives, in their
code for the one where it begins; so the first view of C, unpaid, is here the first arrival and there the start view.
phi is the run's encoder instead of a network of its own. The bonus is divided by the std of its returns, theirs by that
of the bonus.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from numba import njit
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import of_each
from agents.curiosity._features import Features, Kind
from agents.rollout import Rollout, flatten_obs

FAST = {"reassoc", "contract", "arcp", "nsz"}  # keeps NaN and infinity alive


class E3B(IntrinsicReward):
    """Squared length of the view's features in the metric of the episode so far.

    Args:
        features: what trains phi: `inverse` dynamics, an `autoencoder`, or nothing (`random`).
        lr: Adam's learning rate for the features.
        ridge: lambda.
        proportion: share of the steps that the features learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: for `inverse`, if the action space is neither Discrete nor Box.
    """

    def __init__(
        self,
        context: Context,
        *,
        features: Kind = "inverse",
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        ridge: Annotated[float, Field(gt=0)] = 0.1,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.features = Features(context, features, proportion=proportion)
        self.ellipsoids = _Ellipsoids(context.n_envs, self.features.dim, ridge)
        self.optimiser = None if features == "random" else Adam(self.features.parameters(), lr)

    def reward(self, rollout: Rollout) -> Tensor:
        phi = of_each(self.features, flatten_obs(rollout.next_obs)).unflatten(0, rollout.shape)
        return self.ellipsoids.arrive(phi, rollout.done).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss` of the features, and what tells how good they are."""
        return {} if self.optimiser is None else self.features.learn(rollout, self.optimiser)

    def new_episodes(self) -> None:
        self.ellipsoids.new_episodes()


class _Ellipsoids(nn.Module):
    """C^-1 of the episode in progress, [N, D, D]. It stays on the CPU, with the compiled code.

    Args:
        ridge: lambda.
    """

    inverse: Tensor
    begun: Tensor

    def __init__(self, n_envs: int, dim: int, ridge: float) -> None:
        super().__init__()
        self.ridge = ridge
        self.register_buffer("inverse", (torch.eye(dim) / ridge).repeat(n_envs, 1, 1))
        self.register_buffer("begun", torch.zeros(n_envs, dtype=torch.bool))

    def new_episodes(self) -> None:
        """Every environment was reset from outside."""
        self.inverse.copy_(torch.eye(self.inverse.shape[-1]) / self.ridge)
        self.begun.zero_()

    def arrive(self, phi: Tensor, done: Tensor) -> Tensor:
        """[T, N]: b of the arrivals phi [T, N, D], 0 where an episode begins; they enter C.

        Raises:
            ValueError: if N is not the number of environments.
        """
        if phi.shape[1] != len(self.begun):
            raise ValueError(f"the rollout has {phi.shape[1]} environments, the ellipsoids are {len(self.begun)}")
        bonus = np.empty(done.shape, np.float32)
        state = self.inverse.numpy(), self.begun.numpy()
        _arrive(*state, phi.cpu().contiguous().numpy(), done.cpu().numpy(), 1 / self.ridge, bonus)
        return torch.from_numpy(bonus)

    def _apply(self, fn: Any, recurse: bool = True) -> _Ellipsoids:
        return self


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _arrive(
    inverse: np.ndarray, begun: np.ndarray, phi: np.ndarray, done: np.ndarray, size: float, bonus: np.ndarray
) -> None:
    steps, n_envs, dim = phi.shape
    u: Any = np.empty(dim, np.float32)
    for n in range(n_envs):
        c: Any = inverse[n]
        for t in range(steps):
            x, b = phi[t, n], np.float32(0)
            for i in range(dim):
                row, total = c[i], np.float32(0)
                for j in range(dim):
                    total += row[j] * x[j]
                u[i] = total
                b += total * x[i]
            b = max(b, np.float32(0))  # below 0 by rounding only
            for i in range(dim):
                row, factor = c[i], u[i] / (np.float32(1) + b)
                for j in range(dim):
                    row[j] -= factor * u[j]
            bonus[t, n] = b if begun[n] else np.float32(0)
            begun[n] = not done[t, n]
            if done[t, n]:
                c[:] = np.float32(0)
                for i in range(dim):
                    c[i, i] = np.float32(size)
