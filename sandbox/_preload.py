"""What the server that forks a study's workers loads once: libraries, the level pool, compiled code from its cache.

Forty short runs would each spend about a second on it. Nothing here may start a thread (a fork would lose it), so no
gradient is computed.
"""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
import torch

import sandbox.worker  # noqa: F401 - imported for its imports
from agents.context import Context
from agents.curiosity.counts import Counts
from agents.encoders import default_encoder
from agents.encoders import symbolic as symbolic_encoder
from agents.encoders.symbolic import Symbolic
from agents.rollout import Rollout
from envs import vector

WORLDS = "SANDBOX_PRELOAD"  # environment variable: ids of the study's worlds, separated by spaces


def warm(env_id: str) -> None:
    """Step a batched world, hash its views and look its symbols up, so that the compiled code is loaded."""
    env = vector.make(env_id, 2)
    obs = vector.reset(env, 0)
    env.step(np.zeros((2, *(env.single_action_space.shape or ())), np.int64))
    tensors = {name: torch.as_tensor(value)[None] for name, value in obs.items()} if isinstance(obs, dict) else None
    views = tensors if tensors is not None else torch.as_tensor(obs)[None]
    steps = (1, 2)
    flags = torch.zeros(steps, dtype=torch.bool)
    rollout = Rollout(views, torch.zeros(steps, dtype=torch.int64), views, torch.zeros(steps), flags, flags)
    space = env.single_observation_space
    counts = Counts(Context(space, env.single_action_space, 2, lambda: Symbolic(space)))
    counts.reward(rollout)
    counts.update(rollout)
    if tensors is not None and default_encoder(space) == "symbolic":
        _warm_lookup(Symbolic(space), {name: value[0] for name, value in tensors.items()})
    env.close()


def _warm_lookup(encoder: Symbolic, obs: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        encoder(obs)
    view = obs["image"].flatten(1, 2).contiguous().numpy()
    weight = np.zeros(tuple(encoder.weight.shape), np.float32)
    table = encoder.table.numpy()  # type: ignore[operator]
    symbolic_encoder._scatter(view, table, np.zeros((len(view), weight.shape[1]), np.float32), weight)


torch.set_num_threads(1)
for _id in os.environ.get(WORLDS, "").split():
    with suppress(Exception):  # only time would be lost; the runs themselves tell what is wrong
        warm(_id)
