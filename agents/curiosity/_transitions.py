"""The steps of a rollout as a forward model in feature space meets them."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.curiosity._batches import before_and_after
from agents.curiosity._features import Features
from agents.objectives._actions import Actions
from agents.rollout import Rollout


def inputs_and_targets(features: Features, actions: Actions, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """(phi(s_t), a_t) [B, D + A] and phi(s_{t+1}) [B, D], without gradient."""
    before, after = before_and_after(features, rollout)
    taken = actions.vector(rollout.actions.flatten(0, 1).to(after.device))
    return torch.cat([before.flatten(0, 1), taken], -1), after.flatten(0, 1)


def add_up(forward_loss: Tensor, learned: dict[str, float]) -> dict[str, float]:
    """Metrics `loss` and `forward_loss` beside those of the features that learned (their `loss` is a term of ours)."""
    forward = float(forward_loss)
    return learned | {"loss": forward + learned.get("loss", 0.0), "forward_loss": forward}
