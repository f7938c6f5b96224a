"""Signals: the first asks for a stop at the next safe point, a second Ctrl-C stops at once, and nothing is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import __main__, cli
from sandbox.errors import Interrupted, Stopped
from sandbox.runs import find_runs
from sandbox.signals import stop_requests

Call = Callable[..., Any]

SLOW = """
import time
import gymnasium as gym, numpy as np
from gymnasium import spaces

class Slow(gym.Env):
    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)
    def __init__(self, seconds=0.002):
        self.seconds = seconds
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return np.zeros(3, np.float32), {}
    def step(self, action):
        time.sleep(self.seconds)
        self.age += 1
        return np.zeros(3, np.float32), 1.0, self.age >= 8, False, {}

gym.register("Slow-v0", entry_point=Slow)
"""


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Stopped), (signal.SIGHUP, Stopped)]
)
def test_a_signal_asks_for_a_stop_and_says_so_once(number: int, kind: type) -> None:
    told: list[str] = []
    with stop_requests(notify=told.append) as should_stop:
        assert should_stop() is None
        send(number)
        assert type(should_stop()) is kind
        if number != signal.SIGINT:
            send(number)
        assert type(should_stop()) is kind
    assert len(told) == 1
    assert "safe point" in told[0]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_stops_at_once(first: int) -> None:
    with stop_requests():
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_second_ctrl_c_in_a_callback_from_c_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    callback = ctypes.CFUNCTYPE(None)(lambda: send(signal.SIGINT))
    with stop_requests():
        send(signal.SIGINT)
        callback()  # returns: what was raised in it goes to sys.unraisablehook
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)
    assert capfd.readouterr().err == ""


@pytest.fixture
def listening() -> Iterator[None]:
    """Ctrl-C as at a terminal: what a shell starts in the background is told to ignore it, these tests included."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_a_ctrl_c_in_a_callback_from_c_ends_the_command_before_a_run_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    callback = ctypes.CFUNCTYPE(None)(lambda: send(signal.SIGINT))

    def app(_words: list[str]) -> None:
        callback()
        time.sleep(3)

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["sandbox"])
    before = sys.unraisablehook
    with pytest.raises(SystemExit) as stop:
        __main__.main()
    assert stop.value.code == 130
    assert capfd.readouterr().err == "stopped by Ctrl-C; what was saved stays\n"
    assert sys.unraisablehook is before


def test_a_worker_leaves_ctrl_c_to_the_study() -> None:
    with stop_requests(ignore_ctrl_c=True) as should_stop:
        send(signal.SIGINT)
        assert should_stop() is None
        send(signal.SIGTERM)
        assert isinstance(should_stop(), Stopped)


def test_the_handlers_before_are_back_afterwards() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(ValueError, match="mine"), stop_requests():
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_message_that_cannot_be_written_just_now_is_no_error() -> None:
    def busy(_text: str) -> None:
        raise RuntimeError("reentrant call")

    with stop_requests(notify=busy) as should_stop:
        send(signal.SIGTERM)
        assert isinstance(should_stop(), Stopped)


# ---------------------------------------------------------------------- the whole program


@pytest.fixture
def running(start: Call, small: list[str], tmp_path: Path) -> Callable[[float], Any]:
    """A run at work, after its first checkpoint (or, where a step is very slow, after its start)."""
    (tmp_path / "slow.py").write_text(SLOW)

    def begin(seconds: float) -> Any:
        words = ["train", "ppo", "--env", "slow:Slow-v0", "--steps", "100000", *small, "--out", "out"]
        process = start(*words, "--set", f"world.kwargs.seconds={seconds}")
        sign = "step-*" if seconds < 0.01 else ".owner.json"
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out").rglob(sign)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return process

    return begin


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)])
def test_one_signal_stops_at_a_safe_point(running: Any, tmp_path: Path, number: int, code: int) -> None:
    process = running(0.002)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert out == ""
    assert "sandbox resume out" in err
    assert "Traceback" not in err
    (run,) = find_runs(tmp_path / "out")
    assert run.status == "stopped"  # not failed: it can be resumed
    assert list(run.checkpoints.glob("step-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_stops_a_study_and_its_runs(
    start: Call, small: list[str], tmp_path: Path, number: int
) -> None:
    """As a batch system, `timeout` or a terminal that closes sends it: to the study, its workers and their server."""
    words = ["compare", "ppo", "--env", "MiniGrid-Empty-5x5-v0", "--seeds", "1", "--steps", "100000000"]
    process = start(*words, *small, "--jobs", "1", "--out", "out", start_new_session=True)
    while not list((tmp_path / "out").rglob("step-*")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "stopped; the same command goes on" in err
    assert "in use" not in err
    (run,) = find_runs(tmp_path / "out")
    assert run.status == "stopped"


def test_ctrl_c_twice_stops_at_once(running: Any, tmp_path: Path) -> None:
    process = running(0.2)  # a rollout, and with it the next safe point, takes 13 seconds
    while not list((tmp_path / "out").rglob("events*")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    while "safe point" not in process.stderr.readline():
        assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 10  # less than to the safe point
    assert "Traceback" not in err
    assert "stopped" in err
    (run,) = find_runs(tmp_path / "out")
    assert run.status == "stopped"
