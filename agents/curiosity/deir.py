"""DEIR: pay for a view that differs from every other of the episode more than the ways that led to both do.

r_t = min_i |e(s_{t+1}) - e(s_i)|^2 / (|h_t - h_{i-1}| + 1e-6),   i = 0..t,   h_t = GRU(e(s_t), h_{t-1}),   h_{-1} = 0
L = -1/2 (log D(h_t, a_t, h_{t+1}) + log(1 - D(h_t, a_t, h~_{t+1}))),   h~_{t+1} from a view drawn from a queue

Source: Wan et al. 2023, "DEIR: Efficient and Robust Exploration through Discriminative-Model-Based Episodic Intrinsic
Rewards", eq. 4, algorithms A1 and A2, and the authors' code. As there a view enters the queue if its bonus is at least
the mean bonus, a fake that equals the true successor is drawn once more and then left out, and the GRU learns through
two steps, from the h_{t-1} of the time of acting. What we do differently: two epochs a rollout over a share of the
steps (theirs: four over all), no batch normalisation and no clipping of gradients, a queue of 10,000 views (100,000).
Steps that end an episode are learned from too, as `next_obs` is their true successor; theirs are masked. The fakes'
mean is over those that are fakes (theirs is multiplied again by true over fake); the mean bonus that a view must reach
is right from the first rollout on (theirs begins at 0); and no mean is subtracted from the bonus (theirs standardises
it, so that a bonus below the mean costs).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numba import njit
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import Shuffle, before_and_after, descend, means, take
from agents.curiosity._neighbours import EpisodicMemory
from agents.curiosity._queue import ViewQueue
from agents.layers import Dense, Linear, affine
from agents.normalise import RunningMoments
from agents.objectives._actions import Actions
from agents.rollout import Obs, Rollout, flatten_obs, map_obs

FAST = {"reassoc", "contract", "arcp", "nsz"}  # keeps NaN and infinity alive
KEPT = 0.9  # of the weight of past bonuses in their mean, a rollout


class DEIR(IntrinsicReward):
    """Distance of views over distance of trajectories, in a discriminator's space.

    Args:
        lr: Adam's learning rate.
        hidden: units of the discriminator's hidden layer.
        epochs: passes over the share of the steps, a rollout.
        queue: views from which fake successors are drawn.
        memory: views that an episode may keep; older ones are forgotten.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    optimiser: Adam
    trajectory: Tensor  # [N, D]: h of the step before the next rollout's first

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 3e-4,
        hidden: Annotated[int, Field(ge=1)] = 256,
        epochs: Annotated[int, Field(ge=1)] = 2,
        queue: Annotated[int, Field(ge=2)] = 10_000,
        memory: Annotated[int, Field(ge=1)] = 5000,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.actions, self.shuffle = Actions(context.action_space), Shuffle(context.n_envs, proportion)
        self.encoder, self.epochs = context.make_encoder(), epochs
        d = self.encoder.features_dim
        self.gru = nn.GRUCell(d, d)
        self.discriminator = nn.Sequential(Dense(2 * d + self.actions.size, hidden), Linear(hidden, 1))
        self.memory = EpisodicMemory(context.n_envs, 2 * d, memory)  # (e(s_i), h_{i-1})
        self.queue = ViewQueue(context.observation_space, queue)
        self.bonuses = RunningMoments()
        self.register_buffer("trajectory", torch.zeros(context.n_envs, d))
        self.optimiser = Adam(self.parameters(), lr)

    def reward(self, rollout: Rollout) -> Tensor:
        before, after = before_and_after(self._e, rollout)
        self._past, here = self._follow(before, rollout.done)
        starts, arrivals = torch.cat([before, torch.zeros_like(here)], -1), torch.cat([after, here], -1)
        rows = self.memory.arrive(starts, arrivals, rollout.done)
        self._bonus = torch.empty(rollout.shape)
        _search(*rows, after.shape[-1], self._bonus.numpy())
        return self._bonus.to(rollout.rewards.device, copy=True)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss` of the discriminator, and `accuracy`, the share of true and fake that it tells."""
        self._fill_queue(flatten_obs(rollout.next_obs))
        obs, next_obs, actions = flatten_obs(rollout.obs), flatten_obs(rollout.next_obs), rollout.actions.flatten(0, 1)
        past, steps = self._past.flatten(0, 1), []
        for index in [index for _ in range(self.epochs) for index in self.shuffle.draw(len(actions))]:
            batch = take(obs, index), actions[index.to(actions.device)], take(next_obs, index)
            losses = self._losses(past[index.to(past.device)], *batch)
            descend(self.optimiser, losses["loss"])
            steps.append(losses)
        return means(steps)

    def new_episodes(self) -> None:
        self.memory.new_episodes()
        self.trajectory.zero_()

    def _e(self, obs: Obs) -> Tensor:
        """[M, D]"""
        return self.encoder(map_obs(lambda x: x.to(self.trajectory.device), obs))

    def _gru(self, e: Tensor, h: Tensor) -> Tensor:
        """[M, D], [M, D] -> [M, D]: `self.gru`, its products by `affine`."""
        of_e = affine(e, self.gru.weight_ih, self.gru.bias_ih)
        of_h = affine(h, self.gru.weight_hh, self.gru.bias_hh)
        reset, update = (of_e + of_h)[:, : -h.shape[1]].sigmoid().chunk(2, -1)
        new = torch.addcmul(of_e[:, -h.shape[1] :], reset, of_h[:, -h.shape[1] :]).tanh()
        return torch.lerp(new, h, update)

    @torch.no_grad()
    def _follow(self, e: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        """e(s_t) [T, N, D] -> h_{t-1} and h_t, each [T, N, D]."""
        goes_on, past, here = ~done.to(e.device)[..., None], [], []
        for t in range(len(e)):
            past.append(self.trajectory)
            here.append(self._gru(e[t], self.trajectory))
            self.trajectory = here[-1] * goes_on[t]
        return torch.stack(past), torch.stack(here)

    def _fill_queue(self, next_obs: Obs) -> None:
        bonus = self._bonus.flatten()
        chosen = torch.ones_like(bonus, dtype=torch.bool)
        if self.bonuses.count > 0:
            chosen = bonus >= self.bonuses.mean.to(bonus)
        self.queue.append(take(next_obs, chosen.nonzero()[:, 0]))
        self.bonuses.count.mul_(KEPT)
        self.bonuses.update(bonus)

    def _losses(self, past: Tensor, obs: Obs, actions: Tensor, next_obs: Obs) -> dict[str, Tensor]:
        unlike, is_fake = self.queue.draw_unlike(next_obs)
        here = self._gru(self._e(obs), past)
        following = self._gru(torch.cat([self._e(next_obs), self._e(unlike)]), here.repeat(2, 1))
        known = torch.cat([here, self.actions.vector(actions.to(here.device))], -1)
        true, fake = self.discriminator(torch.cat([known.repeat(2, 1), following], -1))[:, 0].chunk(2)
        weight = is_fake / is_fake.sum().clamp_min(1)
        loss = (F.softplus(-true).mean() + (F.softplus(fake) * weight).sum()) / 2
        return {"loss": loss, "accuracy": ((true > 0).float().mean() + ((fake <= 0) * weight).sum()) / 2}


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _search(rows: np.ndarray, first: np.ndarray, here: np.ndarray, dim: int, bonus: np.ndarray) -> None:
    """The least ratio for each point (e, h) [2 dim] of `EpisodicMemory.arrive`."""
    for n in range(rows.shape[0]):
        for t in range(here.shape[0]):
            x, least = rows[n, here[t, n]], np.float32(np.inf)
            for i in range(first[t, n], here[t, n]):
                y = rows[n, i]
                views = trajectories = np.float32(0)
                for d in range(dim):
                    views += (x[d] - y[d]) * (x[d] - y[d])
                    trajectories += (x[dim + d] - y[dim + d]) * (x[dim + d] - y[dim + d])
                least = min(least, views / (np.sqrt(trajectories) + np.float32(1e-6)))
            bonus[t, n] = least
