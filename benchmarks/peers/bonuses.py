"""RLeXplore's reward classes (package rllte-core) on recorded steps: unchanged, with their own defaults.

They are used as in `rlexplore.py`: `watch` at every step, then `compute` on the whole rollout, which also learns. They
read the vector of `flat_view.py`.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rllte.xplore import reward  # type: ignore[import-not-found]
from torch import Tensor

from agents.rollout import Rollout
from benchmarks import recorded
from benchmarks.peers.flat_view import flat
from benchmarks.table import COUNTERPARTS
from envs import vector

RE3_MEMORY = 1000  # steps; until it is full, RE3 is quicker


class Replay:
    """What a reward class asks of environments: spaces, the number of copies, and views for its first statistics."""

    def __init__(self, views: Tensor, action_space: gym.Space) -> None:
        self.action_space = action_space
        self.observation_space = gym.spaces.Box(0, 255, (views.shape[-1],), np.float32)
        self.num_envs = views.shape[1]
        self.unwrapped = self
        self.views = itertools.cycle(views.numpy())

    def reset(self) -> np.ndarray:
        return next(self.views)

    def step(self, _actions: object) -> tuple[np.ndarray, None, None, None]:
        return next(self.views), None, None, None


def samples(rollout: Rollout) -> dict[str, Tensor]:
    """A rollout as the reward classes take it, from SB3's buffer."""
    return {
        "observations": flat(rollout.obs),
        "actions": rollout.actions[..., None].float(),
        "rewards": rollout.rewards,
        "terminateds": rollout.terminated,
        "truncateds": rollout.truncated,
        "next_observations": flat(rollout.next_obs),
    }


def spend(part: Any, given: Sequence[dict[str, Tensor]]) -> float:
    """CPU seconds."""
    start = time.process_time()
    for one in given:
        for step in range(len(one["rewards"])):
            part.watch(*(values[step] for values in one.values()))
        part.compute(one, sync=True)
    return time.process_time() - start


def make(env: str, copies: int, n_steps: int, rollouts: int) -> Callable[[int], dict[str, float | str]]:
    """A function that measures each class in turn on a number of the recorded steps: {name: CPU seconds}, or the error
    with which a class crashes as it was published."""
    torch.manual_seed(0)
    world = vector.make(env, copies)
    record = [samples(one) for one in recorded.rollouts(world, n_steps, rollouts)]
    replay = Replay(torch.cat([one["observations"] for one in record]), world.single_action_space)
    classes = {name: getattr(reward, name)(replay, device="cpu") for name in COUNTERPARTS.values()}
    spend(classes["RE3"], record * math.ceil(RE3_MEMORY / (n_steps * rollouts)))

    def run(steps: int) -> dict[str, float | str]:
        found: dict[str, float | str] = {}
        for name, part in classes.items():
            try:
                found[name] = spend(part, record[: steps // (copies * n_steps)])
            except Exception as error:  # whatever it is: the page says so
                found[name] = f"{type(error).__name__}: {error}"
        return found

    return run
