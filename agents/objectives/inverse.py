"""Inverse dynamics: features that tell which action led from one view to the next.

L = -log p(a_t | phi(s_t), phi(s_{t+1}))   (Discrete),   mean (a^ - a_t)^2   (Box)

Source: Agrawal et al. 2016, "Learning to Poke by Poking", and Pathak et al. 2017, eqs. 2-3 (one hidden layer of 256;
here 64: beside an encoder of 128 features the wider head would cost more than encoder and policy together).
Blind by construction to whatever actions do not change (a goal's place, a distractor). Ours also reports the chance
level, because a policy that repeats one action makes the accuracy look good for nothing.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from agents.context import Context
from agents.objectives import Mode, Objective
from agents.objectives._actions import Actions, inverse_head, to_floats
from agents.rollout import Index, Obs, Rollout, map_obs


class InverseDynamics(Objective):
    """Predict the action between two successive views.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        hidden: units of the head's hidden layer.

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
        hidden: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.actions = Actions(context.action_space)
        self.head = inverse_head(context.features_dim, hidden, self.actions)

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; Discrete: `accuracy` and `chance`, that of the minibatch's most frequent action; Box:
        `chance`, the loss of the minibatch's mean action."""
        steps = self.ahead(rollout, index)
        obs, actions, next_obs = steps.obs, steps.actions[:, 0], map_obs(lambda x: x[:, 0], steps.next_obs)
        features = encoder(_pairs(obs, next_obs))  # one pass costs less than two
        predicted = self.head(features.reshape(len(actions), -1))
        loss = self.actions.loss(predicted, actions)
        return loss, to_floats({"loss": loss} | self.actions.metrics(predicted, actions))


def _pairs(obs: Obs, next_obs: Obs) -> Obs:
    """[M, ...] and [M, ...] -> [2M, ...], s_t and s_{t+1} in turns: their features lie side by side without a copy."""
    if isinstance(obs, dict) and isinstance(next_obs, dict):
        return {name: _in_turns(obs[name], next_obs[name]) for name in obs}
    assert isinstance(obs, Tensor)
    assert isinstance(next_obs, Tensor)
    return _in_turns(obs, next_obs)


def _in_turns(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([a, b], 1).flatten(0, 1)
