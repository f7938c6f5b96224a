"""Checks before anything is allocated or trained: does the environment keep its own contract, does it fit in memory."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs import vector
from envs.minigrid import NOT_BATCHED
from sandbox.config import Experiment
from sandbox.errors import EnvironmentFailed, NoResources, UsageError, did_you_mean

STEPS = 20
FEATURES = 128  # of an encoder, for the estimate of memory
ACTIONS = (spaces.Discrete, spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)


def make_checked(env_id: str, kwargs: dict[str, Any]) -> gym.Env:
    """One copy of the environment, or a UsageError that says what is wrong with the name or the arguments."""
    for why, ids in NOT_BATCHED.items():
        if vector.plain_id(env_id) in ids:
            raise UsageError(f"environment {env_id!r} cannot be run: {why}; `sandbox list worlds` shows what can")
    try:
        return vector.single(env_id, **kwargs)
    except gym.error.DependencyNotInstalled as error:
        raise UsageError(f"environment {env_id!r} needs a package that is not installed: {error}") from error
    except gym.error.Error as error:
        known = [*vector.own_ids(), *gym.registry]
        why = str(error).partition(" Did you mean")[0].rstrip(".")  # of all ids, ours too, the nearest are named here
        raise UsageError(
            f"unknown environment {env_id!r}: {why}.{did_you_mean(env_id, known)} `sandbox list worlds` shows ours; "
            "your own is named module:Id-v0, with module.py in the current folder"
        ) from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"environment {env_id!r}: {error}; the part before the colon is a module that Python can import "
            "(the current folder is searched last)"
        ) from error
    except Exception as error:
        if kwargs and isinstance(error, (TypeError, ValueError)):
            raise UsageError(f"environment {env_id!r} refuses the arguments {kwargs}: {error}") from error
        raise EnvironmentFailed(f"environment {env_id!r} could not be made: {type(error).__name__}: {error}") from error


def check_environment(env_id: str, kwargs: dict[str, Any]) -> gym.Env:
    """Make one copy and play a few random steps against its declared spaces. Returns the copy (closed)."""
    with redirect_stdout(sys.stderr):  # an environment that prints must not spoil the data
        return _checked(env_id, kwargs)


def tells_success(env_id: str, kwargs: dict[str, Any]) -> bool:
    """Does one copy say at its steps whether an episode succeeded? Of an environment that is checked."""
    with redirect_stdout(sys.stderr):
        env = make_checked(env_id, kwargs)
        env.reset(seed=0)
        info = env.step(env.action_space.sample())[4]
        env.close()
    return "is_success" in info


def _checked(env_id: str, kwargs: dict[str, Any]) -> gym.Env:
    env = make_checked(env_id, kwargs)
    if not isinstance(env.action_space, ACTIONS):
        raise UsageError(f"environment {env_id!r}: the learner cannot act in {env.action_space}; wrap it")
    try:
        _play(env, env_id)
    except (EnvironmentFailed, UsageError):
        raise
    except Exception as error:
        raise EnvironmentFailed(f"environment {env_id!r} raised {type(error).__name__}: {error}") from error
    finally:
        env.close()
    return env


def _play(env: gym.Env, env_id: str) -> None:
    env.action_space.seed(0)
    first = env.reset(seed=0)
    if not isinstance(first, tuple) or len(first) != 2:
        raise EnvironmentFailed(f"environment {env_id!r}: reset must return (observation, info), got {_short(first)}")
    obs, _ = first
    _check_obs(env, obs, env_id, "reset")
    for step in range(1, STEPS + 1):
        answer = env.step(env.action_space.sample())
        if not isinstance(answer, tuple) or len(answer) != 5:
            raise EnvironmentFailed(f"environment {env_id!r}: step must return five values, got {_short(answer)}")
        obs, reward, terminated, truncated, info = answer
        _check_obs(env, obs, env_id, f"step {step}")
        if np.ndim(reward) != 0 or not np.isfinite(float(reward)):  # type: ignore[arg-type]
            raise EnvironmentFailed(f"environment {env_id!r}: step {step} returned the reward {_short(reward)}")
        if not isinstance(info, dict):
            raise EnvironmentFailed(f"environment {env_id!r}: step {step} returned no info dict but {_short(info)}")
        if terminated or truncated:
            obs, _ = env.reset()


def _check_obs(env: gym.Env, obs: Any, env_id: str, when: str) -> None:
    space = env.observation_space
    if space.contains(obs):
        return
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    for name, part in parts.items():
        value: Any = obs.get(name) if isinstance(obs, dict) and name else obs
        if not part.contains(value):
            got = f"{getattr(value, 'dtype', type(value).__name__)} of shape {np.shape(value)}"
            nan = " with NaN" if np.asarray(value).dtype.kind == "f" and np.isnan(value).any() else ""
            where = f" part {name!r}" if name else ""
            raise EnvironmentFailed(
                f"environment {env_id!r}: the observation{where} at {when} does not fit its space: "
                f"expected {part}, got {got}{nan}"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def rollout_bytes(experiment: Experiment, observation_space: spaces.Space, copies: int, n_steps: int) -> int:
    """Bytes that a run allocates, roughly: rollout and update (observations twice, ten floats a step), the network
    (weight, gradient, two moments and two copies on their way to a checkpoint), and the copies that evaluate."""
    parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    per_step = sum(int(np.prod(part.shape or (1,))) * np.dtype(part.dtype).itemsize for part in parts)
    widths = (FEATURES, *experiment.learner.net_arch)
    weights = 2 * sum(a * b for a, b in pairwise(widths))
    evaluating = (experiment.evaluation.episodes or 0) if vector.is_batched(experiment.world.id) else 0
    return copies * n_steps * (2 * per_step + 40) + (copies + evaluating) * 4 * per_step + weights * 24


def check_memory(needed: int, what: str) -> None:
    """NoResources if `needed` bytes exceed what the machine (or its container) has left."""
    available = available_memory()
    if available is not None and needed > available:
        raise NoResources(
            f"{what} would need {needed / 2**30:,.1f} GiB of memory, {available / 2**30:,.1f} GiB are available; "
            "use fewer copies (--set world.copies=...), shorter rollouts (--set learner.n_steps=...), "
            "a smaller network (learner.net_arch) or fewer episodes (evaluation.episodes)"
        )


def available_memory() -> int | None:
    """Bytes; None where the system does not tell."""
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        if limit.isdigit():
            limits.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        pass
    return min(limits) if limits else None
