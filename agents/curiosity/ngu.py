"""Never give up: what is new in the episode, paid more where it is also new to the agent's life.

r_t = r_episodic min(max(alpha_t, 1), L),   alpha_t = 1 + (err(s_{t+1}) - mu) / sigma,   err as the bonus of `rnd`

Source: Badia et al. 2020, "Never Give Up", eq. 1 and the text above it, constants of table 6; r_episodic is
`pseudo_counts`. What we do differently: see there and in `rnd`. mu and sigma are moments that forget (weight .9 a
rollout): err falls as the predictor learns, and under the mean of all the past alpha would stay at 1. Until the first
`update` alpha is 1.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from agents.adam import Adam
from agents.context import Context
from agents.curiosity._batches import of_each
from agents.curiosity._distillation import Distillation
from agents.curiosity._features import Kind
from agents.curiosity.pseudo_counts import KEPT, PseudoCounts
from agents.normalise import RunningMoments
from agents.rollout import Obs, Rollout, flatten_obs


class NGU(PseudoCounts):
    """Pseudo-counts of the episode times a clipped lifelong novelty.

    Args:
        features, k, epsilon, cluster, c, s_max, memory: see `pseudo_counts`.
        lr: Adam's learning rate, of the features and of the predictor.
        maximum: L, the largest lifelong factor.
        width: features of the random network, and units of the predictor's extra layers.
        proportion: share of the steps that both learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: for `inverse`, if the action space is neither Discrete nor Box.
    """

    optimiser: Adam

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
        maximum: Annotated[float, Field(ge=1)] = 5.0,
        width: Annotated[int, Field(ge=1)] = 128,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(
            context,
            features=features,
            lr=lr,
            k=k,
            epsilon=epsilon,
            cluster=cluster,
            c=c,
            s_max=s_max,
            memory=memory,
            proportion=proportion,
        )
        self.maximum = maximum
        self.networks = Distillation(context, width, proportion)
        self.errors = RunningMoments()
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)

    def reward(self, rollout: Rollout) -> Tensor:
        self._met = self._error(rollout)
        alpha = 1 + self._standardised(self._met).to(rollout.rewards.device)
        return super().reward(rollout) * alpha.clamp(1, self.maximum)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: those of the features, and `rnd_loss`, the mean squared error of the predictor."""
        self.errors.count.mul_(KEPT)
        self.errors.update(self._met)
        loss = self.networks.learn(flatten_obs(rollout.next_obs), self.optimiser)["loss"]
        return super().update(rollout) | {"rnd_loss": loss}

    def _error(self, rollout: Rollout) -> Tensor:
        """[T, N]"""

        def error(obs: Obs) -> Tensor:
            return self.networks.difference(obs).square().mean(-1)

        return of_each(error, flatten_obs(rollout.next_obs)).unflatten(0, rollout.shape)

    def _standardised(self, error: Tensor) -> Tensor:
        known = self.errors.count > 0
        return torch.where(known, self.errors.normalise(error, clip=self.maximum), 0.0)
