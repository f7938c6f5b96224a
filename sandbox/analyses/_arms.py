"""Runs grouped into arms: the finished seeds of one agent in one environment, which every analysis compares.

Failed and unfinished runs give no numbers but are counted, so that an arm cannot look better by losing its bad seeds
unseen.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sandbox.errors import CorruptFile

RANDOM, ORACLE, PLAIN = "random", "oracle", "ppo"


class Run(Protocol):
    """What an analysis needs of a run on disk (reading a property may read its file)."""

    @property
    def path(self) -> Path: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def status(self) -> str: ...

    @property
    def result(self) -> dict[str, Any] | None: ...


@dataclass(frozen=True)
class Snapshot:
    """A run as it was when it was read, so that a run still at work cannot change between two tables."""

    path: Path
    config: dict[str, Any]
    status: str
    result: dict[str, Any] | None


@dataclass(frozen=True)
class Arm:
    """One agent in one environment; `done` is ordered by seed."""

    env: str
    agent: str
    done: tuple[Snapshot, ...]
    failed: int
    unfinished: int

    @property
    def base(self) -> str:
        """The agent's first part, without options: "bc" of "bc:labels=1000"."""
        return re.split(r"[+:.]", self.agent, maxsplit=1)[0]

    @property
    def learns(self) -> bool:
        """False for the floor and the ceiling."""
        return self.base not in (RANDOM, ORACLE)

    @property
    def results(self) -> list[dict[str, Any]]:
        return [run.result for run in self.done if run.result is not None]

    @property
    def seeds(self) -> list[int]:
        return [run.config["seed"] for run in self.done]

    def setting(self, key: str) -> set[str]:
        """The distinct values of one entry of the configuration, as JSON."""
        return {json.dumps(run.config.get(key), sort_keys=True) for run in self.done}

    def scores(self, metric: str) -> np.ndarray | None:
        """[runs] mean over the evaluation episodes of "success" or "return"; None without runs, or where one has none.

        Raises:
            CorruptFile: if a result holds a number that is not finite.
        """
        if not self.done or any(result[metric] is None for result in self.results):
            return None
        values = [result[metric]["mean"] for result in self.results]
        for run, value in zip(self.done, values, strict=True):
            if not math.isfinite(value):
                raise CorruptFile(
                    f"{run.path / 'result.json'}: {metric} is {value}, so this run cannot be compared. "
                    "Delete the run's folder and run the study again."
                )
        return np.array(values, np.float64)

    def labels(self, kind: str) -> float:
        """Mean number per run of labels of one kind; 0 without runs."""
        return float(np.mean([result["labels"][kind] for result in self.results])) if self.done else 0.0

    @property
    def supervised(self) -> bool:
        """It was told actions or states (judged by its ledger, not by its name)."""
        return self.labels("actions") + self.labels("states") > 0


def snapshot(run: Run) -> Snapshot:
    """Each file read once; the status first, so that a run called "done" has its result."""
    if isinstance(run, Snapshot):
        return run
    status = run.status
    return Snapshot(run.path, run.config, status, run.result if status == "done" else None)


def arms(runs: Sequence[Run]) -> list[Arm]:
    """One arm per (env, agent): environments by name; in each the random floor, the learners by name, the oracle."""
    groups: dict[tuple[str, str], list[Snapshot]] = {}
    for run in map(snapshot, runs):
        groups.setdefault((env_name(run.config), run.config["agent"]), []).append(run)
    found = [_arm(env, agent, members) for (env, agent), members in groups.items()]
    rank = {RANDOM: 0, ORACLE: 2}
    return sorted(found, key=lambda arm: (arm.env, rank.get(arm.base, 1), arm.agent))


def by_env(runs: Sequence[Run]) -> dict[str, list[Arm]]:
    """Environment name -> its arms, in the order of `arms`."""
    envs: dict[str, list[Arm]] = {}
    for arm in arms(runs):
        envs.setdefault(arm.env, []).append(arm)
    return envs


def env_name(config: dict[str, Any]) -> str:
    """The world's id and, in the way of an agent's options, its arguments: "DeepSea-v0:size=20"."""
    world = config["world"]
    return ":".join([world["id"], *(f"{key}={value}" for key, value in sorted(world.get("kwargs", {}).items()))])


def _arm(env: str, agent: str, members: list[Snapshot]) -> Arm:
    done = [run for run in members if run.status == "done" and run.result is not None]
    done.sort(key=lambda run: (run.config["seed"], run.config["steps"], str(run.path)))
    failed = sum(run.status == "failed" for run in members)
    return Arm(env, agent, tuple(done), failed, len(members) - len(done) - failed)
