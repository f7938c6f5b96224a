"""Intrinsic rewards: one file per bonus, each a subclass of `IntrinsicReward`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.context import Context
from agents.rollout import Rollout


class IntrinsicReward(nn.Module):
    """A reward that the agent gives itself.

    Options are keyword-only, annotated and have their defaults in the signature of the subclass. State lives in
    parameters and buffers; `optimiser` is the bonus's own (None where nothing is learned by gradient).
    """

    optimiser: torch.optim.Optimizer | None = None
    scaled = False  # does `reward` already divide by the std of returns, so that the learner must not?

    privileged: str | None = None  # what it reads that the agent cannot see; a run's result names it

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def reward(self, rollout: Rollout) -> Tensor:
        """[T, N] float32, no gradient: the bonus of reaching `next_obs`, unscaled.

        Called once per rollout, before `update`: it advances episodic memory (per environment, kept across
        rollouts, ended at terminated or truncated), never a parameter or a lifelong memory.
        """
        raise NotImplementedError

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learn from the rollout; returns metrics (name -> value)."""
        raise NotImplementedError

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """What learns by gradient here, by name: a checkpoint keeps their state."""
        return {} if self.optimiser is None else {"optimiser": self.optimiser}

    def new_episodes(self) -> None:
        """Every environment was reset from outside: forget episodic memory."""
