"""Random encoders for efficient exploration: pay for views in sparse regions of all that the agent has met.

r_t = log(1 + |y_t - y_t^(k)|_2),   y_t = f(s_{t+1}), f a frozen random encoder,   y_t^(k) its k-th nearest neighbour

Source: Seo et al. 2021, "State Entropy Maximization with Random Encoders for Efficient Exploration", section 3, k = 3.
What we do differently: the authors' code searches the whole replay buffer (RAD), a minibatch of it (Dreamer) or the
last 10,000 views (A2C). Here the memory is a uniform sample of all views of the agent's life (Vitter 1985, algorithm
R), as Dreamer's minibatches are: the last 10,000 would be little more than one rollout. It advances in `update`, so
that a view does not find itself. The view that a step leads to is paid; theirs pays the one that it leaves. Distances
are not divided by their running std: that is in the code only, where a slip inflates it and where RAD and Dreamer then
take no logarithm. While fewer than k views are stored the origin stands for those that lack.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import of_each
from agents.curiosity._features import Features
from agents.curiosity._stream import Stream
from agents.layers import affine
from agents.rollout import Obs, Rollout, flatten_obs


class RE3(IntrinsicReward):
    """Distance to the k-th nearest neighbour in a random encoder's space.

    Args:
        k: which neighbour.
        memory: size of the sample of views.
    """

    points: Tensor  # [memory, D]; rows not yet filled are 0
    met: Tensor  # number of views in the agent's life

    def __init__(
        self,
        context: Context,
        *,
        k: Annotated[int, Field(ge=1, le=1000)] = 3,
        memory: Annotated[int, Field(ge=1000, le=2**20)] = 2048,
    ) -> None:
        super().__init__(context)
        self.k, self.features = k, Features(context, "random")
        self.register_buffer("points", torch.zeros(memory, self.features.dim))
        self.register_buffer("met", torch.zeros((), dtype=torch.int64))
        self.stream = Stream()

    def reward(self, rollout: Rollout) -> Tensor:
        distance = of_each(self._distance, flatten_obs(rollout.next_obs))
        return distance.log1p().unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `views`, the number of views in memory."""
        y = of_each(self.features, flatten_obs(rollout.next_obs))
        slots, chosen = self._draw(len(y))
        self.points[slots.to(y.device)] = y[chosen.to(y.device)]
        self.met += len(y)
        return {"views": float(self.met.clamp(max=len(self.points)))}

    def _distance(self, obs: Obs) -> Tensor:
        """[M]: to the k-th nearest stored view, which a product finds; its distance is taken without cancellation."""
        y = self.features(obs)
        points = self.points[: max(self.k, int(self.met))]
        relative = affine(y, -2 * points, points.square().sum(-1))  # |y - x|^2 - |y|^2
        nearest = points[relative.topk(self.k, largest=False).indices]
        return (y[:, None] - nearest).norm(dim=-1).amax(-1)

    def _draw(self, total: int) -> tuple[Tensor, Tensor]:
        """(slots, which of the `total` new views enters each): the i-th view of a life stays with chance memory / i."""
        uniform = torch.rand(total, generator=self.stream.next(), dtype=torch.float64).numpy()
        number = int(self.met) + np.arange(total)
        slots = np.where(number < len(self.points), number, (uniform * (number + 1)).astype(np.int64))
        order = np.flatnonzero(slots < len(self.points))[::-1]  # of several for one slot the last holds
        chosen, first = np.unique(slots[order], return_index=True)
        return torch.from_numpy(chosen), torch.from_numpy(order[first].copy())
