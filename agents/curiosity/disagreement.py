"""Disagreement: pay where an ensemble of forward models does not agree on what comes next.

r_t = mean_k Var_i(phi^i_k(phi(s_t), a_t)),   i over the models

Source: Pathak et al. 2019, "Self-Supervised Exploration via Disagreement", eq. 1, and the authors' code: five models,
random features, and a fifth of the steps dropped anew for each model, which keeps them different. Noise that nobody can
foresee brings the models to its mean, where they agree. What we do differently: a model has one hidden layer of 256
(theirs nine of 512); one epoch per rollout, over the same share of the steps as in `rnd`; what is dropped does not
count in a model's mean.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import PIECE, descend
from agents.curiosity._features import Features, Kind
from agents.curiosity._stream import Stream
from agents.curiosity._transitions import add_up, inputs_and_targets
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions
from agents.rollout import Rollout


class Disagreement(IntrinsicReward):
    """Variance of the predictions of several forward models.

    Args:
        lr: Adam's learning rate.
        features: `random` leaves the encoder as it was made, `inverse` and `autoencoder` train it.
        models: forward models.
        keep: share of the steps that each model learns from, drawn for each of them.
        hidden: units of a model's hidden layer.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    optimiser: Adam

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        features: Kind = "random",
        models: Annotated[int, Field(ge=2, le=100)] = 5,
        keep: Annotated[float, Field(gt=0, le=1)] = 0.8,
        hidden: Annotated[int, Field(ge=1)] = 256,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.actions, self.keep, self.stream = Actions(context.action_space), keep, Stream()
        self.features = Features(context, features, proportion=proportion)
        d = self.features.dim
        self.models = nn.ModuleList(
            nn.Sequential(Dense(d + self.actions.size, hidden), Linear(hidden, d)) for _ in range(models)
        )
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)

    def reward(self, rollout: Rollout) -> Tensor:
        x, _ = inputs_and_targets(self.features, self.actions, rollout)
        with torch.no_grad():
            variance = torch.cat([self._variance(piece) for piece in x.split(PIECE)])
        return variance.unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `forward_loss`, the models' mean squared error; `loss`, with that of the features if they learn."""
        x, phi_next = inputs_and_targets(self.features, self.actions, rollout)
        losses = []
        for index in self.features.shuffle.draw(len(x)):
            where = index.to(x.device)
            errors = (self._predictions(x[where]) - phi_next[where]).square().mean(-1)
            descend(self.optimiser, self._kept_mean(errors))
            losses.append(errors.detach().mean())
        return add_up(torch.stack(losses).mean(), self.features.learn(rollout, self.optimiser))

    def _predictions(self, x: Tensor) -> Tensor:
        """[M, D + A] -> [models, M, D]"""
        return torch.stack([model(x) for model in self.models])

    def _variance(self, x: Tensor) -> Tensor:
        """[M]"""
        predictions = self._predictions(x)  # `Tensor.var` over the first axis takes ten times as long
        return (predictions - predictions.mean(0)).square().mean((0, 2))

    def _kept_mean(self, errors: Tensor) -> Tensor:
        """Errors [models, M], of which each model keeps its own share, to the sum of the models' means."""
        kept = (torch.rand(errors.shape, generator=self.stream.next()) < self.keep).to(errors)
        return ((errors * kept).sum(1) / kept.sum(1).clamp_min(1)).sum()
