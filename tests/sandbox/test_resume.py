"""Exact resume: a run that was stopped or killed, anywhere, and resumed equals the uninterrupted one bit for bit."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sandbox.checkpoint import FAILPOINTS
from sandbox.errors import Stopped
from sandbox.runs import Run, find_runs

Call = Callable[..., Any]
STEPS = 640  # ten rollouts; checkpoints after the 2nd, 4th, 6th, 8th and at the end
CASES = [("ppo+counts", "DeepSea-v0"), ("ppo+noveld+inverse", "DeepSea-v0"), ("ppo+noveld", "CartPole-v1")]


def one_run(folder: Path) -> Run:
    (run,) = find_runs(folder)
    return run


def fingerprint(run: Run) -> dict[str, Any]:
    """What must be equal: the final tensors, every deterministic number, the final evaluation, TensorBoard's points."""
    final = run.checkpoints / f"step-{STEPS:012d}"
    result = run.result
    assert result is not None
    return {
        "tensors": hashlib.sha256((final / "tensors.safetensors").read_bytes()).hexdigest(),
        "metrics": run.metrics_file.read_bytes(),
        "evaluation": (result["return"], result["success"], result["labels"], result["steps"]),
        "points": points(run.path),
    }


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """tag -> (step, value) as TensorBoard shows them, clocks and memory left out."""
    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    shown.Reload()
    tags = [tag for tag in shown.Tags()["scalars"] if not tag.startswith(("time/", "system/"))]
    return {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in tags}


@pytest.fixture
def words(small: list[str]) -> Callable[[str, str], list[str]]:
    def make(agent: str, env: str) -> list[str]:
        return ["train", agent, "--env", env, "--steps", str(STEPS), "--seed", "3", *small]

    return make


@pytest.fixture
def whole(
    sandbox: Call, tmp_path: Path, words: Callable[[str, str], list[str]]
) -> Callable[[str, str], dict[str, Any]]:
    """The uninterrupted run's fingerprint."""

    def make(agent: str, env: str) -> dict[str, Any]:
        answer = sandbox(*words(agent, env), "--out", "whole")
        assert answer.code == 0, answer.err
        return fingerprint(one_run(tmp_path / "whole"))

    return make


@pytest.mark.parametrize(
    ("agent", "env", "rollouts", "codes"),
    [
        (*CASES[0], 3, [75, 75, 75, 0]),
        (*CASES[1], 5, [75, 0]),  # where an evaluation is due
        ("ppo+rnd", "NoisyTV-MultiRoom-N4-S5-AlwaysOn-v0", 3, [75, 75, 75, 0]),
        (*CASES[2], 3, [75, 75, 75, 75, 0]),
    ],
)
def test_stopped_every_few_rollouts_equals_uninterrupted(
    sandbox: Call, tmp_path: Path, words: Any, whole: Any, monkeypatch: pytest.MonkeyPatch,
    agent: str, env: str, rollouts: int, codes: list[int],
) -> None:  # fmt: skip
    """A world of ours is saved where it stands; of another the rollout after the last boundary has to be forgotten."""
    from sandbox.worker import run_once

    expected = whole(agent, env)

    def some_rollouts(run: Run, *, should_stop: Any, **options: Any) -> None:
        asked = iter(range(rollouts))
        run_once(run, should_stop=lambda: None if next(asked, None) is not None else Stopped("enough"), **options)

    monkeypatch.setattr("sandbox.worker.run_once", some_rollouts)
    found = [sandbox(*words(agent, env), "--out", "cut").code]
    while found[-1] == 75:
        found.append(sandbox("resume", one_run(tmp_path / "cut").path).code)
    assert found == codes
    assert fingerprint(one_run(tmp_path / "cut")) == expected
    assert all(len({step for step, _ in curve}) == len(curve) for curve in expected["points"].values())


@pytest.mark.parametrize(
    ("agent", "env", "failpoint"),
    [
        (*CASES[0], "tensors_written:2"),
        (*CASES[1], "before_rename:3"),
        (*CASES[2], "after_rename:2"),
    ],
)
def test_killed_while_writing_a_checkpoint_equals_uninterrupted(
    sandbox: Call, start: Call, tmp_path: Path, words: Any, whole: Any, agent: str, env: str, failpoint: str
) -> None:
    assert failpoint.partition(":")[0] in FAILPOINTS
    expected = whole(agent, env)
    killed = start(*words(agent, env), "--out", "cut", env={"SANDBOX_FAILPOINT": failpoint})
    assert killed.wait(60) == -signal.SIGKILL
    run = one_run(tmp_path / "cut")
    assert run.status == "stopped"
    assert sandbox("resume", run.path).code == 0
    assert fingerprint(run) == expected
    assert not list(run.checkpoints.glob(".tmp-*"))


def test_killed_at_any_instant_equals_uninterrupted(
    sandbox: Call, start: Call, tmp_path: Path, words: Any, whole: Any
) -> None:
    expected = whole(*CASES[1])
    killed = start(*words(*CASES[1]), "--out", "cut")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cut").rglob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(int.from_bytes(os.urandom(2)) / 2**16 * 0.5)
    killed.kill()
    assert killed.wait(10) in (-signal.SIGKILL, 0)
    run = one_run(tmp_path / "cut")
    assert run.status in ("stopped", "done")
    assert sandbox("resume", run.path).code == 0
    assert fingerprint(run) == expected


@pytest.mark.parametrize("agent", ["bc:labels=200", "ppo+state:labels=128", "random", "oracle"])
def test_a_run_that_lost_only_its_result_makes_the_same_again(
    sandbox: Call, tmp_path: Path, words: Any, agent: str
) -> None:
    assert sandbox(*words(agent, "DeepSea-v0"), "--out", "out").code == 0
    run = one_run(tmp_path / "out")
    before, metrics = run.result, run.metrics_file.read_bytes()
    run.result_file.unlink()
    assert sandbox("resume", run.path).code == 0
    assert before is not None
    assert run.result is not None
    for key in ("return", "success", "labels", "steps", "privileged"):
        assert run.result[key] == before[key], key
    assert run.metrics_file.read_bytes() == metrics


def test_an_evaluation_changes_nothing_in_the_run(sandbox: Call, tmp_path: Path, words: Any) -> None:
    assert sandbox(*words(*CASES[0]), "--out", "out").code == 0
    run = one_run(tmp_path / "out")
    kept = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    first = sandbox("evaluate", run.path, "--format", "json")
    assert first.code == 0
    assert first.out == sandbox("evaluate", run.path, "--format", "json").out
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == kept
