"""Coverage from the world to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.analyses import coverage
from sandbox.analyses._arms import Snapshot
from sandbox.config import Evaluation, Experiment, World, to_dict
from sandbox.experiment import execute
from sandbox.files import read_rows
from sandbox.plan import plan
from sandbox.runs import Run, create


def finished(folder: Path, agent: str, steps: int = 2048) -> Run:
    world = World(id="DeepSea-v0", kwargs={"size": 4}, copies=4)
    evaluation = Evaluation(episodes=6, points=2)
    experiment = Experiment(agent=agent, world=world, steps=steps, evaluation=evaluation)
    run = create(folder / agent, to_dict(experiment))
    execute(run, plan(experiment))
    return run


def test_a_run_tells_what_it_visited(tmp_path: Path) -> None:
    run = finished(tmp_path, "ppo+counts")
    told = json.loads((run.path / "result.json").read_text())["coverage"]
    visits = told["visits"]
    # 512 episodes of four steps ended and the four copies began another; row r has r + 1 cells within reach.
    assert [sum(row) for row in visits[:4]] == [516, 512, 512, 512]
    assert all(visits[row][column] == 0 for row in range(4) for column in range(row + 1, 4))
    assert 0 < told["evaluation"] <= 1
    assert told["training"]["coverage"] == 1.0
    assert 0 < told["training"]["entropy"] <= 1
    rows = read_rows(run.path / "metrics.jsonl")
    assert any("rollout/visits_entropy" in row for row in rows)
    assert any("rollout/ep_coverage_mean" in row for row in rows)
    assert any("eval/coverage" in row for row in rows)


def test_a_reference_run_tells_of_its_evaluation_only(tmp_path: Path) -> None:
    told = json.loads((finished(tmp_path, "oracle").path / "result.json").read_text())["coverage"]
    assert set(told) == {"evaluation"}


def test_the_report_has_numbers_and_a_map(tmp_path: Path) -> None:
    def run(seed: int, agent: str, told: dict[str, Any] | None) -> Snapshot:
        config = {"agent": agent, "world": {"id": "W-v0"}, "seed": seed, "steps": 10}
        return Snapshot(tmp_path, config, "done", {"coverage": told, "env": "W-v0"})

    told = [{"evaluation": e, "training": {"coverage": 0.5, "entropy": 0.25}, "visits": [[0, 9]]} for e in (0.2, 0.4)]
    runs = [run(0, "ppo", told[0]), run(1, "ppo", told[1]), run(0, "bc", {"evaluation": 0.75}), run(0, "none", None)]
    text = coverage.analyse(runs, tmp_path).read_text()
    lines = {line.split("|")[2].strip(): line for line in text.splitlines() if line.startswith("| W-v0")}
    assert set(lines) == {"ppo", "bc"}
    assert "| 2 | 0.30 [" in lines["ppo"]
    assert "0.50" in lines["ppo"]
    assert lines["bc"].rstrip().endswith("| 1 | 0.75 | - | - |")
    assert (tmp_path / "coverage.png").stat().st_size > 1000
    assert "coverage.png" in text


def test_without_cells_the_section_says_so(tmp_path: Path) -> None:
    config = {"agent": "ppo", "world": {"id": "CartPole-v1"}, "seed": 0, "steps": 10}
    text = coverage.analyse([Snapshot(tmp_path, config, "done", {"env": "CartPole-v1"})], tmp_path).read_text()
    assert "No world" in text
    assert not (tmp_path / "coverage.png").exists()


@pytest.mark.parametrize("agent", ["ppo", "ppo+counts"])
def test_coverage_is_in_every_batched_run(tmp_path: Path, agent: str) -> None:
    result = json.loads((finished(tmp_path, agent, steps=512).path / "result.json").read_text())
    assert result["coverage"]["visits"]
