"""Minimal self-prediction: from a view's features and the action, predict the features of the next view.

L = mean_k (P(z_t, a_t)_k - z'_k)^2,   z_t = phi(s_t),   z' = phi_bar(s_{t+1}) without gradient,
phi_bar <- (1 - tau) phi_bar + tau phi

Source: Ni et al. 2024, "Bridging State and History Representations: Understanding Self-Predictive RL", and the
authors' code: no projector, moving average with tau .005, the squared error averaged over features. The stopped,
lagging target is what keeps the features from collapsing; their spread is reported. What we do differently: the
predictor has one ReLU layer of 128 (theirs an ELU layer of half the features) and the encoder's learning rate, as one
optimiser owns both; `cosine` (1 - cos) is offered besides. Steps that end an episode are learned from too, as
`next_obs` is their true successor; theirs are masked.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.layers import Dense, Linear
from agents.objectives import Mode, Objective
from agents.objectives._actions import Actions, to_floats
from agents.objectives._joint import spread
from agents.objectives._target import follow
from agents.rollout import Index, Rollout, map_obs


class SelfPrediction(Objective):
    """One-step latent prediction towards a moving-average encoder.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        tau: share of the encoder that the target takes over after each optimiser step.
        distance: `l2` mean squared error, `cosine` 1 - cos.
        hidden: units of the predictor's hidden layer.

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    started: Tensor

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
        tau: Annotated[float, Field(gt=0, le=1)] = 0.005,
        distance: Literal["l2", "cosine"] = "l2",
        hidden: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.tau, self.distance, self.actions = tau, distance, Actions(context.action_space)
        self.target = context.make_encoder().requires_grad_(False)
        d = self.target.features_dim
        self.predictor = nn.Sequential(Dense(d + self.actions.size, hidden), Linear(hidden, d))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; `spread`, the std of the L2-normalised features: 0 is collapse, 1/sqrt(D) is healthy."""
        if not self.started:
            self._start(encoder)
        steps = self.ahead(rollout, index)
        z = encoder(steps.obs)
        with torch.no_grad():
            z_next = self.target(map_obs(lambda x: x[:, 0], steps.next_obs))
        predicted = self.predictor(torch.cat([z, self.actions.vector(steps.actions[:, 0])], -1))
        loss = self._distance(predicted, z_next)
        return loss, to_floats({"loss": loss, "spread": spread(z)})

    def after_step(self, encoder: BaseFeaturesExtractor) -> None:
        follow(self.target, encoder, self.tau)

    def _start(self, encoder: BaseFeaturesExtractor) -> None:
        """The target begins as the encoder, which is met here for the first time."""
        self.target.load_state_dict(encoder.state_dict())
        self.started.fill_(True)

    def _distance(self, predicted: Tensor, z_next: Tensor) -> Tensor:
        if self.distance == "cosine":
            return (1 - F.cosine_similarity(predicted, z_next, dim=-1)).mean()
        return F.mse_loss(predicted, z_next)
