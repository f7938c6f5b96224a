"""Evaluation: a fixed number of episodes per copy, extrinsic reward, random numbers of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.learners._policy import MlpPolicy
from sandbox import evaluate
from sandbox.config import Experiment, World, build
from sandbox.errors import EnvironmentFailed
from sandbox.evaluate import Evaluator
from sandbox.plan import plan, policy_kwargs
from sandbox.runs import find_runs

Call = Callable[..., Any]


class Uneven(gym.Env):
    """The first episode of a copy takes `seed % 3 + 1` steps, later ones one more each; a step pays its number."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, endless: bool = False) -> None:
        self.length, self.endless = 0, endless

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.length = self.length + 1 if seed is None else seed % 3 + 1
        self.age = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.age += 1
        done = not self.endless and self.age == self.length
        return np.full(1, min(self.age, 100), np.float32), float(self.age), done, False, {}


def make_uneven(**kwargs: Any) -> gym.Env:
    return Uneven(**kwargs)


if "Uneven-v0" not in gym.registry:
    gym.register("Uneven-v0", entry_point=make_uneven)


@pytest.mark.parametrize("env_id", ["DeepSea-v0", "MiniGrid-Empty-5x5-v0"])
def test_a_compiled_policy_is_evaluated_as_it_would_act_by_itself(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(agent="ppo", world=World(id=env_id, levels=10, eval_levels=10), steps=10_000)
    evaluator = Evaluator(experiment, 20, batched=True)
    space = evaluator.env.single_observation_space, evaluator.env.single_action_space
    torch.manual_seed(0)
    policy = MlpPolicy(*space, lambda _progress: 1.0, **policy_kwargs(plan(experiment)))
    assert evaluate.actor_fits(policy)
    compiled = evaluator(policy)
    monkeypatch.setattr(evaluate, "actor_fits", lambda _policy: False)
    assert evaluator(policy) == compiled


class Zeros:
    """A predictor that draws from torch's generator, as policies do."""

    def predict(self, observation: Any, *_: Any) -> tuple[np.ndarray, None]:
        torch.rand(7)
        return np.zeros(len(observation), np.int64), None


def evaluator(env: str, episodes: int, seed: int = 0, batched: bool = False, **kwargs: Any) -> Evaluator:
    experiment = Experiment(agent="random", world=World(id=env, kwargs=kwargs), steps=1000, seed=seed)
    return Evaluator(experiment, episodes, batched=batched)


def test_every_copy_plays_its_share_so_that_short_episodes_count_no_more() -> None:
    played = evaluator("Uneven-v0", 23)(Zeros())
    words = np.random.SeedSequence([0, evaluate.STREAM]).generate_state(10)
    expected = [int(words[i]) % 3 + 1 + k for i in range(10) for k in range(3 if i < 3 else 2)]
    assert played.lengths == expected
    assert played.returns == [length * (length + 1) / 2 for length in expected]
    assert played.mean_return == pytest.approx(np.mean(played.returns))
    assert played.successes is None
    assert played.success_rate is None


class Drawn:
    """Acts by torch's generator, as policies do."""

    def predict(self, observation: Any, *_: Any) -> tuple[np.ndarray, None]:
        return torch.randint(2, (len(observation),)).numpy(), None


def test_evaluation_neither_reads_nor_moves_the_learner_s_random_numbers() -> None:
    play = evaluator("DeepSea-v0", 8, batched=True)
    torch.manual_seed(1)
    first = play(Drawn())
    assert len(set(first.returns)) > 1
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    assert play(Drawn()) == first


def test_a_copy_that_is_stuck_beside_others_that_go_on_ends_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have played their share, and their further episodes are no progress."""
    monkeypatch.setattr(evaluate, "LONGEST", 50)
    stuck = evaluator("Uneven-v0", 4)
    stuck.env.envs[2].unwrapped.endless = True  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFailed, match="ended within 50 steps"):
        stuck(Zeros())


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_predictor_is_asked_for_a_sample_or_for_its_most_likely_action(deterministic: bool) -> None:
    asked = set()

    class Asked(Zeros):
        def predict(
            self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
        ) -> tuple[np.ndarray, None]:
            asked.add(deterministic)
            return super().predict(observation)

    settings = {"agent": "random", "world": {"id": "DeepSea-v0"}, "steps": 1000}
    one = build(Experiment, settings | {"evaluation": {"deterministic": deterministic}}, "here")
    Evaluator(one, 4, batched=True)(Asked())
    assert asked == {deterministic}


def test_deterministic_evaluation_plays_the_most_likely_action(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    """In a world without chance all episodes are then the same; learning is, either way."""
    found = {}
    for word in ("false", "true"):
        words = ["train", "ppo", "--env", "DeepSea-v0", "--steps", 256, *small, "--out", word]
        assert sandbox(*words, "--set", f"evaluation.deterministic={word}", "--set", "evaluation.episodes=16").code == 0
        (found[word],) = find_runs(tmp_path / word)
    drawn, likely = (run.result or {} for run in found.values())
    assert [one["evaluation"]["deterministic"] for one in (drawn, likely)] == [False, True]
    assert len(set(drawn["return"]["episodes"])) > 1 == len(set(likely["return"]["episodes"]))
    for run, words in ((found["false"], ["--deterministic"]), (found["true"], [])):
        answer = sandbox("evaluate", run.path, *words, "--format", "json")
        assert json.loads(answer.out)["return"] == likely["return"]["mean"]


def test_the_seed_decides_the_episodes() -> None:
    assert evaluator("CartPole-v1", 5, seed=1)(Zeros()) == evaluator("CartPole-v1", 5, seed=1)(Zeros())
    assert evaluator("Uneven-v0", 10, seed=1)(Zeros()) != evaluator("Uneven-v0", 10, seed=2)(Zeros())


def test_an_environment_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "LONGEST", 50)
    with pytest.raises(EnvironmentFailed, match=r"ended within 50 steps.*max_episode_steps"):
        evaluator("Uneven-v0", 2, endless=True)(Zeros())


def test_the_oracle_solves_its_world_and_random_does_not(sandbox: Call, small: list[str]) -> None:
    means = {}
    for agent in ("oracle", "random"):
        answer = sandbox("train", agent, "--env", "DeepSea-v0", *small, "--format", "json")
        (row,) = json.loads(answer.out)["rows"]
        means[agent] = row["return"]["mean"]
        assert row["success"]["mean"] == (agent == "oracle")
        assert row["steps"] == 0
    assert means["oracle"] == pytest.approx(0.99)
    assert means["random"] < 0


@pytest.mark.parametrize("agent", ["ppo+noveld+inverse", "bc:labels=200", "ppo+state:labels=128", "oracle"])
def test_the_verb_plays_the_final_agent_again(sandbox: Call, small: list[str], tmp_path: Path, agent: str) -> None:
    """With the run's own seed it plays the very episodes of the run's result."""
    assert sandbox("train", agent, "--env", "DeepSea-v0", "--steps", 512, *small, "--out", "out").code == 0
    (run,) = find_runs(tmp_path / "out")
    row = json.loads(sandbox("evaluate", run.path, "--format", "json").out)
    assert run.result is not None
    assert row["return"] == run.result["return"]["mean"]
    assert row["success"] == run.result["success"]["mean"]
    assert row["episodes"] == 4
    assert (row["status"], row["seed"], row["deterministic"]) == ("done", 0, False)
    assert (
        json.loads(sandbox("evaluate", run.path, "--episodes", 7, "--seed", 9, "--format", "json").out)["episodes"] == 7
    )


def test_a_run_without_a_checkpoint_cannot_be_evaluated(sandbox: Call, tmp_path: Path) -> None:
    from sandbox.config import to_dict
    from sandbox.runs import create

    one = build(Experiment, {"agent": "ppo", "world": {"id": "DeepSea-v0"}, "steps": 20_000}, "here")
    create(tmp_path / "fresh", to_dict(one))
    answer = sandbox("evaluate", "fresh")
    assert answer.code == 2
    assert "no checkpoint yet" in answer.err
