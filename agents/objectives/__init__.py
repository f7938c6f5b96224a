"""Self-supervised objectives: one file each, a subclass of `Objective`."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from agents.context import Context
from agents.objectives._ahead import Ahead, ahead, mispaired
from agents.rollout import Index, Rollout, map_obs

Mode = Literal["auxiliary", "frozen", "finetune"]


class Objective(nn.Module):
    """A loss on the encoder that needs no label.

    Modes:
        auxiliary: `weight` x loss is added to the learner's loss throughout.
        frozen: during the first `pretrain_steps` environment steps (reward-free, counted in the budget) only this loss
            trains the encoder; afterwards it is fixed and the heads learn on it.
        finetune: as frozen, but afterwards the reward trains the encoder too, at 0.01 x the learning rate.

    The learner's optimiser owns the objective's parameters, and one gradient norm is clipped for both. The weight is
    0.1 because of that: on MultiRoom-N4-S5 with `ppo+noveld`, `inverse` at weight 1 made the policy's share of a
    clipped step so small that success after 400,000 steps was 0.26 (doses are in docs/decisions.md).

    `shuffled` is the negative control: each view is paired with what followed another one, so that the computation
    stays and the signal goes. The other control, an encoder that learned nothing, is `mode=frozen,pretrain_steps=0`.
    """

    here: Tensor

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
    ) -> None:
        super().__init__()
        self.context = context
        self.mode, self.weight, self.pretrain_steps, self.shuffled = mode, weight, pretrain_steps, shuffled
        self.register_buffer("here", torch.empty(0), persistent=False)  # it moves with the module

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss and metrics on the minibatch `index` = (t [M], n [M]); neighbours may be read from `rollout`."""
        raise NotImplementedError

    def ahead(self, rollout: Rollout, index: Index, k: int = 1) -> Ahead:
        """The `k` steps that follow each of the minibatch, mispaired in the control, on this module's device."""
        steps = ahead(rollout, index, k)
        steps = mispaired(steps) if self.shuffled else steps
        device = self.here.device
        obs, next_obs = (map_obs(lambda x: x.to(device), views) for views in (steps.obs, steps.next_obs))
        return Ahead(obs, steps.actions.to(device), next_obs, steps.reached.to(device))

    def after_step(self, encoder: BaseFeaturesExtractor) -> None:
        """Called after each optimiser step (a target network follows here)."""
