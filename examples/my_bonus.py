"""Action surprise: pay for actions that the agent has seldom taken so far.

r_t = -log (smoothing + n(a_t)) / (A smoothing + sum_b n(b)),   n = actions taken before this rollout

An example of the form of a bonus, not a recommendation: it pays for using all actions equally often, whatever they do.
The file's name is the bonus's name:

    sandbox train ppo+my_bonus:smoothing=10.0 --env DeepSea-v0 --plugin examples/my_bonus.py
"""

from __future__ import annotations

from typing import Annotated

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.rollout import Rollout


class ActionSurprise(IntrinsicReward):
    """Surprise, in nats, at each action under the frequencies so far.

    Args:
        smoothing: added to every count, so that an action never taken has a finite surprise.

    Raises:
        ValueError: if the action space is not Discrete.
    """

    counts: Tensor

    def __init__(self, context: Context, *, smoothing: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__(context)
        if not isinstance(context.action_space, spaces.Discrete):
            raise ValueError(f"my_bonus needs Discrete actions, got {context.action_space}")
        self.smoothing, self.first = smoothing, int(context.action_space.start)
        # A buffer, so that a checkpoint holds it and a resumed run goes on exactly.
        self.register_buffer("counts", torch.zeros(int(context.action_space.n), dtype=torch.float64))

    def reward(self, rollout: Rollout) -> Tensor:
        counts = self.counts + self.smoothing
        surprise = -(counts / counts.sum()).log().float()
        return surprise[rollout.actions.to(surprise.device) - self.first].to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `entropy` of the frequencies so far, in nats."""
        taken = rollout.actions.flatten().to(self.counts.device) - self.first
        self.counts += torch.bincount(taken, minlength=len(self.counts))
        share = self.counts / self.counts.sum()
        return {"entropy": float(torch.special.entr(share).sum())}
