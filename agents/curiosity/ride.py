"""Rewarding impact-driven exploration: pay for actions that change what the agent can control, less at each return.

r_t = |phi(s_{t+1}) - phi(s_t)|_2 / sqrt(N_ep(s_{t+1}))
L = -log p(a_t | phi(s_t), phi(s_{t+1})) + beta |phi^(phi(s_t), a_t) - phi(s_{t+1})|_2

Source: Raileanu & Rocktaeschel 2020, "RIDE: Rewarding Impact-Driven Exploration for Procedurally-Generated
Environments", section 4, and the authors' code: both losses reach phi, the forward one is a norm that is not squared.
What we do differently: the start view of an episode counts as one visit (there it counts in the episode that has just
ended); beta is .1, theirs is 10 against .1 for the other loss, that is 100. The forward loss is least where all views
have equal features, and on the run's encoder under Adam theirs leads there: after 600,000 steps of MultiRoom-N4-S5
(`sandbox train ppo+ride:beta=100.0`, seed 0) the bonus had fallen from .35 to .003 and the inverse model named .27 of
the actions (the commonest: .31); with .1 it named .92 (.61). N_ep counts the agent's own partial view; the authors'
MiniGrid code hashes the full grid that the agent cannot see, as `state="full"` does. One epoch a rollout, over the same
share of the steps as in `icm`. The bonus is divided by the std of its returns; theirs is not, but added to the reward
and cut with it to [-1, 1].
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import before_and_after, descend, means
from agents.curiosity._features import Features, Steps
from agents.curiosity._visits import EpisodicVisits, arrival_keys, told
from agents.layers import Dense, Linear
from agents.rollout import Rollout


class RIDE(IntrinsicReward):
    """Change of the features, divided by the root of the visits in the episode.

    Args:
        lr: Adam's learning rate.
        beta: weight of the forward model's loss; the inverse model's is 1.
        hidden: units of the hidden layer of both models.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).
        decimals: floats are rounded to so many places before hashing.
        state: what N_ep counts: `view` what the agent sees; `full` the true state (privileged), as the authors do.

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    optimiser: Adam

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        beta: Annotated[float, Field(ge=0)] = 0.1,
        hidden: Annotated[int, Field(ge=1)] = 256,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
        decimals: Annotated[int, Field(ge=0, le=12)] = 2,
        state: Literal["view", "full"] = "view",
    ) -> None:
        super().__init__(context)
        self.state, self.privileged = state, told(state)
        self.beta, self.decimals = beta, decimals
        self.features = Features(context, "inverse", hidden=hidden, proportion=proportion)
        d = self.features.dim
        self.forward_model = nn.Sequential(Dense(d + self.features.actions.size, hidden), Linear(hidden, d))
        self.visits = EpisodicVisits(context.n_envs)
        self.optimiser = Adam(self.parameters(), lr)

    def reward(self, rollout: Rollout) -> Tensor:
        visits = self.visits.visit(rollout, arrival_keys(rollout, self.state, self.decimals), self.decimals)
        before, after = before_and_after(self.features, rollout)
        impact = (after - before).norm(dim=-1).to(rollout.rewards.device)
        return impact * torch.from_numpy(visits).to(impact).rsqrt()

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the weighted sum of `forward_loss` and `inverse_loss`, and the inverse model's of
        `objectives`."""
        taken = []
        for steps in self.features.minibatches(rollout):
            taken.append(self._losses(steps))
            descend(self.optimiser, taken[-1]["loss"])
        return means(taken)

    def new_episodes(self) -> None:
        self.visits.new_episodes()

    def _losses(self, steps: Steps) -> dict[str, Tensor]:
        predicted = self.forward_model(torch.cat([steps.phi, self.features.actions.vector(steps.actions)], -1))
        forward = steps.each((predicted - steps.phi_next).norm(dim=-1)).mean()
        inverse = self.features.losses(steps)
        loss = inverse["loss"] + self.beta * forward
        return inverse | {"loss": loss, "forward_loss": forward, "inverse_loss": inverse["loss"]}
