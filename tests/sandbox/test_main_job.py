"""What the verbs say and print where something is not as it should be: nothing that is known is held back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import report as reporting
from sandbox import study as studies
from sandbox.runs import Run, find_runs

Call = Callable[..., Any]


@pytest.fixture
def trained(sandbox: Call, small: list[str], tmp_path: Path) -> list[Run]:
    words = ["compare", "random", "oracle", "--env", "DeepSea-v0", "--seeds", "1", "--steps", "512", "--out", "out"]
    answer = sandbox(*words, *small, "--jobs", "2")
    assert answer.code == 0, answer.err
    return find_runs(tmp_path / "out")


def test_a_plan_has_every_format(sandbox: Call) -> None:
    words = ["compare", "ppo", "random", "--env", "DeepSea-v0", "--seeds", "2", "--steps", "20000", "--dry-run"]
    data = sandbox(*words, "--format", "json")
    rows = list(csv.DictReader(io.StringIO(sandbox(*words, "--format", "csv").out)))
    assert json.loads(data.out) == rows
    assert [row["seed"] for row in rows] == ["0", "1"] * 2
    assert "4 runs" in data.err and "4 runs" in sandbox(*words).out


def test_a_plan_looks_at_each_arm_once(sandbox: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox import plan as plans

    asked: list[Any] = []
    real = plans.plan
    monkeypatch.setattr(plans, "plan", lambda one: asked.append(one) or real(one))
    assert sandbox("compare", "ppo", "random", "--env", "DeepSea-v0", "--seeds", "5", "--dry-run").code == 0
    assert [one.agent for one in asked] == ["ppo", "random"]


def test_a_finished_study_starts_no_server(
    sandbox: Call, small: list[str], trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "start_server", lambda _ids: pytest.fail("a server was started"))
    words = ["compare", "random", "oracle", "--env", "DeepSea-v0", "--seeds", "1", "--steps", "512", "--out", "out"]
    answer = sandbox(*words, *small)
    assert answer.code == 0 and "2 of 2 runs are done already" in answer.err


def test_the_table_is_printed_where_the_report_cannot_be_written(
    sandbox: Call, trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reporting, "build", full)
    answer = sandbox("report", "out", "--format", "json")
    assert answer.code == 7
    assert len(json.loads(answer.out)["rows"]) == 2


def test_a_run_of_another_version_does_not_keep_the_others_from_going_on(sandbox: Call, trained: list[Run]) -> None:
    strange, other = trained
    strange.config_file.write_text(json.dumps(strange.config | {"tomorrow": 1}))
    other.result_file.unlink()
    answer = sandbox("resume", "out")
    assert answer.code == 0, answer.err
    assert other.result_file.exists()
    assert "left out" in answer.err and "tomorrow" in answer.err


def test_an_evaluation_says_of_what_run_it_is(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    assert sandbox("train", "ppo", "--env", "CartPole-v1", "--steps", "64", *small, "--out", "out").code == 0
    (run,) = find_runs(tmp_path / "out")
    assert " - " in sandbox("evaluate", run.path, "--episodes", "2").out.replace("\n", " ")  # CartPole knows no success
    run.result_file.unlink()
    answer = sandbox("evaluate", run.path, "--episodes", "2", "--seed", "5", "--format", "json")
    row = json.loads(answer.out)
    assert (row["status"], row["seed"], row["success"]) == ("stopped", 5, None)
    assert "not done: kept: the checkpoint of step 64" in answer.err


def test_what_cannot_be_resumed_says_how_to_begin_again(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    assert sandbox("train", "ppo", "--env", "DeepSea-v0", "--steps", "512", *small, "--out", "out").code == 0
    (run,) = find_runs(tmp_path / "out")
    run.result_file.unlink()
    run.metrics_file.write_text("")
    answer = sandbox("resume", run.path)
    assert answer.code == 5
    assert f"delete {run.path / 'checkpoints'}" in answer.err
