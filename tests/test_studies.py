"""The studies' clock counts training only, and a task is solved by two evaluations in a row."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.experiment import Session
from studies import _timed, how_far


def burn(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_the_clock_stands_still_while_the_policy_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: Session, predictor: Any, steps: int) -> Any:
        burn(0.2)
        return SimpleNamespace(success_rate=1.0, levels="held-out")

    monkeypatch.setattr(Session, "evaluate", slow)
    session = object.__new__(_timed.Timed)
    session.curve, session._before, session._since = [], 0.0, 0.0
    for steps in (0, 100, 200):
        session.evaluate(None, steps)
        burn(0.05)
    assert [steps for steps, _, _ in session.curve] == [0, 100, 200]
    assert [seconds for _, seconds, _ in session.curve] == pytest.approx([0.0, 0.05, 0.1], abs=0.02)
    assert session.seconds == pytest.approx(0.15, abs=0.02)


def test_a_timed_run_goes_through_the_default_experiment_and_stops_when_asked() -> None:
    experiment = _timed.experiment("Empty-5x5", 4 * 64 * 128, 1, episodes=4, points=4)
    assert experiment.learner == type(experiment.learner)() and experiment.agent == "ppo+contacts"
    session = _timed.train(experiment, lambda session: len(session.curve) == 3)
    assert [steps for steps, _, _ in session.curve] == [0, 8192, 16384]
    seconds = [seconds for _, seconds, _ in session.curve]
    assert seconds[0] == 0.0 and seconds == sorted(seconds) and seconds[-1] <= session.seconds


@pytest.mark.parametrize(
    ("successes", "solved"), [([0.96], False), ([0.96, 0.94], False), ([0.5, 0.95, 0.96], True), ([0.96, 0.9], False)]
)
def test_solved_means_twice_in_a_row(successes: list[float], solved: bool) -> None:
    curve = [(i, float(i), success) for i, success in enumerate(successes)]
    assert how_far.solved(SimpleNamespace(curve=curve)) is solved  # type: ignore[arg-type]
