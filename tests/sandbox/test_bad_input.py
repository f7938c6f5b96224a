"""Bad input and bad luck: each ends in one clear message and its own exit code, and nothing that was saved is lost."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import runs
from sandbox.runs import Run, find_runs

Call = Callable[..., Any]

FAULTY = """
import gymnasium as gym, numpy as np
from gymnasium import spaces

class Faulty(gym.Env):
    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)
    def __init__(self, fault="none", after=0):
        if fault == "make":
            raise RuntimeError("no licence")
        self.fault, self.after, self.steps = fault, after, 0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        if self.fault == "bare_reset":
            return self.observe()
        return self.observe(), {}
    def observe(self):
        fault = self.fault if self.steps > self.after else "none"
        obs = np.zeros(4 if fault == "shape" else 3, np.float64 if fault == "dtype" else np.float32)
        obs[0] = np.nan if fault == "nans" else 0
        return obs
    def step(self, action):
        print("chatter of an environment")
        self.steps += 1
        self.age += 1
        fault = self.fault if self.steps > self.after else "none"
        if fault == "raise":
            raise ZeroDivisionError("reactor")
        if fault == "exit":
            raise SystemExit(0)
        if fault == "four":
            return self.observe(), 0.0, False, {}
        return self.observe(), np.inf if fault == "reward" else 1.0, self.age >= 8, False, {}

if "Faulty-v0" not in gym.registry:
    gym.register("Faulty-v0", entry_point=Faulty)
