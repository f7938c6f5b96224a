"""A latent world model without decoder and without target network: what keeps its features from collapsing, in terms.

prediction = mean_k,d (z^_kd - z_kd)^2,   z_k = phi(s_{t+k}),   z^_0 = z_0,   z^_k = P(z^_{k-1}, a_{t+k-1})
variance = mean_d max(0, 1 - sqrt(C_dd + 1e-4)),   covariance = sum_{d != e} C_de^2 / (D (D - 1)),   C = Cov(z)
similarity = mean_k,d (z_kd - z_{k-1,d})^2,   inverse = -log p(a_{t+k-1} | z_{k-1}, z_k)   (or squared error)

Every mean is over the steps that are reached, and C (over n - 1) over all views of the minibatch together. The gradient
of the prediction goes both ways. Source: see `jepa.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.objectives._actions import Actions, inverse_head
from agents.objectives._sequences import Transition, mean_where

SCALE, EPS = 16.0, 1e-4


@dataclass(frozen=True)
class Weights:
    """Of each term against the prediction's 1: those of eb_jepa's configuration."""

    variance: float = 16.0
    covariance: float = 8.0
    similarity: float = 12.0
    inverse: float = 1.0


class WorldModel(nn.Module):
    """Predictor and inverse model over features [.., D].

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    def __init__(self, features_dim: int, hidden: int, actions: Actions, weights: Weights) -> None:
        super().__init__()
        self.weights, self.actions = weights, actions
        self.transition = Transition(features_dim, hidden, actions)
        self.inverse_head = inverse_head(features_dim, hidden, actions)

    def losses(self, z: Tensor, actions: Tensor, reached: Tensor) -> dict[str, Tensor]:
        """Features [M, K + 1, D], actions [M, K] or [M, K, A], reached [M, K] -> `loss`, its terms and gauges."""
        expected = self.transition.roll_out(z[:, 0], actions)
        prediction = mean_where((expected - z[:, 1:]).square().mean(-1), reached)
        similarity = mean_where((z[:, 1:] - z[:, :-1]).square().mean(-1), reached)
        variance, covariance = _spread_terms(z.flatten(0, 1), F.pad(reached, (1, 0), value=True).flatten())
        inverse, gauges = self._inverse(z, actions, reached)
        w = self.weights
        total = prediction + w.variance * variance + w.covariance * covariance
        total = total + w.similarity * similarity + w.inverse * inverse
        terms = {"prediction": prediction, "variance": variance, "covariance": covariance, "similarity": similarity}
        return {"loss": total / SCALE} | terms | {"inverse": inverse} | gauges

    def _inverse(self, z: Tensor, actions: Tensor, reached: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of the inverse model, on the steps that are reached."""
        predicted = self.inverse_head(torch.cat([z[:, :-1], z[:, 1:]], -1)[reached])
        return self.actions.loss(predicted, actions[reached]), self.actions.metrics(predicted, actions[reached])


def _spread_terms(z: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and covariance terms of the views [B, D] that are `there` [B]."""
    n, d = there.sum(), z.shape[1]
    mean = (z * there[:, None]).sum(0) / n
    centred = (z - mean) * there[:, None]
    c = centred.T @ centred / (n - 1)
    of_each = c.diagonal()
    variance = F.relu(1 - (of_each + EPS).sqrt()).mean()
    return variance, (c - of_each.diag_embed()).square().sum() / max(1, d * (d - 1))
