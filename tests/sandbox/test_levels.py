"""Which levels are played: learning sees the training levels only, and whatever is judged sees the others."""

from __future__ import annotations

from typing import Any

import pytest

from envs import vector
from sandbox import probe
from sandbox._probe_set import ProbeSet
from sandbox._walk import walk
from sandbox.config import Experiment, World
from sandbox.evaluate import Evaluator
from sandbox.plan import plan

WORLD = World(id="MiniGrid-MultiRoom-N2-S4-v0", levels=12, eval_levels=4)
EXPERIMENT = Experiment(agent="ppo", world=WORLD, steps=10_000)


def levels(env: Any) -> set[bytes]:
    """The grids that its episodes draw from."""
    return {grid.tobytes() for grid in env.levels.grids}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every environment that is made from now on."""
    found: list[Any] = []
    make = vector.make

    def noted(*args: Any, **kwargs: Any) -> Any:
        found.append(make(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(vector, "make", noted)
    return found


def test_learning_and_evaluation_share_no_level() -> None:
    learned, judged = plan(EXPERIMENT).world(2), Evaluator(EXPERIMENT, 4, batched=True)
    assert (learned.split, judged.env.split) == ("train", "eval")  # type: ignore[attr-defined]
    assert (len(levels(learned)), len(levels(judged.env))) == (12, 4)
    assert not levels(learned) & levels(judged.env)
    assert judged.levels == "held-out (4)"


def test_the_frames_of_a_probe_are_of_evaluation_levels(made: list[Any]) -> None:
    walk(WORLD, frames=80)
    (env,) = made
    assert env.split == "eval"
    assert levels(env) == levels(Evaluator(EXPERIMENT, 4, batched=True).env)


def test_the_supervised_control_of_a_probe_learns_on_training_levels(
    made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SUPERVISED_LABELS", 60)
    monkeypatch.setattr(probe, "SUPERVISED_EPOCHS", 1)
    walked, spaces = walk(WORLD, frames=80)
    nothing: Any = None
    probe._supervised(plan(EXPERIMENT), ProbeSet(walked, nothing, [], {}, spaces))
    env = made[-1]
    assert env.split == "train"
    assert levels(env) == levels(plan(EXPERIMENT).world(2))
