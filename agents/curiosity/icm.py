"""Intrinsic curiosity module: pay for what a forward model in feature space did not foresee.

r_t = 1/2 mean_k (phi^_k(phi(s_t), a_t) - phi_k(s_{t+1}))^2,   phi trained to tell a_t from phi(s_t) and phi(s_{t+1})

Source: Pathak et al. 2017, eqs. 2-6 (one hidden layer of 256 in both heads, as in the authors' code), and Burda et al.
2018, "Large-Scale Study of Curiosity-Driven Learning", whose code stops the gradient from the forward model into phi
and offers other features (`_features.py`). We follow the latter, so the two losses share no parameter and Pathak's
weights .2 and .8 would cancel in Adam. With `stop_gradient=false` both losses reach phi under his weights, the forward
one times his number of features (288, here D). Eta is left to the scaling in `normalise.py`. One epoch per rollout,
over the same share of the steps as in `rnd` (theirs: all of them). No pair bridges two episodes, because `next_obs` is
the true successor.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import descend, in_pieces, take, transitions
from agents.curiosity._features import Features, Kind
from agents.distinct import Distinct
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions, to_floats
from agents.rollout import Obs, Rollout, map_obs

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
            raise ValueError("icm: features='random' stay as they were made; leave stop_gradient=true")
        self.actions, self.stop_gradient = Actions(context.action_space), stop_gradient
        self.features = Features(context, features, hidden=hidden, proportion=proportion)
        d = self.features.dim
        self.forward_model = nn.Sequential(Dense(d + self.actions.size, hidden), Linear(hidden, d))
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)

    def reward(self, rollout: Rollout) -> Tensor:
        views, steps = self._steps(rollout)
        phi = in_pieces(self.features, views.obs)

        def error(step: Obs) -> Tensor:
            left, action, reached = (part.to(phi.device) for part in step.values())
            return self._forward_error(phi[left], action, phi[reached])

        errors = in_pieces(error, steps.obs)[steps.ids.to(phi.device)]
        return errors.unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the weighted sum of `forward_loss` and the features' own, `inverse_loss` (with the inverse
        model's metrics of `objectives`) or `autoencoder_loss`."""
        views, steps = self._steps(rollout)
        taken = []
        for index in self.features.shuffle.draw(len(steps.ids)):
            different, which = steps.among(steps.ids[index.to(steps.ids.device)])
            left, actions, reached = take(steps.obs, different).values()
            seen, where = views.among(torch.cat([left, reached]))
            obs = take(views.obs, seen)
            phi = self.features(obs).index_select(0, where.to(self.features.device))
            before, after = phi.chunk(2)
            losses = self._losses(before, after, actions, which.to(phi.device), take(obs, where.chunk(2)[1]))
            descend(self.optimiser, losses["loss"])
            taken.append(losses)
        return to_floats({name: torch.stack([step[name].detach() for step in taken]).mean() for name in taken[0]})

    @staticmethod
    def _steps(rollout: Rollout) -> tuple[Distinct, Distinct]:
        """A rollout's different views, and its different steps: {view left, action, view reached}."""
        views, left, reached = transitions(rollout)
        return views, Distinct({"left": left, "action": rollout.actions.flatten(0, 1), "reached": reached})

    def _forward_error(self, phi: Tensor, actions: Tensor, phi_next: Tensor) -> Tensor:
        """[M]"""
        predicted = self.forward_model(torch.cat([phi, self.actions.vector(actions)], -1))
        return 0.5 * (predicted - phi_next).square().mean(-1)

    def _losses(self, phi: Tensor, phi_next: Tensor, actions: Tensor, which: Tensor, reached: Obs) -> dict[str, Tensor]:
        """Means over steps [M], of which `which` tells the row of phi, phi_next, actions and the views `reached`."""
        actions = actions.to(self.features.device)
        left, right = (phi.detach(), phi_next.detach()) if self.stop_gradient else (phi, phi_next)
        forward = self._forward_error(left, actions, right).index_select(0, which).mean()
        own = self._of_features(phi, phi_next, actions, which, reached)
        if not own:
            return {"loss": forward, "forward_loss": forward}
        weights = (1.0, 1.0) if self.stop_gradient else (FORWARD * self.features.dim, 1 - FORWARD)
        name = f"{self.features.kind}_loss"
        loss = weights[0] * forward + weights[1] * own[name]
        return {"loss": loss, "forward_loss": forward} | own

    def _of_features(
        self, phi: Tensor, phi_next: Tensor, actions: Tensor, which: Tensor, reached: Obs
    ) -> dict[str, Tensor]:
        """The loss that trains phi, under its name, and what tells how good it is; empty for random features."""
        head, kind = self.features.head, self.features.kind
        if head is None:
            return {}
        if kind == "autoencoder":
            rebuilt = head(phi_next).index_select(0, which)
            numbers = self.features.numbers(map_obs(lambda x: x.to(which.device), reached)).index_select(0, which)
            return {"autoencoder_loss": F.mse_loss(rebuilt, numbers)}
        predicted, taken = head(torch.cat([phi, phi_next], -1)).index_select(0, which), actions.index_select(0, which)
        return {"inverse_loss": self.actions.loss(predicted, taken)} | self.actions.metrics(predicted, taken)
