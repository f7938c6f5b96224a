"""Novelty difference: pay for crossing from familiar to novel views, once per view and episode.

r_t = max(nov(s_{t+1}) - alpha nov(s_t), 0) 1[N_ep(s_{t+1}) = 1],   nov(s) = ||f^(s) - f(s)||_2

Source: Zhang et al. 2021, "NovelD: A Simple yet Effective Exploration Criterion", section 3, and the authors'
`bebold.py` (alpha .5, the norm not squared, the predictor trained on successors). What we do differently: N_ep counts
the agent's own partial view (the authors' MiniGrid code hashes the full grid that the agent cannot see, as
`state="full"` does); the networks, their statistics, their loss and their share of the views are those of `rnd` (theirs
stand on a frozen copy of the policy's first weights, minimise the norm itself, and learn from every view); the start
view of an episode counts as visited, so that to return to it pays nothing. The bonus is divided by the std of its
returns (`normalise.py`); theirs is not, but added to the reward and cut with it to [-1, 1].
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import before_and_after
from agents.curiosity._distillation import Distillation
from agents.curiosity._visits import EpisodicVisits, arrival_keys, told
from agents.rollout import Rollout, flatten_obs


class NovelD(IntrinsicReward):
    """Clipped rise of the random-network error, at first visits of the episode.

    Args:
        lr: Adam's learning rate.
        alpha: how much of the novelty left behind is subtracted.
        width: features of the random network, and units of the predictor's extra layers.
        proportion: share of the views that the predictor learns from; None: min(1, 32 / n_envs).
        decimals: floats are rounded to so many places before hashing.
        state: what N_ep counts: `view` what the agent sees; `full` the true state (privileged), as the authors do.
    """

    optimiser: Adam

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        alpha: Annotated[float, Field(ge=0)] = 0.5,
        width: Annotated[int, Field(ge=1)] = 128,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
        decimals: Annotated[int, Field(ge=0, le=12)] = 2,
        state: Literal["view", "full"] = "view",
    ) -> None:
        super().__init__(context)
        self.state, self.privileged = state, told(state)
        self.alpha, self.decimals = alpha, decimals
        self.networks = Distillation(context, width, proportion)
        self.visits = EpisodicVisits(context.n_envs)
        self.optimiser = Adam(self.networks.predictor.parameters(), lr)

    def reward(self, rollout: Rollout) -> Tensor:
        visits = self.visits.visit(rollout, arrival_keys(rollout, self.state, self.decimals), self.decimals)
        before, after = before_and_after(lambda obs: self.networks.difference(obs).norm(dim=-1), rollout)
        first = torch.from_numpy(visits == 1).to(after.device)
        return ((after - self.alpha * before).clamp_min(0) * first).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the mean squared error of the views learned from."""
        return self.networks.learn(flatten_obs(rollout.next_obs), self.optimiser)

    def new_episodes(self) -> None:
        self.visits.new_episodes()
