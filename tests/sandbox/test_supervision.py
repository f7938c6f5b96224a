"""The supervised arms as runs: what they are told, what they hand over, and that a cut one goes on exactly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.learners.ppo import PPO
from envs import vector
from sandbox import checkpoint, expert, supervision
from sandbox.config import Experiment, build, digest, to_dict
from sandbox.errors import Stopped, UsageError
from sandbox.plan import plan
from sandbox.runs import Run, find_runs
from sandbox.spec import parse_agent

Call = Callable[..., Any]
STEPS = 640
FROZEN = "bc:labels=100+inverse:mode=frozen,pretrain_steps=250"
CURIOUS = "dagger:labels=100+noveld+inverse:mode=finetune,pretrain_steps=250"


@pytest.fixture
def train(sandbox: Call, small: list[str], tmp_path: Path) -> Callable[..., Run]:
    def one(agent: str, out: str = "out", env: str = "DeepSea-v0", *more: object, steps: int = STEPS) -> Run:
        answer = sandbox("train", agent, "--env", env, "--steps", steps, "--seed", 3, *small, *more, "--out", out)
        assert answer.code == 0, answer.err
        (run,) = [run for run in find_runs(tmp_path / out) if run.config["agent"] == agent]
        return run

    return one


def saved(run: Run, step: int | None = None) -> dict[str, Any]:
    if step is not None:
        return checkpoint.load(run.checkpoints / f"step-{step:012d}")
    found = checkpoint.latest(run.checkpoints)
    assert found is not None
    return found[1]


def encoder(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state["policy"].items() if name.startswith("features_extractor.")}


# ---------------------------------------------------------------------- what is told


@pytest.mark.parametrize(
    ("agent", "ledger", "privileged"),
    [
        ("dagger:labels=100", (100, 0, 0, 0), ["dagger: the world's oracle"]),
        ("ppo+bc:labels=128", (128, 0, 512, 512), ["bc: the world's oracle"]),
        ("ppo+counts+dagger:labels=128", (128, 0, 512, 512), ["dagger: the world's oracle"]),
        (FROZEN, (100, 0, 0, 256), ["bc: the world's oracle"]),
        (CURIOUS, (100, 0, 0, 256), ["dagger: the world's oracle"]),
        ("ppo+true_state", (0, 640, 640, 640), ["true_state: the world's labels instead of the view"]),
        ("ppo+state:labels=128,shuffled=true", (0, 128, 512, 512), ["state: state labels"]),
        ("ppo+pca:frames=128", (0, 0, 512, 512), []),
        ("ppo+counts:state=full", (0, 0, 640, 640), ["counts: the true state instead of the view"]),
    ],
)
def test_the_ledger_and_the_privileges(train: Call, agent: str, ledger: tuple[int, ...], privileged: list[str]) -> None:
    result = train(agent).result
    assert tuple(result["labels"][kind] for kind in ("actions", "states", "rewards", "terminations")) == ledger
    assert result["privileged"] == privileged
    frames = 128 * ("shuffled" in agent or "pca" in agent)  # of random actions, before the learner begins
    assert result["steps"] == ledger[0] + max(ledger[2:]) + frames


@pytest.mark.parametrize("env", ["DeepSea-v0", "MiniGrid-Empty-5x5-v0"])  # by its labels; by a key of its own
def test_a_bonus_that_reads_the_true_state_is_told_it_by_the_run(train: Call, env: str) -> None:
    run = train("ppo+counts:state=full", "out", env)
    assert run.result["privileged"] == ["counts: the true state instead of the view"]
    counted = [row["curiosity/states"] for row in run.metrics() if "curiosity/states" in row]
    assert len(counted) == STEPS // 64
    assert 1 < counted[-1] <= {"DeepSea-v0": 65, "MiniGrid-Empty-5x5-v0": 9 * 4}[env]


def test_a_bonus_that_reads_the_true_state_is_refused_where_none_is_told(sandbox: Call, small: list[str]) -> None:
    answer = sandbox("train", "ppo+counts:state=full", "--env", "CartPole-v1", "--steps", STEPS, *small, "--out", "out")
    assert (answer.code, answer.out) == (2, "")
    told = "'ppo+counts:state=full' reads the true state instead of the view, and 'CartPole-v1' offers no labels"
    assert [line for line in answer.err.splitlines() if "error" in line.lower()] == [f"error: {told}"]


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ("bc:labels=100+inverse", "say which"),
        ("bc:labels=500+inverse:mode=frozen,pretrain_steps=250", "after 256 of pre-training"),
        ("ppo+true_state", "needs state labels"),
        ("ppo+mlp+pca", "leave mlp out"),
        ("ppo+pca:frames=700", "takes 700 environment steps to collect its frames"),
        ("ppo+pca:frames=639", "raise --steps or ask for fewer frames"),  # of 640: no rollout is left
        ("dagger:labels=100", "--expert RUN"),
    ],
)
def test_what_cannot_run_is_refused_beforehand(agent: str, message: str) -> None:
    env = "DeepSea-v0" if "inverse" in agent else "CartPole-v1"
    data = {"agent": agent, "world": {"id": env, "copies": 4}, "steps": STEPS, "learner": {"n_steps": 16}}
    with pytest.raises(UsageError, match=message):
        plan(build(Experiment, data, "here"))


# ---------------------------------------------------------------------- what is handed over


def test_a_frozen_encoder_is_the_pre_trained_one_bit_for_bit(train: Call) -> None:
    run = train(FROZEN)
    before, after = encoder(saved(run, 256)), encoder(saved(run))
    assert all(torch.equal(before[name], after[name]) for name in after)
    learned = train("bc:labels=100+inverse:mode=frozen,pretrain_steps=0")
    assert not all(torch.equal(before[name], value) for name, value in encoder(saved(learned)).items())


def test_without_a_bonus_the_experience_is_uniformly_random(train: Call) -> None:
    state = saved(train(FROZEN), 256)
    assert not state["policy"]["action_net.weight"].any()
    assert not state["policy"]["action_net.bias"].any()


def test_a_fine_tuned_encoder_moves_a_little(train: Call) -> None:
    run = train(CURIOUS)
    before, after = encoder(saved(run, 256)), encoder(saved(run))
    moved = max((after[name] - before[name]).abs().max().item() for name in after)
    assert 0 < moved < 0.05


@pytest.mark.parametrize(("rollouts", "first"), [(12, 5), (9, 4), (3, 1)])  # five; no more than half of what is left
def test_a_handed_over_policy_waits_for_its_critic_and_then_learns_at_a_tenth_of_the_rate(
    train: Call, monkeypatch: pytest.MonkeyPatch, rollouts: int, first: int
) -> None:
    names = ("value_net.weight", "action_net.weight", "features_extractor.layers.0.weight")
    moved: dict[str, list[bool]] = {name: [] for name in names}
    update = PPO.train

    def noted(model: PPO) -> None:
        before = {name: model.policy.state_dict()[name].clone() for name in moved}
        update(model)
        for name, value in before.items():
            moved[name].append(not torch.equal(value, model.policy.state_dict()[name]))

    monkeypatch.setattr(PPO, "train", noted)
    run = train("ppo+bc:labels=64", steps=64 + 64 * rollouts)
    assert moved[names[0]] == [True] * rollouts
    assert moved[names[1]] == moved[names[2]] == [False] * first + [True] * (rollouts - first)
    rates = [row["train/learning_rate"] for row in run.metrics() if "train/learning_rate" in row]
    assert rates == pytest.approx([2e-3] * first + [2e-4] * (rollouts - first))


# ---------------------------------------------------------------------- resume


@pytest.mark.parametrize("agent", [FROZEN, CURIOUS, "ppo+bc:labels=64", "ppo+true_state+noveld"])
def test_cut_in_any_phase_equals_uninterrupted(
    sandbox: Call, train: Call, small: list[str], tmp_path: Path, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every piece gets three rollouts; and the labels' phase is cut once where it begins."""
    from sandbox.worker import run_once

    whole = train(agent, "whole")
    begun: list[int] = []

    def cut_once(*args: Any) -> int:
        begun.append(args[2])
        if len(begun) == 1:
            raise Stopped("enough")
        return fit(*args)

    def three_rollouts(run: Run, *, should_stop: Any, **options: Any) -> None:
        asked = iter(range(3))
        run_once(run, should_stop=lambda: None if next(asked, None) is not None else Stopped("enough"), **options)

    fit = supervision._fit
    monkeypatch.setattr(supervision, "_fit", cut_once)
    monkeypatch.setattr("sandbox.worker.run_once", three_rollouts)
    words = ["train", agent, "--env", "DeepSea-v0", "--steps", STEPS, "--seed", 3, *small, "--out", "cut"]
    codes = [sandbox(*words).code]
    (run,) = find_runs(tmp_path / "cut")
    while codes[-1] == 75 and len(codes) < 20:
        codes.append(sandbox("resume", run.path).code)
    assert codes[-1] == 0
    assert len(codes) >= 3
    assert begun in ([], [0, 0], [256, 256])
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    ours, theirs = saved(run)["policy"], saved(whole)["policy"]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for key in ("return", "labels", "steps", "privileged"):
        assert run.result[key] == whole.result[key], key  # type: ignore[index]


