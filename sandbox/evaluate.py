"""Evaluation: extrinsic reward only, fixed seeds, unseen levels where the world has them.

Every copy plays a fixed number of episodes, so that short episodes are not counted more often than long ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.utils import obs_as_tensor

from agents import randomness
from agents.learners._actor import Actor
from agents.learners._actor import fits as actor_fits
from agents.learners._policy import TwoHeads
from agents.vec_env import GymnasiumVecEnv
from envs import vector
from sandbox.config import Experiment
from sandbox.errors import EnvironmentFailed
from sandbox.plan import world_of

LONGEST = 1_000_000  # steps of an episode: beyond it an environment is taken for one that never ends
STREAM = 2  # of SeedSequence([seed, stream]): evaluation never shares random numbers with training


class Predictor(Protocol):
    """SB3's policy contract: agents and baselines are evaluated alike."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: np.ndarray | None = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]: ...


Choose = Callable[[Any, Any, np.ndarray], tuple[np.ndarray, Any]]  # (obs, state, episode_start) -> (actions, state)


@dataclass(frozen=True)
class Evaluation:
    """One entry per episode, in a fixed order; `successes` and `coverages` are None where the world knows none."""

    returns: list[float]
    lengths: list[int]
    successes: list[bool] | None
    levels: str
    coverages: list[float] | None = None

    @property
    def mean_return(self) -> float:
        return float(np.mean(self.returns))

    @property
    def success_rate(self) -> float | None:
        return None if self.successes is None else float(np.mean(self.successes))


class Evaluator:
    """Plays `episodes` episodes with any predictor; the environment is built once."""

    def __init__(self, experiment: Experiment, episodes: int, *, batched: bool, true_state: bool = False) -> None:
        self.episodes, self.deterministic = episodes, experiment.evaluation.deterministic
        self.seed = experiment.seed
        copies = episodes if batched else min(episodes, 10)
        self.env = world_of(experiment, copies, "eval", true_state)
        self.vec = GymnasiumVecEnv(self.env)
        self.levels = getattr(self.env, "levels_note", None) or "fresh seeds"

    def __call__(self, predictor: Predictor) -> Evaluation:
        with randomness.kept():
            torch.manual_seed(int(np.random.SeedSequence([self.seed, STREAM]).generate_state(1)[0]))
            if hasattr(predictor, "bind"):
                predictor.bind(vector.told(self.env))
            return self._play(predictor)

    def _play(self, predictor: Predictor) -> Evaluation:
        n = self.env.num_envs
        quota = np.full(n, self.episodes // n) + (np.arange(n) < self.episodes % n)
        done: list[list[dict[str, Any]]] = [[] for _ in range(n)]
        obs = self.vec.begin(vector.reset(self.env, np.random.SeedSequence([self.seed, STREAM])))
        choose, state, starts = self._choose(predictor), None, np.ones(n, bool)
        idle = 0
        while any(len(d) < q for d, q in zip(done, quota, strict=True)):
            actions, state = choose(obs, state, starts)
            obs, _, starts, infos = self.vec.step(actions)
            wanted = np.array([len(d) for d in done]) < quota
            idle = 0 if (starts & wanted).any() else idle + 1  # of the copies that have not played their share
            if idle == LONGEST:
                raise EnvironmentFailed(
                    f"no episode of the environment ended within {LONGEST:,} "
                    "steps of evaluation; give it a time limit (max_episode_steps where it is registered)"
                )
            for i in np.flatnonzero(starts):
                if len(done[i]) < quota[i]:
                    done[i].append(infos[i])
        played = [info for infos_of_copy in done for info in infos_of_copy]
        known = all("is_success" in info for info in played)
        return Evaluation(
            [info["episode"]["r"] for info in played],
            [info["episode"]["l"] for info in played],
            [info["is_success"] for info in played] if known else None,
            self.levels,
            [info["episode"]["coverage"] for info in played] if "coverage" in played[0]["episode"] else None,
        )

    def _choose(self, predictor: Predictor) -> Choose:
        """What samples the actions: a policy of the kind that is compiled in the compiled form that training acts by,
        any other predictor itself."""
        policy = getattr(predictor, "policy", predictor)
        if self.deterministic or not isinstance(policy, TwoHeads) or not actor_fits(policy):
            return lambda obs, state, starts: predictor.predict(obs, state, starts, self.deterministic)
        actor, device = Actor(policy, self.env.num_envs), policy.device

        def choose(obs: Any, _state: Any, _starts: np.ndarray) -> tuple[np.ndarray, None]:
            return actor.act(obs_as_tensor(obs, device))[0].numpy(), None

        return choose

    def close(self) -> None:
        self.vec.close()
