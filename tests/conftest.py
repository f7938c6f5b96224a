"""What several test files share: the command line called in this process or in another, and small experiments."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SMALL = [
    "world.copies=4",
    "learner.n_steps=16",
    "checkpoint_rollouts=2",
    "evaluation.points=2",
    "evaluation.episodes=4",
]
COLOUR = ("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "COLUMNS")


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Options of an experiment that takes about a second."""
    return [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test loads is gone after it: the tests of the studies count the parts there are."""
    from sandbox import registry

    monkeypatch.setattr(registry, "_plugins", {})


@pytest.fixture
def sandbox(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Answer]]:
    """`sandbox("train", ...)`: the whole command line in this process, from `tmp_path` as the current folder."""
    from sandbox import __main__, registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in COLOUR:
        monkeypatch.delenv(name, raising=False)
    modules = set(sys.modules)

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["sandbox", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            __main__.main()
        registry._plugins.clear()  # as a new process would begin
        out, err = capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return Answer(stop.value.code, out, err)

    yield call
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start("train", ..., env={...})`: the command line in a process of its own (killed when the test ends)."""
    started: list[subprocess.Popen[str]] = []
    # as a shell starts it: with its streams buffered
    clean = {name: value for name, value in os.environ.items() if name not in {*COLOUR, "PYTHONUNBUFFERED"}}

    def begin(*words: object, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", *map(str, words)],
            cwd=tmp_path,
            env=clean | {"OMP_NUM_THREADS": "1"} | (env or {}),
            text=True,
            **pipes,  # type: ignore[call-overload]
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
