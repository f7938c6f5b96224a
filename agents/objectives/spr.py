"""Self-predictive representations: roll a model out in latent space and meet what a target encoder sees on the way.

L = mean over the steps k that are reached of || q(g(z^_k)) / |.| - y_k / |.| ||^2 = 2 - 2 cos(q(g(z^_k)), y_k),
z^_0 = phi(s_t),   z^_k = h(z^_{k-1}, a_{t+k-1}),   y_k = g_bar(phi_bar(s_{t+k})) without gradient,
phi_bar, g_bar <- (1 - tau) (phi_bar, g_bar) + tau (phi, g)

Source: Schwarzer et al. 2021, "Data-Efficient Reinforcement Learning with Self-Predictive Representations", eqs. 1-4,
and the authors' code: K = 5, linear projection g and predictor q, norms of at least 1e-3. Pictures are shifted at
random, which is their only augmentation here; then the target does not lag (tau = 1), and else it follows with tau .01.

What we do differently: the mean is over the steps that are reached (theirs divides by all K), and the weight is that of
`Objective` (theirs 5 on the mean in the code, 2 in the paper). h is one hidden layer on the encoder's features (theirs
two convolutions), g a layer of its own (theirs the first of the Q head). Features are not rescaled to [0, 1], because
the policy reads them as they are, and there is no dropout without augmentation. Sequences begin at every K-th step of
the minibatch.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor
from torch.nn import functional as F

from agents.augment import RandomShift
from agents.context import Context
from agents.layers import Linear
from agents.objectives import Mode, Objective
from agents.objectives._actions import Actions, to_floats
from agents.objectives._joint import spread
from agents.objectives._sequences import Transition, mean_where, starts
from agents.objectives._target import follow
from agents.rollout import Index, Obs, Rollout, map_obs

NORM = 1e-3  # the least that a vector is divided by


class SPR(Objective):
    """K-step latent prediction towards a target encoder.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        k: steps that the model is rolled out for.
        tau: share of encoder and projection that their targets take over after each optimiser step; None: 1 where
            pictures are shifted, else 0.01.
        hidden: units of the transition model's hidden layer.

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
        k: Annotated[int, Field(ge=1, le=100)] = 5,
        tau: Annotated[float, Field(gt=0, le=1)] | None = None,
        hidden: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.k, self.shift = k, RandomShift(context.observation_space)
        self.tau = (1.0 if self.shift.pad else 0.01) if tau is None else tau
        self.target = context.make_encoder().requires_grad_(False)
        d = self.target.features_dim
        self.transition = Transition(d, hidden, Actions(context.action_space))
        self.projection, self.predictor = Linear(d, d), Linear(d, d)
        self.target_projection = deepcopy(self.projection).requires_grad_(False)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; `last_loss`, its part k = K (0 where no episode is that long); `spread`, the std of the
        L2-normalised features: 0 is collapse, 1/sqrt(D) is healthy."""
        if not self.started:
            self._start(encoder)
        steps = self.ahead(rollout, starts(index, self.k), self.k)
        z = encoder(self.shift(steps.obs, encoder))
        expected = self.predictor(self.projection(self.transition.roll_out(z, steps.actions).flatten(0, 1)))
        distances = _distance(expected, self._targets(steps.next_obs)).unflatten(0, steps.reached.shape)
        loss = mean_where(distances, steps.reached)
        last = (distances[:, -1] * steps.reached[:, -1]).sum() / steps.reached[:, -1].sum().clamp(min=1)
        return loss, to_floats({"loss": loss, "last_loss": last, "spread": spread(z)})

    def after_step(self, encoder: BaseFeaturesExtractor) -> None:
        follow(self.target, encoder, self.tau)
        follow(self.target_projection, self.projection, self.tau)

    def _start(self, encoder: BaseFeaturesExtractor) -> None:
        """The target begins as the encoder, which is met here for the first time."""
        self.target.load_state_dict(encoder.state_dict())
        self.started.fill_(True)

    @torch.no_grad()
    def _targets(self, next_obs: Obs) -> Tensor:
        """Views [M, K, *obs], each shifted on its own -> y [M K, D]"""
        seen = self.shift(map_obs(lambda x: x.flatten(0, 1), next_obs), self.target)
        return self.target_projection(self.target(seen))


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """[..., D] -> [...]: squared distance of the directions."""
    return (F.normalize(a, dim=-1, eps=NORM) - F.normalize(b, dim=-1, eps=NORM)).square().sum(-1)
