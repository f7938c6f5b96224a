"""Pseudo-counts: pay for views far from their nearest neighbours in the episode, as if similar views were the same.

r_t = 1 / s if s <= s_max else 0,   s = sqrt(sum_i K(x_t, x_i)) + c,   x_t = phi(s_{t+1}), its k nearest x_i
K(x, y) = epsilon / (d + epsilon),   d = max(|x - y|^2 / d_m^2 - xi, 0),   d_m^2: moving average of |x_t - x_i|^2

Source: Badia et al. 2020, "Never Give Up", eqs. 2, 3 and algorithm 1, constants of table 6 (the text of section 2 has
epsilon = 1e-3 instead); this is its episodic half, see `ngu`. What we do differently: phi is the run's encoder instead
of 32 units on a network of their own, without their L2 weight of 1e-5; the start view of an episode is stored in its
memory without pay, otherwise the first step, having no neighbour, would be paid 1 / c = 1000; with fewer than k
neighbours those that are there count; the memory holds 5000 views, theirs 30,000 (5000 in the Disco Maze). d_m^2 of
each environment goes on from an average that all share and that takes in the rollout in `update`, so that it does not
depend on how rollouts are cut.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import before_and_after
from agents.curiosity._features import Features, Kind
from agents.curiosity._neighbours import EpisodicMemory, squared_distances
from agents.rollout import Rollout

KEPT = 0.9  # of the weight of the past, a rollout


class PseudoCounts(IntrinsicReward):
    """Inverse square root of the kernel sum over the nearest neighbours in the episode.

    Args:
        features: what trains the space of distances: `inverse` dynamics, an `autoencoder`, or nothing (`random`).
        lr: Adam's learning rate for the features.
        k: number of neighbours.
        epsilon: of the kernel: how quickly likeness fades with distance.
        cluster: xi, the relative squared distance up to which two views are the same.
        c: added to the root of the kernel sum.
        s_max: similarity above which nothing is paid.
        memory: views that an episode may keep; older ones are forgotten.
        proportion: share of the steps that the features learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: for `inverse`, if the action space is neither Discrete nor Box.
    """

    optimiser: Adam | None

    def __init__(
        self,
        context: Context,
        *,
        features: Kind = "inverse",
        lr: Annotated[float, Field(gt=0)] = 5e-4,
        k: Annotated[int, Field(ge=1)] = 10,
        epsilon: Annotated[float, Field(gt=0)] = 1e-4,
        cluster: Annotated[float, Field(ge=0)] = 0.008,
        c: Annotated[float, Field(gt=0)] = 0.001,
        s_max: Annotated[float, Field(gt=0)] = 8.0,
        memory: Annotated[int, Field(ge=1)] = 5000,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.k, self.epsilon, self.cluster, self.c, self.s_max = k, epsilon, cluster, c, s_max
        self.features = Features(context, features, proportion=proportion)
        self.memory = EpisodicMemory(context.n_envs, self.features.dim, memory)
        self.average = _MovingAverage(context.n_envs)
        self.optimiser = None if features == "random" else Adam(self.features.parameters(), lr)

    def reward(self, rollout: Rollout) -> Tensor:
        before, after = before_and_after(self.features, rollout)
        d2 = squared_distances(*self.memory.arrive(before, after, rollout.done), self.k).double()
        return self._pay(d2, self.average.follow(d2)).float().to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss` of the features, and what tells how good they are."""
        self.average.take_in()
        return {} if self.optimiser is None else self.features.learn(rollout, self.optimiser)

    def new_episodes(self) -> None:
        self.memory.new_episodes()
        self.average.recent.zero_()

    def _pay(self, d2: Tensor, average: Tensor) -> Tensor:
        """Squared distances [T, N, k], infinite where there is no neighbour, and d_m^2 [T, N] -> [T, N]"""
        relative = torch.where(d2 > 0, d2 / average[..., None], 0.0)  # 0 / 0: nothing but equal views so far
        kernel = self.epsilon / ((relative - self.cluster).clamp_min(0) + self.epsilon)
        s = kernel.sum(-1).sqrt() + self.c
        return torch.where(s <= self.s_max, 1 / s, 0.0)


class _MovingAverage(nn.Module):
    """d_m^2 as (sum, number) of squared distances: those shared, and those of each environment since `take_in`."""

    shared: Tensor
    recent: Tensor

    def __init__(self, n_envs: int) -> None:
        super().__init__()
        self.register_buffer("shared", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("recent", torch.zeros(n_envs, 2, dtype=torch.float64))

    def follow(self, d2: Tensor) -> Tensor:
        """[T, N, k] float64 -> [T, N]: the average at each step, this step's distances included."""
        there = d2.isfinite()
        sums = torch.stack([torch.where(there, d2, 0.0).sum(-1), there.sum(-1)], -1).to(self.recent)
        sums = self.recent + sums.cumsum(0)
        self.recent.copy_(sums[-1])
        total, number = (self.shared + sums).unbind(-1)
        return (total / number).to(d2)

    def take_in(self) -> None:
        """The shared average takes in what each environment met, and forgets a little."""
        self.shared.mul_(KEPT).add_(self.recent.sum(0))
        self.recent.zero_()
