"""Our default configuration: what `sandbox train AGENT --env ENV` trains, without its files, logs and evaluations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest import mock

from agents.learners._policy import MlpPolicy
from agents.learners.ppo import PPO
from agents.vec_env import GymnasiumVecEnv
from envs import vector
from sandbox.config import Experiment, World
from sandbox.plan import bonus_of, learner_kwargs, plan


def countable() -> AbstractContextManager[object]:
    """Within it the policy acts by torch instead of by compiled code, so that its products can be counted.

    What learns needs no such change: without autograd its products are torch's too.
    """
    return mock.patch("agents.learners.ppo.actor_fits", return_value=False)


def learner(env: str, agent: str) -> PPO:
    """The learner of an agent without objective, on its world."""
    resolved = plan(Experiment(agent=agent, world=World(id=env), steps=10_000_000))
    world = GymnasiumVecEnv(vector.make(env, resolved.copies))
    return PPO(MlpPolicy, world, **learner_kwargs(resolved), intrinsic=bonus_of(resolved), seed=0, device="cpu")


def make(env: str, agent: str) -> Callable[[int], object]:
    """A function that trains for a number of steps."""
    model = learner(env, agent)
    return lambda steps: model.learn(steps, reset_num_timesteps=False)
