"""Surprise of a latent world model: pay for what its predictions, up to K steps old, had not foreseen.

r_t = mean over k of mean_d (z^k_d - z_d)^2,   z = phi(s_{t+1}),   z^k = P(... P(phi(s_{t+1-k}), a_{t+1-k}) ..., a_t)

over those k <= K for which s_{t+1-k} lies in the same episode. Model and features are those of the objective `jepa`
(`agents/objectives/_world_model.py`), trained by its loss on an encoder of the bonus's own; paying a view for all
predictions that aimed at it is Guo et al. 2022 ("BYOL-Explore", intrinsic reward). The variance term keeps the features
from shrinking, which would make everything expected. What we do differently: the similarity term is left out, because
it shrinks what a step changes, and that is what is paid for; learned from the same share of the steps as in `rnd`, at
eb_jepa's learning rate, ten times that of most other bonuses, as the features have to spread before errors mean
anything; predictions on their way are kept across rollouts as the model made them. Like every error of a prediction the
bonus does not know noise from news.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import Shuffle, before_and_after, descend, means
from agents.objectives._actions import Actions
from agents.objectives._ahead import ahead
from agents.objectives._sequences import features, starts, views
from agents.objectives._world_model import Weights, WorldModel
from agents.rollout import Obs, Rollout, map_obs


class JEPASurprise(IntrinsicReward):
    """Error of the latent predictions made up to K steps before.

    Args:
        lr: Adam's learning rate.
        k: steps that the model is rolled out for, in learning and in the reward.
        hidden: units of the hidden layer of predictor and inverse model.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    optimiser: Adam
    expected: Tensor
    alive: Tensor

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        k: Annotated[int, Field(ge=1, le=100)] = 8,
        hidden: Annotated[int, Field(ge=1)] = 128,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.k, self.shuffle = k, Shuffle(context.n_envs, proportion)
        self.encoder = context.make_encoder()
        d = self.encoder.features_dim
        self.model = WorldModel(d, hidden, Actions(context.action_space), Weights(similarity=0.0))
        self.register_buffer("expected", torch.zeros(context.n_envs, k - 1, d))  # of the present view, 1 ... k-1 ago
        self.register_buffer("alive", torch.zeros(context.n_envs, k - 1, dtype=torch.bool))
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)

    @torch.no_grad()
    def reward(self, rollout: Rollout) -> Tensor:
        before, after = before_and_after(self._features, rollout)
        actions, done = rollout.actions.to(after.device), rollout.done.to(after.device)
        paid = [self._step(*step) for step in zip(before, actions, after, done, strict=True)]
        return torch.stack(paid).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, its terms and the inverse model's metrics, as in the objective `jepa`."""
        steps, copies = rollout.shape
        taken = []
        for flat in self.shuffle.draw(steps * copies):
            found = ahead(rollout, starts((flat // copies, flat % copies), self.k), self.k)
            actions, reached = found.actions.to(self.alive.device), found.reached.to(self.alive.device)
            taken.append(self.model.losses(features(self._features, views(found)), actions, reached))
            descend(self.optimiser, taken[-1]["loss"])
        return means(taken)

    def new_episodes(self) -> None:
        self.alive.fill_(False)

    def _features(self, obs: Obs) -> Tensor:
        return self.encoder(map_obs(lambda x: x.to(self.alive.device), obs))

    def _step(self, z: Tensor, actions: Tensor, z_next: Tensor, done: Tensor) -> Tensor:
        """One step of all copies: every prediction on its way goes on, and is held against what came. [N]"""
        beliefs = torch.cat([z[:, None], self.expected], 1)
        there = torch.cat([torch.ones_like(done[:, None]), self.alive], 1)
        repeated = actions.repeat_interleave(self.k, 0)
        predicted = self.model.transition(beliefs.flatten(0, 1), repeated).unflatten(0, beliefs.shape[:2])
        errors = (predicted - z_next[:, None]).square().mean(-1) * there
        self.expected.copy_(predicted[:, :-1])
        self.alive.copy_(there[:, :-1] & ~done[:, None])
        return errors.sum(1) / there.sum(1)
