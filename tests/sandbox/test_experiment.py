"""One experiment: what the plan decides, what the streams of random numbers are, what the result counts."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sandbox.config import Experiment, Learner, build
from sandbox.errors import NoResources, UsageError
from sandbox.experiment import LEARN, WORLD, seed_everything
from sandbox.plan import at, learner_kwargs, plan
from sandbox.runs import find_runs

Call = Callable[..., Any]


def experiment(agent: str = "ppo", env: str = "DeepSea-v0", **settings: Any) -> Experiment:
    return build(Experiment, {"agent": agent, "world": {"id": env}, "steps": 100_000} | settings, "here")


def test_a_world_of_ours_runs_many_copies_and_saves_every_hundred_rollouts() -> None:
    decided = plan(experiment())
    assert (decided.batched, decided.copies, decided.n_steps, decided.interval) == (True, 64, 128, 100)
    assert decided.rollouts == 100_000 // (64 * 128)
    assert decided.batch_size == 64 * 128 // 8
    assert decided.episodes == 100


def test_a_foreign_world_starts_afresh_only_after_twenty_episode_limits() -> None:
    decided = plan(experiment(env="CartPole-v1"))
    assert (decided.batched, decided.copies, decided.episodes) == (False, 8, 20)
    assert decided.interval == math.ceil(20 * 500 / 128)  # CartPole-v1 ends after 500 steps


def test_a_short_budget_makes_a_shorter_rollout_and_is_never_passed() -> None:
    decided = plan(experiment(steps=1000))
    assert (decided.n_steps, decided.rollouts) == (15, 1)
    assert decided.rollouts * decided.per_rollout <= 1000
    with pytest.raises(UsageError, match="at least 128"):
        plan(experiment(steps=127))


def test_labels_are_taken_from_the_budget_before_its_rollouts_are_made() -> None:
    decided = plan(experiment("ppo+bc:labels=4000", steps=20_000))
    assert (decided.n_steps, decided.rollouts, decided.steps) == (128, 1, 4_000 + 8_192)
    short = plan(experiment("ppo+bc:labels=100", steps=8_000))
    assert (short.n_steps, short.rollouts) == ((8_000 - 100) // 64, 1)
    assert short.steps <= 8_000


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_learner_that_would_never_see_the_reward_is_refused(mode: str) -> None:
    with pytest.raises(UsageError, match="lower inverse:pretrain_steps or raise --steps"):
        plan(experiment(f"ppo+inverse:mode={mode}"))  # 100,000 of 100,000 steps
    with pytest.raises(UsageError, match="pretrain_steps"):
        plan(experiment(f"ppo+inverse:mode={mode},pretrain_steps=2000", steps=4_000))  # its only rollout is blind
    assert plan(experiment(f"ppo+inverse:mode={mode},pretrain_steps=8192", steps=2 * 8_192)).rollouts == 2


def test_labels_beyond_the_budget_are_refused_before_one_is_collected() -> None:
    assert plan(experiment("bc:labels=1000", steps=1000)).spec.base.name == "bc"
    with pytest.raises(UsageError, match=r"1,000 environment steps.*budget of 999"):
        plan(experiment("bc", steps=999))  # 1000 is bc's default
    with pytest.raises(UsageError, match="200,000"):
        plan(experiment("ppo+state:labels=200000"))


@pytest.mark.parametrize(
    "settings",
    [
        {"learner": {"net_arch": [65536] * 16}},
        {"world": {"id": "DeepSea-v0", "copies": 65536}, "learner": {"n_steps": 1_000_000}, "steps": 10**12},
        {"evaluation": {"episodes": 1_000_000}, "world": {"id": "DeepSea-v0", "kwargs": {"size": 500}}},
    ],
)
def test_memory_is_estimated_before_it_is_taken(settings: dict[str, Any]) -> None:
    with pytest.raises(NoResources, match="GiB"):
        plan(experiment(**settings))


def drawn(seed: int, stream: int, boundary: int) -> tuple[float, ...]:
    seed_everything(seed, stream, boundary)
    return random.random(), float(np.random.random()), float(torch.rand(1))  # noqa: NPY002


def test_seed_stream_and_boundary_each_give_other_random_numbers() -> None:
    kinds = [(seed, stream, boundary) for seed in (0, 1) for stream in (LEARN, WORLD) for boundary in (0, 1, 2)]
    numbers = [drawn(*kind) for kind in kinds]
    assert len({value for triple in numbers for value in triple}) == 3 * len(kinds)
    assert drawn(1, WORLD, 2) == numbers[-1]


@pytest.mark.parametrize(
    ("agent", "ledger"),
    [
        ("ppo", {"actions": 0, "states": 0, "rewards": 512, "terminations": 512}),
        ("bc:labels=200", {"actions": 200, "states": 0, "rewards": 0, "terminations": 0}),
        ("ppo+state:labels=128", {"actions": 0, "states": 128, "rewards": 384, "terminations": 384}),
        ("random", {"actions": 0, "states": 0, "rewards": 0, "terminations": 0}),
    ],
)
def test_the_ledger_counts_what_was_told(
    sandbox: Call, small: list[str], tmp_path: Path, agent: str, ledger: dict[str, int]
) -> None:
    assert sandbox("train", agent, "--env", "DeepSea-v0", "--steps", 512, *small, "--out", "out").code == 0
    (run,) = find_runs(tmp_path / "out")
    result = run.result
    assert result is not None
    assert {kind: result["labels"][kind] for kind in ledger} == ledger
    assert result["steps"] <= 512
    assert json.loads(run.config_file.read_text())["agent"] == agent
    assert [row["step"] for row in run.metrics()] == sorted(row["step"] for row in run.metrics())


@pytest.mark.parametrize(
    ("agent", "weight", "rewards"),
    [
        ("ppo+counts", "0", 0),
        ("ppo+counts", "[[0,0],[128,0],[129,1]]", 512 - 3 * 64),  # rollouts that begin at 0, 64 and 128
        ("ppo+inverse:mode=frozen,pretrain_steps=250", "1", 512 - 4 * 64),
        ("ppo+inverse:mode=finetune,pretrain_steps=128", "1", 512 - 2 * 64),
        ("ppo+inverse:mode=frozen,pretrain_steps=128", "[[0,0],[256,0],[257,1]]", 512 - 5 * 64),
        ("ppo+inverse:pretrain_steps=128", "1", 512),  # beside the reward from the beginning
    ],
)
def test_rewards_that_nothing_learned_from_are_not_counted(
    sandbox: Call, small: list[str], tmp_path: Path, agent: str, weight: str, rewards: int
) -> None:
    sets = [*small, "--set", f"learner.extrinsic_weight={weight}"]
    answer = sandbox("train", agent, "--env", "DeepSea-v0", "--steps", 512, *sets, "--out", "out")
    assert answer.code == 0, answer.err
    (run,) = find_runs(tmp_path / "out")
    assert run.result is not None
    assert run.result["labels"] == {"actions": 0, "states": 0, "rewards": rewards, "terminations": 512}


def test_neighbouring_seeds_are_other_runs(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    for seed in (0, 1):
        words = ["train", "ppo+counts", "--env", "DeepSea-v0", "--steps", 256, "--seed", seed]
        assert sandbox(*words, *small, "--out", "out").code == 0
    first, second = (run.metrics_file.read_bytes() for run in find_runs(tmp_path / "out"))
    assert first != second


def test_a_schedule_is_linear_between_its_points_and_constant_outside() -> None:
    points = ((1_000, 1.0), (9_000, 0.25))
    assert [at(points, steps) for steps in (0, 1_000, 5_000, 9_000, 10**9)] == [1.0, 1.0, 0.625, 0.25, 0.25]
    assert at(0.5, 10**9) == 0.5


def test_the_learner_follows_the_schedules_of_its_settings() -> None:
    learner = Learner(extrinsic_weight=0.0, intrinsic_weight=((0, 1.0), (10, 0.0)))
    made = learner_kwargs(plan(experiment().model_copy(update={"learner": learner})))
    assert made["extrinsic_weight"](7) == 0.0
    assert [made["intrinsic_weight"](steps) for steps in (0, 5, 10)] == [1.0, 0.5, 0.0]
    assert [made["anneal"](steps) for steps in (0, 10**7, 12_000_000, 10**9)] == [1.0, 1.0, 0.625, 0.25]
