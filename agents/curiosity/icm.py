"""Intrinsic curiosity module: pay for what a forward model in feature space did not foresee.

r_t = 1/2 mean_k (phi^_k(phi(s_t), a_t) - phi_k(s_{t+1}))^2,   phi trained to tell a_t from phi(s_t) and phi(s_{t+1})

Source: Pathak et al. 2017, eqs. 2-6 (one hidden layer of 256 in both heads, as in the authors' code), and Burda et al.
2018, "Large-Scale Study of Curiosity-Driven Learning", whose code stops the gradient from the forward model into phi
and offers other features (`_features.py`). We follow the latter, so the two losses share no parameter and Pathak's
weights .2 and .8 would cancel in Adam. With `stop_gradient=false` both losses reach phi under his weights, the forward
one times his number of features (288, here D). Eta is left to the scaling in `normalise.py`. One epoch per rollout,
over the same share of the steps as in `rnd` (theirs: all of them) and at one rate (in Pathak's code the forward
model's is ten times the policy's). No pair bridges two episodes, because `next_obs` is the true successor.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import descend, different_steps, in_pieces, means
from agents.curiosity._features import Features, Kind, Steps
from agents.faults import Unfit
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions
from agents.rollout import Obs, Rollout

FORWARD = 0.2  # weight of the forward loss against the inverse one's 1 - .2, where both reach phi


class ICM(IntrinsicReward):
    """Forward-model error on inverse-dynamics features.

    Args:
        lr: Adam's learning rate.
        features: what trains phi: `inverse` dynamics, an `autoencoder`, or nothing (`random`).
        stop_gradient: keep the forward model's gradient out of phi.
        hidden: units of the hidden layer of the forward model and of the head that trains phi.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: if the action space is neither Discrete nor Box, or if random features shall get a gradient.
    """

    optimiser: Adam

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        features: Kind = "inverse",
        stop_gradient: bool = True,
        hidden: Annotated[int, Field(ge=1)] = 256,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        if features == "random" and not stop_gradient:
            raise Unfit("icm: features='random' stay as they were made; leave stop_gradient=true")
        self.actions, self.stop_gradient = Actions(context.action_space), stop_gradient
        self.features = Features(context, features, hidden=hidden, proportion=proportion)
        d = self.features.dim
        self.forward_model = nn.Sequential(Dense(d + self.actions.size, hidden), Linear(hidden, d))
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)

    def reward(self, rollout: Rollout) -> Tensor:
        views, steps = different_steps(rollout)
        phi = in_pieces(self.features, views.obs)

        def error(step: Obs) -> Tensor:
            left, action, reached = (part.to(phi.device) for part in step.values())
            return self._forward_error(phi[left], action, phi[reached])

        errors = in_pieces(error, steps.obs)[steps.ids.to(phi.device)]
        return errors.unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the weighted sum of `forward_loss` and the features' own, `inverse_loss` (with the inverse
        model's metrics of `objectives`) or `autoencoder_loss`."""
        taken = []
        for steps in self.features.minibatches(rollout):
            taken.append(self._losses(steps))
            descend(self.optimiser, taken[-1]["loss"])
        return means(taken)

    def _forward_error(self, phi: Tensor, actions: Tensor, phi_next: Tensor) -> Tensor:
        """[M]"""
        predicted = self.forward_model(torch.cat([phi, self.actions.vector(actions)], -1))
        return 0.5 * (predicted - phi_next).square().mean(-1)

    def _losses(self, steps: Steps) -> dict[str, Tensor]:
        phi, phi_next = steps.phi, steps.phi_next
        left, reached = (phi.detach(), phi_next.detach()) if self.stop_gradient else (phi, phi_next)
        forward = steps.each(self._forward_error(left, steps.actions, reached)).mean()
        own = self.features.losses(steps)
        if not own:
            return {"loss": forward, "forward_loss": forward}
        weights = (1.0, 1.0) if self.stop_gradient else (FORWARD * self.features.dim, 1 - FORWARD)
        loss = weights[0] * forward + weights[1] * own["loss"]
        return own | {"loss": loss, "forward_loss": forward, f"{self.features.kind}_loss": own["loss"]}
