"""The encoder that a run has trained, from its newest checkpoint, and the same one untrained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents import randomness
from agents.learners._policy import MlpPolicy
from agents.rollout import Obs, map_obs
from sandbox import checkpoint
from sandbox.errors import UsageError
from sandbox.plan import Plan, policy_kwargs
from sandbox.runs import Run
from sandbox.values import quoted

Spaces = tuple[spaces.Space, spaces.Space]  # of one copy: observations, actions
AT_ONCE = 1024  # frames


def trained(run: Run, plan_: Plan, of: Spaces, warn: Callable[[str], None]) -> nn.Module:
    """The run's encoder.

    Raises:
        UsageError: its agent has none, or there is no checkpoint yet.
    """
    if reason := lacks(plan_):
        raise UsageError(f"{run.path}: {reason}; give a run of another agent")
    weights = policy_weights(run, warn)
    encoder = untrained(plan_, of)
    prefix = "features_extractor."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    encoder.load_state_dict(own)
    return encoder


def policy_weights(run: Run, warn: Callable[[str], object]) -> dict[str, Tensor]:
    """The policy's, in the run's newest checkpoint.

    Raises:
        UsageError: there is none yet, or none any more.
    """
    found = checkpoint.latest(run.checkpoints, warn)
    if found is not None:
        return found[1]["policy"]
    resume = f"`sandbox resume {quoted(run.path)}`"
    if run.status == "done":  # which is not resumed
        raise UsageError(
            f"{run.path} is done, and its checkpoints are gone; delete {run.result_file}, then {resume} makes it anew"
        )
    raise UsageError(f"{run.path} has no checkpoint yet; {resume} goes on with it")


def lacks(plan_: Plan) -> str:
    """Why the agent has no encoder of views; "" if it has one."""
    if plan_.spec.base.kind == "reference":
        return f"{plan_.experiment.agent!r} learns no representation"
    return f"{plan_.experiment.agent!r} is shown the labels and encodes no view" if plan_.true_state else ""


def untrained(plan_: Plan, of: Spaces, seed: int = 0) -> Any:
    """The same architecture, with first weights as a run's policy has them."""
    with randomness.kept():
        torch.manual_seed(seed)
        return MlpPolicy(*of, lambda _progress: 1.0, **policy_kwargs(plan_)).features_extractor


@torch.no_grad()
def features(encoder: nn.Module, obs: Obs) -> Tensor:
    """[M, *obs] -> [M, D] on the CPU, as the encoder acts and not as it trains, whichever it is about."""
    mode = encoder.training
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    total = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
    encoder.eval()
    pieces = torch.arange(total).split(AT_ONCE)
    parts = [encoder(map_obs(functools.partial(_taken, piece, device), obs)) for piece in pieces]
    encoder.train(mode)
    return torch.cat(parts).cpu()  # float64, in which features are measured, is not on every device


def _taken(index: Tensor, device: torch.device, x: Tensor) -> Tensor:
    return x[index.to(x.device)].to(device)
