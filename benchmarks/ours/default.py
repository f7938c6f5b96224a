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
from sandbox.plan import plan, policy_kwargs


def countable() -> AbstractContextManager[object]:
    """Within it the policy acts by torch instead of by compiled code, so that its products can be counted."""
    return mock.patch("agents.learners.ppo.actor_fits", return_value=False)


def make(env: str, agent: str) -> Callable[[int], object]:
    """A function that trains for a number of steps."""
    resolved = plan(Experiment(agent=agent, world=World(id=env), steps=10_000_000))
    learner, bonus = resolved.experiment.learner, resolved.spec.get("curiosity")
    model = PPO(
        MlpPolicy,
        GymnasiumVecEnv(vector.make(env, resolved.copies)),
        n_steps=resolved.n_steps,
        batch_size=resolved.batch_size,
        n_epochs=learner.n_epochs,
        learning_rate=learner.learning_rate,
        gamma=learner.gamma,
        gae_lambda=learner.gae_lambda,
        clip_range=learner.clip_range,
        ent_coef=learner.ent_coef,
        vf_coef=learner.vf_coef,
        max_grad_norm=learner.max_grad_norm,
        intrinsic=functools.partial(registry.load(bonus.kind, bonus.name), **bonus.options) if bonus else None,
        intrinsic_weight=learner.intrinsic_weight,
        intrinsic_gamma=learner.intrinsic_gamma,
        intrinsic_episodic=learner.intrinsic_episodic,
        policy_kwargs=policy_kwargs(resolved),
        seed=0,
        device="cpu",
    )
    return lambda steps: model.learn(steps, reset_num_timesteps=False)