@pytest.mark.parametrize("agent", ["dagger:labels=100", FROZEN])
def test_a_run_that_lost_only_its_result_makes_the_same_again(sandbox: Call, train: Call, agent: str) -> None:
    run = train(agent)
    before = run.result
    run.result_file.unlink()
    assert sandbox("resume", run.path).code == 0
    for key in ("return", "labels", "steps", "privileged"):
        assert run.result[key] == before[key], key


def test_the_only_encoder_that_a_part_can_fit_is_not_part_of_the_agents_name() -> None:
    assert str(parse_agent("ppo+linear+pca")) == str(parse_agent("pca")) == "ppo+pca"
    assert str(parse_agent("ppo+linear:features=8+pca")) == "ppo+linear:features=8+pca"
    assert str(parse_agent("ppo+linear+state")) == "ppo+linear+state"


# ---------------------------------------------------------------------- the true state


def test_true_state_solves_what_it_sees(sandbox: Call, tmp_path: Path) -> None:
    words = ["train", "ppo+true_state", "--env", "DeepSea-v0", "--set", "world.kwargs.size=4", "--steps", 60_000]
    assert sandbox(*words, "--set", "evaluation.points=1", "--out", "out").code == 0
    (run,) = find_runs(tmp_path / "out")
    assert run.result is not None
    assert run.result["success"]["mean"] > 0.9
    assert run.result["privileged"] == ["true_state: the world's labels instead of the view"]
    answer = sandbox("evaluate", run.path, "--format", "json")
    assert json.loads(answer.out)["success"] > 0.9
    for verb in ("probe", "diagnose"):  # there is no view whose features could be read
        answer = sandbox(verb, run.path)
        assert (answer.code, "encodes no view" in answer.err) == (2, True), answer.err


