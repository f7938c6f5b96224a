"""A study: only what is missing is done, one failure does not stop the others, and a user's own parts take part."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox import files, runs, study
from sandbox.config import Experiment, World
from sandbox.runs import find_runs

Call = Callable[..., Any]
WORDS = ["--env", "DeepSea-v0", "--steps", "512", "--jobs", "1", "--out", "out"]
ROW = {
    "env", "agent", "runs", "failed", "steps", "success", "return", "score", "labels", "cpu_seconds", "joules",
    "median", "seconds", "levels", "privileged", "seeds", "unfinished", "notes",
}  # fmt: skip
CLAIM = {"env", "metric", "a", "b", "difference", "low", "high", "n", "text"}

WORLD = '''
import gymnasium as gym, numpy as np
from gymnasium import spaces

class Moody(gym.Env):
    """Fails where its seed says so: copies of one run share `mood`, the run's seed does not reach it."""
    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)
    steps = 0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return np.zeros(3, np.float32), {}
    def step(self, action):
        Moody.steps += 1
        self.age += 1
        if Moody.steps > 30 and %s:
            raise RuntimeError("bad mood")
        return np.zeros(3, np.float32), float(action), self.age >= 8, False, {}

gym.register("Moody-v0", entry_point=Moody)
'''
BAD_SEED_1 = '"seed-1" in __import__("glob").glob("out/*/*/*/.owner.json")[-1]'
SLOW = "__import__('time').sleep(0.005)"


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def test_a_study_does_only_what_is_missing(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    words = ["compare", "ppo", "random", *WORDS, *small, "--seeds", "2", "--format", "json"]
    first = sandbox(*words)
    assert first.code == 0, first.err
    data = json.loads(first.out)  # alone on stdout
    assert set(data) == {"schema", "study", "rows", "claims"}
    assert [(row["agent"], row["runs"], row["seeds"]) for row in data["rows"]] == [
        ("random", 2, [0, 1]),
        ("ppo", 2, [0, 1]),
    ]
    assert all(set(row) == ROW for row in data["rows"])
    assert all(set(claim) == CLAIM for claim in data["claims"])
    assert (tmp_path / "out" / "report" / "report.md").is_file()
    results = {run.path: run.result_file.stat().st_mtime_ns for run in find_runs(tmp_path / "out")}
    assert len(results) == 4

    cut, gone = [run for run in find_runs(tmp_path / "out") if run.path.parent.name.startswith("ppo")]
    cut.result_file.unlink()  # one was cut at its end, one was lost altogether
    shutil.rmtree(gone.path)
    again = sandbox(*words)
    assert again.code == 0
    assert "2 of 4 runs are done already" in again.err
    for path, stamp in results.items():
        kept = runs.Run(path).result_file.stat().st_mtime_ns == stamp
        assert kept == (path not in (cut.path, gone.path))
    same = ("agent", "success", "return", "score", "steps", "labels")
    rows = json.loads(again.out)["rows"]
    assert [[row[key] for key in same] for row in rows] == [[row[key] for key in same] for row in data["rows"]]


def test_a_folder_of_one_s_own_world_with_an_envs_of_its_own_and_a_run_that_fails(
    sandbox: Call, small: list[str], tmp_path: Path
) -> None:
    """The worker's memory of the seed is its run folder; both seeds run, seed 1 fails, the table is printed."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("raise RuntimeError('the wrong envs')")
    (tmp_path / "agents.py").write_text("raise RuntimeError('the wrong agents')")
    (tmp_path / "moody.py").write_text(WORLD % BAD_SEED_1)
    words = ["compare", "ppo", "--env", "moody:Moody-v0", "--seeds", "2", *WORDS[2:], *small, "--format", "json"]
    answer = sandbox(*words)
    assert answer.code == 6, answer.err
    (row,) = json.loads(answer.out)["rows"]
    assert (row["runs"], row["failed"], row["seeds"]) == (1, 1, [0])
    assert "1 of 2 runs failed" in answer.err
    assert "bad mood" in answer.err
    assert "seed-1" in answer.err
    (tmp_path / "moody.py").write_text(WORLD % "False")
    assert sandbox("resume", "out", "--jobs", "1").code == 0
    assert [run.status for run in find_runs(tmp_path / "out")] == ["done", "done"]


def test_a_bonus_of_one_s_own_takes_part_and_is_refused_once_changed(
    sandbox: Call, small: list[str], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    plugin = elsewhere / "always.py"
    plugin.write_text(
        '"""One for every step."""\nimport torch\nfrom agents.curiosity import IntrinsicReward\n\n'
        "class Always(IntrinsicReward):\n    def reward(self, rollout):\n        return torch.ones(rollout.shape)\n"
        "    def update(self, rollout):\n        return {'mine': 1.0}\n"
    )
    words = ["compare", "ppo+always", "random", *WORDS, *small, "--seeds", "1", "--plugin", plugin]
    answer = sandbox(*words)
    assert answer.code == 0, answer.err
    (run,) = [run for run in find_runs(tmp_path / "out") if "always" in run.path.parent.name]
    assert any(row.get("curiosity/mine") == 1.0 for row in run.metrics())
    run.result_file.unlink()
    plugin.write_text(plugin.read_text() + "# changed\n")
    refused = sandbox("resume", "out", "--jobs", "1")
    assert refused.code == 6
    assert "changed since the run was made" in refused.err


def test_an_unknown_name_is_refused_before_anything_is_made(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    for agents, env, word in (
        (["ppo", "pqo"], "DeepSea-v0", "ppo"),
        (["ppo"], "DepSea-v0", "DeepSea-v0"),
        (["bc"], "CartPole-v1", "oracle"),
    ):
        answer = sandbox("compare", *agents, "--env", env, *small, "--out", "out")
        assert answer.code == 2
        assert word in answer.err
    assert not (tmp_path / "out").exists()


def test_a_run_in_use_by_another_process_is_left_alone(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    words = ["compare", "random", *WORDS, *small, "--seeds", "2"]
    assert sandbox(*words).code == 0
    used = find_runs(tmp_path / "out")[0]
    used.result_file.unlink()
    with runs.lock(used):
        answer = sandbox(*words)
    assert answer.code == 6
    assert "in use by another process" in answer.err
    assert used.status == "stopped"


def test_the_folder_of_a_run_names_world_agent_and_seed(tmp_path: Path) -> None:
    one = Experiment(agent="ppo", world=World(id="mine:Own-v0"), steps=1000, seed=3)
    folder = study.folder_of(one, tmp_path)
    assert folder.parent.parent.name == "mine-Own-v0"
    assert folder.parent.name.startswith("ppo-")
    assert folder.name == "seed-3"
    assert study.folder_of(one.model_copy(update={"steps": 1001}), tmp_path).parent != folder.parent


# ---------------------------------------------------------------------- how a study is stopped


@pytest.fixture
def running(start: Call, small: list[str], tmp_path: Path) -> tuple[Any, list[int]]:
    """A study of two slow runs in two workers, both of them at work: its process and the workers' process ids."""
    (tmp_path / "moody.py").write_text(WORLD % SLOW)
    words = ["compare", "ppo", "--env", "moody:Moody-v0", "--steps", "100000", "--seeds", "2", "--jobs", "2"]
    process = start(*words, *small, "--out", "out")

    def owners() -> list[int]:
        pids = []
        for path in (tmp_path / "out").rglob(".owner.json"):
            with suppress(ValueError, OSError):  # it is being replaced
                pids.append(int(json.loads(path.read_text())["pid"]))
        return pids if len(pids) == 2 and len(list((tmp_path / "out").rglob("step-*"))) >= 1 else []

    return process, wait_for(owners)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def statuses(tmp_path: Path) -> list[str]:
    return [run.status for run in find_runs(tmp_path / "out")]


def test_workers_stop_by_themselves_when_the_study_is_killed(running: tuple[Any, list[int]], tmp_path: Path) -> None:
    process, workers = running
    process.kill()
    process.wait(10)
    wait_for(lambda: all(map(gone, workers)), 20)
    assert statuses(tmp_path) == ["stopped", "stopped"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_stops_the_workers_at_a_safe_point(
    running: tuple[Any, list[int]], tmp_path: Path, number: int, code: int
) -> None:
    process, workers = running
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert out == ""
    assert "sandbox resume out" in err
    assert "Traceback" not in err
    assert all(map(gone, workers))
    assert statuses(tmp_path) == ["stopped", "stopped"]


def test_a_second_ctrl_c_ends_the_workers_too(running: tuple[Any, list[int]], tmp_path: Path) -> None:
    process, workers = running
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # it will not reach a safe point
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "safe point" in process.stderr.readline())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    wait_for(lambda: all(map(gone, workers)), 10)
    assert statuses(tmp_path) == ["stopped", "stopped"]


def test_a_worker_that_is_killed_is_a_failed_run(running: tuple[Any, list[int]], tmp_path: Path) -> None:
    process, workers = running
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "killed by SIGKILL" in err


def test_a_worker_that_somebody_stops_leaves_the_study_incomplete(
    running: tuple[Any, list[int]], tmp_path: Path
) -> None:
    process, (first, second) = running
    os.kill(first, signal.SIGTERM)
    wait_for(lambda: gone(first), 20)
    os.kill(second, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "1 of 2 runs failed and 1 of 2 runs stopped" in err


# ---------------------------------------------------------------------- what its runs had to say


def test_a_resume_on_other_versions_is_listed_and_said_once(sandbox: Call, small: list[str], tmp_path: Path) -> None:
    words = ["compare", "ppo", "--seeds", "2", *WORDS, *small]
    assert sandbox(*words).code == 0
    made = find_runs(tmp_path / "out")
    for run in made:
        run.result_file.unlink()
        files.write_json(run.versions_file, files.read_json(run.versions_file) | {"python": "2.7"})
    answer = sandbox(*words)
    assert answer.code == 0, answer.err
    assert answer.err.count("resuming with other versions (python)") == 1 and "and 1 more: resuming" in answer.err
    for run in made:
        versions = files.read_json(run.versions_file)
        assert versions["python"] == "2.7" and [one["python"] for one in versions["resumed"]] != ["2.7"]
        assert "other versions (python)" in run.warnings_file.read_text()


def test_versions_are_those_of_the_checkpoints_and_not_of_a_start_that_came_to_nothing(
    sandbox: Call, small: list[str], tmp_path: Path
) -> None:
    words = ["train", "ppo", "--env", "DeepSea-v0", "--steps", 512, "--out", "out", *small]
    assert sandbox(*words).code == 0
    (run,) = find_runs(tmp_path / "out")
    run.result_file.unlink()
    shutil.rmtree(run.checkpoints)
    files.write_json(run.versions_file, files.read_json(run.versions_file) | {"python": "2.7"})
    answer = sandbox(*words)
    assert answer.code == 0 and "other versions" not in answer.err
    assert files.read_json(run.versions_file)["python"] != "2.7"