"""


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    (tmp_path / "faulty.py").write_text(FAULTY)
    return "faulty:Faulty-v0"


def one_run(folder: Path) -> Run:
    (run,) = find_runs(folder)
    return run


def refused(answer: Any, code: int, *words: str) -> None:
    """The exit code, every word in the message, no traceback, no data."""
    assert answer.code == code, answer.err
    for word in words:
        assert word.lower() in answer.err.lower()
    assert "Traceback" not in answer.err
    assert answer.out == ""


# ---------------------------------------------------------------------- refused before anything is made


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ppo+novelt", "--env", "DeepSea-v0"], ["novelt", "Did you mean", "noveld"]),
        (["ppu", "--env", "DeepSea-v0"], ["Did you mean", "ppo"]),
        (["counts", "--env", "DeepSea-v0"], ["exactly one base"]),
        (["ppo", "--env", "DeepSee-v0"], ["DeepSee-v0", "Did you mean", "DeepSea-v0"]),
        (["ppo", "--env", "nowhere:Thing-v0"], ["nowhere", "module"]),
        (["ppo", "--env", "Deep Sea"], ["world.id"]),
        (["ppo"], ["--env"]),
        (["ppo+noveld:lrr=1", "--env", "DeepSea-v0"], ["lrr", "Did you mean", "lr"]),
        (["ppo+noveld:lr=fast", "--env", "DeepSea-v0"], ["noveld:lr", "fast"]),
        (["bc:labels=1", "--env", "DeepSea-v0"], ["bc:labels", "2"]),
        (["bc:labels=100000", "--env", "DeepSea-v0", "--steps", "1000"], ["100,000", "budget", "1,000"]),
        (["bc", "--env", "CartPole-v1"], ["oracle", "CartPole-v1", "DeepSea-v0"]),
        (["oracle", "--env", "CartPole-v1"], ["oracle", "DeepSea-v0"]),
        (["bc", "--env", "MiniGrid-Playground-v0"], ["oracle", "Playground"]),
        (["ppo+state", "--env", "CartPole-v1"], ["labels"]),
        (["ppo", "--env", "DeepSea-v0", "--steps", "10"], ["too few", "128"]),
    ],
)
def test_a_name_that_cannot_be_run_is_refused(
    sandbox: Call, tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    refused(sandbox("train", *words, "--out", "out"), 2, *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("learner.gama=0.9", ["learner.gama", "Did you mean", "gamma"]),
        ("leaner.gamma=0.9", ["leaner", "Did you mean", "learner"]),
        ("learner.gamma=high", ["learner.gamma", "high"]),
        ("learner.gamma=nan", ["learner.gamma", "nan"]),
        ("learner.learning_rate=inf", ["learner.learning_rate", "finite"]),
        ("learner.learning_rate=0", ["learner.learning_rate", "greater than 0"]),
        ("learner.n_steps=-1", ["learner.n_steps", "-1"]),
        ("world.copies=0", ["world.copies", "greater than or equal to 1"]),
        ("world.copies=1000000000", ["world.copies", "65536"]),
        ("world.copies=4.5", ["world.copies", "4.5"]),
        ("steps=0", ["steps"]),
        ("steps=99999999999999999999999", ["steps"]),
        ("seed=-1", ["seed"]),
        ("device=gpu", ["device"]),
        ("world.kwargs.size=1", ["size", "2..500"]),
        ("world.kwargs.sise=5", ["sise"]),
        ("nonsense", ["key=value"]),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(
    sandbox: Call, tmp_path: Path, setting: str, expected: list[str]
) -> None:
    refused(sandbox("train", "ppo", "--env", "DeepSea-v0", "--set", setting, "--out", "out"), 2, *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("ppo+counts:episodic=none,lifelong=false", "choose one of them"),
        ("ppo+atc:k=300", "lower k or raise n_steps"),
        ("ppo+icm:features=random,stop_gradient=false", "leave stop_gradient=true"),
    ],
)
def test_settings_of_a_part_that_do_not_fit_are_refused(sandbox: Call, agent: str, said: str) -> None:
    refused(sandbox("train", agent, "--env", "DeepSea-v0", "--steps", "256", "--set", "world.copies=2"), 2, said)


@pytest.mark.parametrize("option", [["--steps", "0"], ["--steps", "nan"], ["--seed", "-1"], ["--steps", "9" * 30]])
def test_an_option_out_of_its_bounds_is_refused(sandbox: Call, option: list[str]) -> None:
    refused(sandbox("train", "ppo", "--env", "DeepSea-v0", *option), 2, option[0].lstrip("-"))


@pytest.mark.parametrize(
    "settings",
    [
        ["world.copies=65536", "learner.n_steps=1000000", "steps=100000000000"],
        ["learner.net_arch=[65536,65536,65536,65536,65536]"],
        ["evaluation.episodes=1000000", "world.kwargs.size=500"],
    ],
)
def test_what_cannot_fit_in_memory_is_refused_before_it_is_allocated(
    sandbox: Call, tmp_path: Path, settings: list[str]
) -> None:
    sets = [word for setting in settings for word in ("--set", setting)]
    refused(sandbox("train", "ppo", "--env", "DeepSea-v0", *sets, "--out", "out"), 7, "GiB", "available")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'agents = ["ppo"]\nenvs = ["DeepSea-v0"]\nsteps = 1000\nsteppes = 1\n', ["steppes", "Did you mean", "steps"]),
        (b'agents = ["ppo"]\nenvs = ["DeepSea-v0"]\nsteps = 1000\n[learner]\ngama = 1\n', ["learner.gama", "gamma"]),
        (b'name = "caf\xe9"\n', ["UTF-8", "0xe9"]),
        (b"agents = [\n", ["TOML"]),
        (b"", ["agents", "missing"]),
        (b'agents = []\nenvs = ["DeepSea-v0"]\nsteps = 1000\n', ["agents"]),
    ],
)
def test_a_study_file_with_a_mistake_is_refused_with_its_place(
    sandbox: Call, tmp_path: Path, content: bytes, expected: list[str]
) -> None:
    (tmp_path / "study.toml").write_bytes(content)
    refused(sandbox("batch", "study.toml", "--out", "out"), 2, "study.toml", *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["batch", "missing.toml"], 2),
        (["train", "--config", "missing.json"], 2),
        (["resume", "missing"], 2),
        (["evaluate", "missing"], 2),
        (["report", "missing"], 2),
        (["list", "runs", "missing"], 2),
        (["tensorboard", "missing"], 2),
        (["train", "ppo", "--env", "DeepSea-v0", "--plugin", "missing.py"], 2),
        (["train", "ppo", "--env", "DeepSea-v0", "--out", "/proc/nowhere"], 7),
        (["compare", "ppo", "--env", "DeepSea-v0", "--out", "/proc/nowhere"], 7),
    ],
)
def test_a_place_that_is_not_there_is_named(sandbox: Call, words: list[str], code: int) -> None:
    place = next(word for word in words if "missing" in word or "nowhere" in word)
    refused(sandbox(*words), code, place)


def test_a_file_where_the_run_should_go_is_named(sandbox: Call, tmp_path: Path, small: list[str]) -> None:
    (tmp_path / "out").write_text("mine")
    refused(sandbox("train", "ppo", "--env", "DeepSea-v0", *small, "--out", "out"), 7, "out", "choose another folder")
    assert (tmp_path / "out").read_text() == "mine"


# ---------------------------------------------------------------------- environments that break their contract


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("make", ["could not be made", "no licence"]),
        ("raise", ["ZeroDivisionError", "reactor"]),
        ("nans", ["NaN", "step 1"]),
        ("shape", ["shape (4,)", "(3,)"]),
        ("dtype", ["float64", "float32"]),
        ("reward", ["reward", "inf"]),
        ("four", ["five values"]),
        ("bare_reset", ["reset must return"]),
    ],
)
def test_an_environment_that_breaks_its_contract_is_refused(
    sandbox: Call, faulty: str, tmp_path: Path, small: list[str], fault: str, expected: list[str]
) -> None:
    answer = sandbox("train", "ppo", "--env", faulty, *small, "--set", f"world.kwargs.fault={fault}", "--out", "out")
    refused(answer, 3, faulty, *expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("raise", "reactor"), ("nans", "NaN"), ("shape", "wrong shape"), ("reward", "inf"), ("exit", "sys.exit(0)")],
)
def test_an_environment_that_fails_later_leaves_its_last_checkpoint(
    sandbox: Call, faulty: str, tmp_path: Path, small: list[str], fault: str, expected: str
) -> None:
    sets = [*small, "--set", f"world.kwargs.fault={fault}", "--set", "world.kwargs.after=50"]
    answer = sandbox("train", "ppo", "--env", faulty, "--steps", 1024, *sets, "--out", "out")
    refused(answer, 3, expected, "kept: the checkpoint of step 128; to go on: sandbox resume")
    run = one_run(tmp_path / "out")
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["exit_code"] == 3
    assert "Traceback" in run.error_log.read_text()
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000000000128"]
    assert "failed" in sandbox("list", "runs", "out").out
    assert sandbox("evaluate", run.path, "--episodes", 1).code == 0  # the checkpoint is of use


def test_an_environment_that_prints_does_not_spoil_the_data(sandbox: Call, faulty: str, small: list[str]) -> None:
    answer = sandbox("train", "random", "--env", faulty, "--steps", 1024, *small, "--format", "json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["rows"][0]["return"]["mean"] == 8.0
    assert "chatter" in answer.err


# ---------------------------------------------------------------------- numbers that explode


def test_a_rate_that_diverges_ends_in_4_and_keeps_the_last_good_checkpoint(
    sandbox: Call, tmp_path: Path, small: list[str]
) -> None:
    from sandbox import checkpoint

    # One step of Adam in each update moves the logarithm of the policy's spread by the rate: e^(30 k) overflows soon.
    rate = ["learner.learning_rate=30", "learner.batch_size=64", "learner.n_epochs=1", "checkpoint_rollouts=1"]
    sets = [*small, *(word for setting in rate for word in ("--set", setting))]
    answer = sandbox("train", "ppo", "--env", "Pendulum-v1", "--steps", 6400, *sets, "--out", "out")
    refused(answer, 4, "diverged", "learning_rate", "checkpoint is kept")
    run = one_run(tmp_path / "out")
    assert run.error is not None
    assert run.error["exit_code"] == 4
    found = checkpoint.latest(run.checkpoints)
    assert found is not None
    assert all(weight.isfinite().all() for weight in found[1]["policy"].values())


# ---------------------------------------------------------------------- a run that is there already


@pytest.fixture
def trained(sandbox: Call, tmp_path: Path, small: list[str]) -> Run:
    assert sandbox("train", "ppo", "--env", "DeepSea-v0", "--steps", 512, *small, "--out", "out").code == 0
    return one_run(tmp_path / "out")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_passed_over_and_the_result_is_the_same(sandbox: Call, trained: Run) -> None:
    before = trained.result
    metrics = trained.metrics_file.read_bytes()
    trained.result_file.unlink()
    flip(max(trained.checkpoints.iterdir()) / "tensors.safetensors")
    answer = sandbox("resume", trained.path)
    assert answer.code == 0, answer.err
    assert "step 512 is damaged" in answer.err
    assert "SHA-256" in answer.err
    assert trained.metrics_file.read_bytes() == metrics
    assert before is not None
    assert trained.result is not None
    assert trained.result["return"] == before["return"]


def test_a_run_without_a_sound_checkpoint_is_refused(sandbox: Call, trained: Run) -> None:
    trained.result_file.unlink()
    for path in trained.checkpoints.iterdir():
        flip(path / "state.json")
    kept = {path: path.read_bytes() for path in trained.checkpoints.rglob("*") if path.is_file()}
    refused(sandbox("resume", trained.path), 5, "step 512", "step 384", "start anew")
    assert {path: path.read_bytes() for path in trained.checkpoints.rglob("*") if path.is_file()} == kept


def test_a_damaged_configuration_is_named(sandbox: Call, trained: Run) -> None:
    trained.config_file.write_text("{")
    refused(sandbox("evaluate", trained.path), 5, "config.json")


def test_one_damaged_configuration_does_not_take_the_others_report(sandbox: Call, trained: Run, tmp_path: Path) -> None:
    broken = trained.path.parent / "seed-77"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    answer = sandbox("report", trained.path.parent)
    assert answer.code == 0
    assert "seed-77" in answer.err


def test_a_result_cut_short_is_made_again(sandbox: Call, trained: Run) -> None:
    before = trained.result
    trained.result_file.write_text('{"status": "do')
    assert sandbox("resume", trained.path).code == 0
    assert before is not None
    assert trained.result is not None
    assert trained.result["return"] == before["return"]


def test_a_run_in_use_is_refused_and_not_marked_as_failed(sandbox: Call, trained: Run) -> None:
    trained.result_file.unlink()
    with runs.lock(trained):
        refused(sandbox("resume", trained.path), 7, "in use by process")
        assert trained.status == "running"
    assert trained.status == "stopped"


def test_a_run_that_is_done_is_not_done_again(sandbox: Call, trained: Run, small: list[str]) -> None:
    stamp = trained.result_file.stat().st_mtime_ns
    answer = sandbox("train", "ppo", "--env", "DeepSea-v0", "--steps", 512, *small, "--out", "out", "--format", "json")
    assert answer.code == 0
    assert "already done" in answer.err
    assert json.loads(answer.out)["rows"][0]["runs"] == 1
    assert trained.result_file.stat().st_mtime_ns == stamp


def test_a_full_disk_ends_in_7_and_the_same_command_goes_on_after_room_was_made(
    sandbox: Call, trained: Run, small: list[str]
) -> None:
    words = ["train", "ppo", "--env", "DeepSea-v0", "--steps", 512, *small, "--out", "again"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # a checkpoint has more, a row of metrics less
    try:
        refused(sandbox(*words), 7, "checkpoint of step 128", "Free disk space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run = one_run(Path("again"))
    assert not list(run.checkpoints.iterdir())  # nothing half-written stays
    assert run.status == "failed"
    assert sandbox(*words).code == 0
    assert run.metrics_file.read_bytes() == trained.metrics_file.read_bytes()


PLUGIN = '''"""One for every step."""
import torch
from agents.curiosity import IntrinsicReward

class Always(IntrinsicReward):
    def __init__(self, context, *, size: float = 1.0):
        super().__init__(context)
        self.size = size
    def reward(self, rollout):
        return torch.full(rollout.shape, self.size)
    def update(self, rollout):
        return {}
'''


def test_a_plugin_that_changed_is_refused_at_resume(sandbox: Call, tmp_path: Path, small: list[str]) -> None:
    plugin = tmp_path / "always.py"
    plugin.write_text(PLUGIN)
    words = ["train", "ppo+always:size=2.0", "--plugin", plugin, "--env", "DeepSea-v0", "--steps", 256, *small]
    assert sandbox(*words, "--out", "out").code == 0
    run = one_run(tmp_path / "out")
    run.result_file.unlink()
    plugin.write_text(PLUGIN + "\n")
    refused(sandbox("resume", run.path), 5, "always.py", "changed since the run was made")
    plugin.write_text(PLUGIN)
    assert sandbox("resume", run.path).code == 0


def test_a_plugin_that_diverges_is_named(sandbox: Call, tmp_path: Path, small: list[str]) -> None:
    plugin = tmp_path / "never.py"
    plugin.write_text(PLUGIN.replace("self.size)", "float('nan'))"))
    words = ["train", "ppo+never", "--plugin", plugin, "--env", "DeepSea-v0", "--steps", 256, *small, "--out", "out"]
    refused(sandbox(*words), 4, "Always", "non-finite")


def test_another_configuration_in_a_run_s_folder_is_refused(sandbox: Call, trained: Run, tmp_path: Path) -> None:
    config = json.loads(trained.config_file.read_text())
    config["learner"]["gamma"] = 0.5
    trained.config_file.write_text(json.dumps(config))
    words = ["train", "--config", tmp_path / "same.json", "--out", "out"]
    config["learner"]["gamma"] = 0.99
    (tmp_path / "same.json").write_text(json.dumps(config))
    refused(sandbox(*words), 2, "learner.gamma: 0.5 -> 0.99")


def test_a_saved_configuration_runs_again_to_the_same_metrics(sandbox: Call, trained: Run) -> None:
    assert sandbox("train", "--config", trained.config_file, "--out", "again").code == 0
    assert one_run(Path("again")).metrics_file.read_bytes() == trained.metrics_file.read_bytes()
    shutil.rmtree("again")