# ---------------------------------------------------------------------- an expert


def test_an_experts_labels_are_its_predictions_and_count(sandbox: Call, train: Call, tmp_path: Path) -> None:
    teacher = train("ppo", "teacher", "DeepSea-v0", "--set", "evaluation.deterministic=true")
    run = train("bc:labels=100", "out", "DeepSea-v0", "--expert", teacher.path)
    assert run.result is not None
    assert run.result["labels"]["actions"] == 100
    assert run.result["privileged"] == [f"bc: the agent ppo, seed 3, of {teacher.path}"]
    made = plan(build(Experiment, run.config, "here"))
    found = expert.load(made)
    assert found is not None
    env = made.world(3)
    taught = expert.Taught(vector.told(env), vector.reset(env, 0), found)
    policy = expert.load_policy(teacher, plan(build(Experiment, teacher.config, "here")), (
        env.single_observation_space, env.single_action_space,
    ))  # fmt: skip
    for _ in range(12):
        told = taught.oracle()
        assert told.tolist() == policy.predict(taught.obs, deterministic=True)[0].tolist()
        taught.step(np.array([0, 1, 0]))


def test_an_expert_must_fit_be_finished_and_stay_what_it_was(sandbox: Call, train: Call, tmp_path: Path) -> None:
    teacher = train("ppo", "teacher")
    asked = ["--steps", STEPS, "--out", "no", "--expert", teacher.path]
    for words, message in (
        (["ppo", "--env", "DeepSea-v0"], "takes no action labels"),
        (["bc:labels=50", "--env", "MiniGrid-Empty-5x5-v0"], "name a run in the same world"),
        (["bc:labels=50", "--env", "DeepSea-v0", "--set", "world.kwargs.size=4"], "the learner Box"),
        (["bc:labels=50+true_state", "--env", "DeepSea-v0"], "true_state"),
    ):
        answer = sandbox("train", *words, *asked)
        assert (answer.code, message in answer.err) == (2, True), answer.err
    floor = train("random", "floor")
    answer = sandbox("train", "bc", "--env", "DeepSea-v0", "--steps", 2000, "--expert", floor.path)
    assert (answer.code, "has learned nothing" in answer.err) == (2, True)

    run = train("ppo+bc:labels=64", "out", "DeepSea-v0", "--expert", teacher.path)
    run.result_file.unlink()
    shutil.copytree(teacher.path, tmp_path / "kept")
    teacher.config_file.write_text(teacher.config_file.read_text() + " ")
    answer = sandbox("resume", run.path)
    assert (answer.code, "changed since the run was made" in answer.err) == (5, True), answer.err
    teacher.result_file.unlink()
    answer = sandbox("train", "bc", "--env", "DeepSea-v0", "--steps", 2000, "--expert", teacher.path)
    assert (answer.code, "not finished" in answer.err) == (2, True)


