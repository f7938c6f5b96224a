"""The steps that every bonus is measured on: the same for ours and theirs, made before the clock runs.

A quarter of the actions are the oracle's, the others are drawn at random. So the copies get around, and on MultiRoom-N6
three quarters of a minibatch's views are different ones: between what `ppo+counts` meets after 100,000 and after
490,000 steps (NOTES.md). Random actions alone would stay among fewer views, which flatters whoever computes equal views
once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agents.distinct import Distinct
from agents.rollout import Rollout, flatten_obs

GUIDED = 0.25  # share of the actions that are the oracle's
BATCH = 1024  # steps of a minibatch of ours


def rollouts(world: Any, n_steps: int, count: int) -> list[Rollout]:
    """`count` consecutive rollouts of a batched world with dict observations, always the same."""
    obs, rng = world.reset(seed=0)[0], np.random.default_rng(0)
    steps = []
    for _ in range(count * n_steps):
        random = rng.integers(0, world.single_action_space.n, world.num_envs)
        actions = np.where(rng.random(world.num_envs) < GUIDED, world.oracle(), random)
        after, rewards, terminated, truncated, infos = world.step(actions)
        steps.append((obs, actions, infos.get("final_obs", after), rewards, terminated, truncated))
        obs = after
    return [_stacked(steps[start : start + n_steps]) for start in range(0, len(steps), n_steps)]


def _stacked(steps: list[tuple[Any, ...]]) -> Rollout:
    def stack(parts: tuple[Any, ...]) -> Any:
        if isinstance(parts[0], dict):
            return {name: torch.from_numpy(np.stack([part[name] for part in parts])) for name in parts[0]}
        return torch.from_numpy(np.stack(parts))

    obs, actions, next_obs, rewards, terminated, truncated = map(stack, zip(*steps, strict=True))
    return Rollout(obs, actions.long(), next_obs, rewards.float(), terminated, truncated)


def different(rollout: Rollout) -> dict[str, float]:
    """Share of the views that are different ones: of a rollout, and of its shuffled minibatches."""
    ids = Distinct(flatten_obs(rollout.next_obs)).ids
    shuffled = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))]
    parts = shuffled.split(BATCH)
    return {"rollout": _share(ids), "minibatch": sum(map(_share, parts)) / len(parts)}


def _share(ids: torch.Tensor) -> float:
    return len(ids.unique()) / len(ids)
