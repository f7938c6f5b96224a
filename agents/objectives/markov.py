"""Markov abstraction: features that tell the action between two views, and real successors from unrelated views.

L = inverse x (-log p(a_t | z_t, z_{t+1})) + ratio x BCE of D(z_t, z_{t+1}) against 1 and of D(z_t, z~) against 0,
z = phi(s), z~ the successor of another step of the minibatch

Source: Allen et al. 2021, "Learning Markov State Abstractions for Deep Reinforcement Learning" (inverse and density
ratio loss), and the authors' code for the gridworld: both weights 1, BCE averaged over real and fake pairs together.
Their smoothness loss has weight 0 there and is left out. What we do differently: heads with one ReLU layer of 64 on the
encoder's features (theirs a tanh layer of 32 on two numbers); z~ is the successor of the step before in the minibatch,
which is drawn at random, so that no step's own pair is called fake (a permutation keeps one in its place on average).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.layers import Dense, Linear
from agents.objectives import Mode, Objective
from agents.objectives._actions import Actions, inverse_head, to_floats
from agents.objectives._joint import features_of_both
from agents.rollout import Index, Rollout, map_obs


class Markov(Objective):
    """Inverse model and contrast of real against unrelated successors.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        inverse: weight of the inverse model's loss.
        ratio: weight of the contrast's loss.
        hidden: units of each head's hidden layer.

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
        inverse: Annotated[float, Field(ge=0)] = 1.0,
        ratio: Annotated[float, Field(ge=0)] = 1.0,
        hidden: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.inverse, self.ratio, self.actions = inverse, ratio, Actions(context.action_space)
        d = context.features_dim
        self.inverse_head = inverse_head(d, hidden, self.actions)
        self.ratio_head = nn.Sequential(Dense(2 * d, hidden), Linear(hidden, 1))

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`, `inverse_loss`, `ratio_loss`; those of `inverse` (`accuracy`, `chance`); `ratio_accuracy`,
        the share of pairs told rightly real or fake (chance: 0.5)."""
        steps = self.ahead(rollout, index)
        actions, next_obs = steps.actions[:, 0], map_obs(lambda x: x[:, 0], steps.next_obs)
        z, z_next = features_of_both(encoder, steps.obs, next_obs)
        real = torch.cat([z, z_next], -1)
        predicted = self.inverse_head(real)
        inverse_loss = self.actions.loss(predicted, actions)
        ratio_loss, right = self._contrast(real, torch.cat([z, z_next.roll(1, 0)], -1))
        loss = self.inverse * inverse_loss + self.ratio * ratio_loss
        metrics = {"loss": loss, "inverse_loss": inverse_loss, "ratio_loss": ratio_loss, "ratio_accuracy": right}
        return loss, to_floats(metrics | self.actions.metrics(predicted, actions))

    def _contrast(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of features, each [M, 2D] -> binary cross-entropy, and the share told rightly."""
        logits = self.ratio_head(torch.cat([real, fake])).squeeze(-1)
        is_real = torch.arange(len(logits), device=logits.device) < len(real)
        right = (logits.detach() > 0) == is_real
        return F.binary_cross_entropy_with_logits(logits, is_real.float()), right.float().mean()