def test_a_damaged_expert_is_refused_and_no_older_checkpoint_takes_its_place(sandbox: Call, train: Call) -> None:
    teacher = train("ppo", "teacher")
    newest = max(teacher.checkpoints.iterdir(), key=lambda path: int(path.name.split("-")[1]))
    assert len(list(teacher.checkpoints.iterdir())) > 1
    tensors = newest / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    answer = sandbox("train", "bc:labels=64", "--env", "DeepSea-v0", "--steps", 2000, "--expert", teacher.path)
    assert answer.code == 5 and "the expert's checkpoint is damaged" in answer.err


def test_an_expert_counts_by_what_it_is_and_only_where_it_is_asked(
    sandbox: Call, train: Call, small: list[str]
) -> None:
    teacher = train("ppo", "teacher")
    words = ["compare", "ppo", "bc:labels=50", "oracle", "--env", "DeepSea-v0", "--seeds", 1, "--steps", STEPS, *small]
    answer = sandbox(*words, "--expert", teacher.path, "--dry-run")
    assert answer.code == 0, answer.err
    plain = {"agent": "bc:labels=50", "world": {"id": "DeepSea-v0"}, "steps": STEPS}
    taught = plain | {"expert": expert.refer(teacher.path).model_dump()}
    moved = plain | {"expert": taught["expert"] | {"path": "/elsewhere"}}  # type: ignore[operator]
    made = [build(Experiment, data, "here") for data in (plain, taught, moved)]
    assert digest(made[0]) != digest(made[1]) == digest(made[2])
    assert "expert" not in to_dict(made[0])
    assert build(Experiment, to_dict(made[1]), "here") == made[1]
    answer = sandbox("compare", "ppo", "--env", "DeepSea-v0", "--steps", STEPS, "--expert", teacher.path)
    assert (answer.code, "no agent of the study takes action labels" in answer.err) == (2, True)
