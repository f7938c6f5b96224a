"""Our default configuration: what `sandbox train AGENT --env ENV` trains, without its files, logs and evaluations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest import mock

from agents.learners._policy import MlpPolicy
from agents.learners.ppo import PPO
from agents.vec_env import GymnasiumVecEnv
from envs import vector
from sandbox import registry
from sandbox.config import Experiment, World
from sandbox.plan import learner_kwargs, plan


def countable() -> AbstractContextManager[object]:
    """Within it the policy acts by torch instead of by compiled code, so that its products can be counted."""
    return mock.patch("agents.learners.ppo.actor_fits", return_value=False)


def learner(env: str, agent: str) -> PPO:
    """The learner of an agent without objective, on its world."""
    resolved = plan(Experiment(agent=agent, world=World(id=env), steps=10_000_000))
    bonus = resolved.spec.get("curiosity")
    intrinsic = functools.partial(registry.load(bonus.kind, bonus.name), **bonus.options) if bonus else None
    world = GymnasiumVecEnv(vector.make(env, resolved.copies))
    return PPO(MlpPolicy, world, **learner_kwargs(resolved), intrinsic=intrinsic, seed=0, device="cpu")


def make(env: str, agent: str) -> Callable[[int], object]:
    """A function that trains for a number of steps."""
    model = learner(env, agent)
    return lambda steps: model.learn(steps, reset_num_timesteps=False)
