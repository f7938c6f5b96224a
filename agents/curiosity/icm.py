"""Intrinsic curiosity module: pay for what a forward model in feature space did not foresee.

r_t = 1/2 mean_k (phi^_k(phi(s_t), a_t) - phi_k(s_{t+1}))^2,   phi trained to tell a_t from phi(s_t) and phi(s_{t+1})

Source: Pathak et al. 2017, eqs. 2-6 (one hidden layer of 256 in both heads, as in the authors' code), and Burda et al.
2018, "Large-Scale Study of Curiosity-Driven Learning", whose code stops the gradient from the forward model into phi
and offers random features. We follow the latter, so the two losses share no parameter and Pathak's weights .2 and .8
would cancel in Adam; eta and the factor 288 (his number of features) are left to the scaling in `normalise.py`. One
epoch per rollout, over the same share of the steps as in `rnd` (theirs: all of them). No pair bridges two episodes,
because `next_obs` is the true successor.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import Shuffle, descend, in_pieces, take, transitions
from agents.distinct import Distinct
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions, inverse_head, to_floats
from agents.rollout import Obs, Rollout, map_obs


class ICM(IntrinsicReward):
    """Forward-model error on inverse-dynamics features.

    Args:
        lr: Adam's learning rate.
        features: `inverse` trains the encoder on the inverse loss, `random` leaves it as it was made.
        hidden: units of the hidden layer of the forward model and of the inverse head.
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
        features: Literal["inverse", "random"] = "inverse",
        hidden: Annotated[int, Field(ge=1)] = 256,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.actions, self.shuffle = Actions(context.action_space), Shuffle(context.n_envs, proportion)
        self.encoder = context.make_encoder().requires_grad_(features == "inverse")
        d = self.encoder.features_dim
        self.forward_model = nn.Sequential(Dense(d + self.actions.size, hidden), Linear(hidden, d))
        self.inverse = inverse_head(d, hidden, self.actions) if features == "inverse" else None
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)

    def reward(self, rollout: Rollout) -> Tensor:
        views, steps = self._steps(rollout)
        phi = in_pieces(self._phi, views.obs)

        def error(step: Obs) -> Tensor:
            left, action, reached = (part.to(phi.device) for part in step.values())
            return self._forward_error(phi[left], action, phi[reached])

        errors = in_pieces(error, steps.obs)[steps.ids.to(phi.device)]
        return errors.unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the sum of `forward_loss` and `inverse_loss`, and the inverse model's of `objectives`."""
        views, steps = self._steps(rollout)
        taken = []
        for index in self.shuffle.draw(len(steps.ids)):
            different, which = steps.among(steps.ids[index.to(steps.ids.device)])
            left, actions, reached = take(steps.obs, different).values()
            seen, where = views.among(torch.cat([left, reached]))
            phi = self._phi(take(views.obs, seen)).index_select(0, where.to(self.shuffle.stream.device))
            before, after = phi.chunk(2)
            losses = self._losses(before, after, actions, which.to(phi.device))
            descend(self.optimiser, losses["loss"])
            taken.append(losses)
        return to_floats({name: torch.stack([step[name].detach() for step in taken]).mean() for name in taken[0]})

    @staticmethod
    def _steps(rollout: Rollout) -> tuple[Distinct, Distinct]:
        """A rollout's different views, and its different steps: {view left, action, view reached}."""
        views, left, reached = transitions(rollout)
        return views, Distinct({"left": left, "action": rollout.actions.flatten(0, 1), "reached": reached})

    def _phi(self, obs: Obs) -> Tensor:
        """[M, D]"""
        return self.encoder(map_obs(lambda x: x.to(self.shuffle.stream.device), obs))

    def _forward_error(self, phi: Tensor, actions: Tensor, phi_next: Tensor) -> Tensor:
        """[M]"""
        predicted = self.forward_model(torch.cat([phi, self.actions.vector(actions)], -1))
        return 0.5 * (predicted - phi_next).square().mean(-1)

    def _losses(self, phi: Tensor, phi_next: Tensor, actions: Tensor, which: Tensor) -> dict[str, Tensor]:
        """Means over steps [M], of which `which` tells the row of phi, phi_next and actions."""
        actions = actions.to(self.shuffle.stream.device)
        forward = self._forward_error(phi.detach(), actions, phi_next.detach()).index_select(0, which).mean()
        if self.inverse is None:
            return {"loss": forward, "forward_loss": forward}
        predicted = self.inverse(torch.cat([phi, phi_next], -1)).index_select(0, which)
        actions = actions.index_select(0, which)
        inverse = self.actions.loss(predicted, actions)
        losses = {"loss": forward + inverse, "forward_loss": forward, "inverse_loss": inverse}
        return losses | self.actions.metrics(predicted, actions)
