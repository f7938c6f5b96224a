"""What the server that forks a study's workers loads once: libraries, the level pool, compiled code from its cache.

Forty short runs would each spend about a second on it. Nothing here may start a thread (a fork would lose it), so no
gradient is computed.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from agents.adam import Adam
from agents.context import Context
from agents.curiosity.counts import Counts
from agents.encoders import default_encoder
from agents.encoders.symbolic import Symbolic
from agents.learners._actor import Actor
from agents.learners._backward import Backward
from agents.learners._compiled import Surrogate
from agents.learners._gae import advantages
from agents.learners._policy import MlpPolicy
from agents.rollout import Obs, Rollout, flatten_obs, map_obs
from envs import vector
from envs.batched import BatchedWorld
from sandbox import worker

NETWORK: dict[str, Any] = {"features_extractor_class": Symbolic, "net_arch": [], "optimizer_class": Adam}
WORLDS = "SANDBOX_PRELOAD"  # environment variable: ids of the study's worlds, separated by spaces


def warm(env_id: str) -> None:
    """Step a batched world, hash its views, act and learn on them, so that the compiled code is loaded, and what a
    single copy imports."""
    vector.single(env_id).close()
    env = vector.make(env_id, 2)
    obs = vector.reset(env, 0)
    env.step(np.zeros((2, *(env.single_action_space.shape or ())), np.int64))
    space, actions = env.single_observation_space, env.single_action_space
    views = map_obs(lambda x: torch.as_tensor(x)[None], obs)
    steps = (1, 2)
    flags = torch.zeros(steps, dtype=torch.bool)
    rollout = Rollout(views, torch.zeros(steps, dtype=torch.int64), views, torch.zeros(steps), flags, flags)
    counts = Counts(Context(space, actions, 2, lambda: Symbolic(space)))
    counts.reward(rollout)
    counts.update(rollout)
    if default_encoder(space) == "symbolic":
        _warm_learner(MlpPolicy(space, actions, lambda _progress: 0.0, **NETWORK), flatten_obs(views))
    if isinstance(env, BatchedWorld) and env.has_oracle:
        env.oracle()
    env.close()


def _warm_learner(policy: MlpPolicy, obs: Obs) -> None:
    """One action and one update, without autograd."""
    zeros, index = torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    coefs = torch.ones(1, dtype=torch.float64)
    surrogate = Surrogate(
        index, zeros, zeros, zeros[None, None], clip_range=0.2, ent_coef=0.0, value_coefs=coefs, normalise=True
    )
    with torch.no_grad():
        Actor(policy, 2).act(obs)
        advantages(zeros[None], zeros[None], zeros[None], zeros[None].bool(), 1.0, 1.0)
        surrogate(policy.outputs(obs), index)  # as where an objective needs autograd
        backward = Backward(policy, obs, through_encoder=True)
        outputs, where = backward.outputs(index)
        backward.pull, _ = surrogate.gradient(outputs, where, index, surrogate.no_stats())
        backward.backward()
    optimizer: Any = policy.optimizer
    optimizer.step(max_norm=1.0)


torch.set_num_threads(1)
worker.own_versions()
for _id in filter(vector.is_batched, os.environ.get(WORLDS, "").split()):
    with suppress(Exception):  # only time would be lost; the runs themselves tell what is wrong
        warm(_id)
gc.freeze()  # a collection in a worker would write to, and so copy, every page that it shares with the others
