"""The timed studies count training only, and DeepSea is scored as bsuite scores it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.config import load_study
from sandbox.experiment import Session
from studies import _timed, deep_sea, how_far, pages, tuning
from studies._tuning_page import tuning as tuning_page


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


# ---------------------------------------------------------------------- DeepSea


def test_a_size_counts_if_it_was_solved_in_time_and_sooner_than_by_chance() -> None:
    assert not deep_sea.beats_chance(10, 0)  # never
    assert deep_sea.beats_chance(10, 1123) and not deep_sea.beats_chance(10, 1124)  # 2^10 + 100
    assert deep_sea.beats_chance(20, 10_000) and not deep_sea.beats_chance(20, 10_001)


def test_the_score_of_a_seed_is_its_share_of_the_sizes() -> None:
    solved = {(10, 100): 500, (20, 100): 900, (10, 101): 2000, (20, 101): 0, (10, 102): 700, (20, 102): 0}
    runs = [{"size": size, "seed": seed, "solved": after} for (size, seed), after in solved.items()]
    row = deep_sea.row("stochastic", "ppo+rnd", runs)
    assert row["scores"] == [1.0, 0.0, 0.5] and row["score"]["n"] == 3
    assert row["sizes"] == {10: {"n": 2, "episode": 600}, 20: {"n": 1, "episode": 900}}
    page = pages.deep_sea(json.loads(json.dumps({"rows": [row]})))
    assert "| stochastic | `ppo+rnd` | 3 | 0.50 [0.00, 1.00] |" in page
    assert "| 10 | 2 of 3, 600 |" in page and "| 20 | 1 of 3, 900 |" in page


def test_a_run_ends_where_its_size_is_solved() -> None:
    found = deep_sea.train("deterministic", 6, "counts", 100)
    assert 0 < found["solved"] <= found["episodes"] <= found["solved"] + deep_sea.COPIES


# ---------------------------------------------------------------------- equal trials


def test_every_kind_of_arm_has_equally_many_trials_on_seeds_of_their_own() -> None:
    study = load_study(Path(tuning.__file__).parent / "tuning.toml", ())
    tried = [tuning.arm_of(agent) for agent in study.agents]
    counts = {arm: [value for name, value in tried if name == arm] for arm, _ in tried}
    assert {len(values) for values in counts.values()} == {3}
    assert all(values.count(None) == 1 for values in counts.values())  # the default is one of them
    assert min(study.seeds) >= 1000  # type: ignore[type-var, arg-type]
    assert tuning.arm_of("ppo+state:lr=0.003") == ("ppo+state", "lr=0.003")  # as a run names it: without its defaults
    assert tuning.arm_of("ppo+noveld+inverse:mode=finetune,pretrain_steps=30000") == (
        "ppo+noveld+inverse:mode=finetune", "pretrain_steps=30000",
    )  # fmt: skip


def test_the_tuning_page_says_what_a_default_gives_away() -> None:
    def row(tried: str | None, mean: float) -> dict[str, Any]:
        return {"env": "w", "arm": "bc", "tried": tried, "success": {"mean": mean}, "cpu_seconds": 1.0, "runs": 3}

    better = tuning_page({"rows": [row(None, 0.5), row("lr=0.01", 0.75)]})
    assert "| w | bc | default | 0.50 | 1.0 |" in better and "bc on w: lr=0.01 was above the default by 0.25." in better
    assert "bc on w: no trial was above the default." in tuning_page({"rows": [row(None, 0.5), row("lr=0.01", 0.5)]})
