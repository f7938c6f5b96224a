"""Runs grouped into arms: the finished seeds of one agent in one environment, which every analysis compares.

Failed and unfinished runs give no numbers but are counted, so that an arm cannot look better by losing its bad seeds
unseen. Copies of a run (one configuration, one seed) are one run. Runs of several settings are no replicates of each
other: such an arm has numbers but no interval.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sandbox import statistics
from sandbox.errors import CorruptFile
from sandbox.values import natural, quoted

RANDOM, ORACLE, PLAIN = "random", "oracle", "ppo"
NUMBER = (int, float)
ORDER = {"done": 0, "failed": 1}  # which of several copies counts: the one that has a result, else the one that failed


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

    def entry(self, kind: type | tuple[type, ...], *keys: str) -> Any:
        """An entry of the result: `entry(NUMBER, "cost", "cpu_seconds")`.

        Raises:
            CorruptFile: the result lacks it, or it is of another kind (a number must be finite).
        """
        found: Any = self.result
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise self._unusable(f"{'.'.join(keys)} is missing")
            found = found[key]
        if not isinstance(found, kind) or (isinstance(found, float) and not math.isfinite(found)):
            raise self._unusable(f"{'.'.join(keys)} is {str(found)[:80]}")
        return found

    def _unusable(self, why: str) -> CorruptFile:
        return CorruptFile(
            f"{self.path / 'result.json'}: {why}, so this run cannot be compared. "
            f"Delete that file: then `sandbox resume {quoted(self.path)}` makes it anew."
        )


@dataclass(frozen=True)
class Arm:
    """One agent in one environment; `done` is ordered by seed, `copies` are runs left out as they occur twice."""

    env: str
    agent: str
    done: tuple[Snapshot, ...]
    failed: int
    unfinished: int
    copies: int = 0

    @property
    def base(self) -> str:
        """The agent's first part, without options: "bc" of "bc:labels=1000"."""
        return re.split(r"[+:.]", self.agent, maxsplit=1)[0]

    @property
    def learns(self) -> bool:
        """False for the floor and the ceiling."""
        return self.base not in (RANDOM, ORACLE)

    @property
    def seeds(self) -> list[int]:
        return [run.config["seed"] for run in self.done]

    @cached_property
    def settings(self) -> dict[str, set[str]]:
        """The distinct values of each entry of the configuration, as JSON; plugins and expert by their content."""
        configs = [_content(run.config) for run in self.done]
        keys = dict.fromkeys(key for config in configs for key in config)
        return {key: {json.dumps(config.get(key), sort_keys=True) for config in configs} for key in keys}

    @property
    def mixed(self) -> list[str]:
        """The settings in which its runs differ: with any, they are no replicates of each other."""
        return [key for key, values in self.settings.items() if key != "seed" and len(values) > 1]

    @property
    def twice(self) -> bool:
        """A seed occurs twice (in runs of several settings: copies are left out)."""
        return len(set(self.seeds)) < len(self.seeds)

    @property
    def notes(self) -> list[str]:
        """What must be read with its numbers."""
        twice = "a seed twice, " if self.twice else ""
        mixed = [f"no interval, {twice}not the same {', '.join(self.mixed)}"] if self.mixed else []
        copies = f"{self.copies} {'copies of runs' if self.copies > 1 else 'copy of a run'} left out"
        return [*mixed, copies] if self.copies else mixed

    def interval(self, values: np.ndarray) -> statistics.Estimate:
        """IQM of one number per run with its interval, without it where the runs are of several settings."""
        found = statistics.interval(values)
        return replace(found, low=None, high=None) if self.mixed else found

    def entries(self, kind: type | tuple[type, ...], *keys: str) -> list[Any]:
        """An entry of every result (see `Snapshot.entry`)."""
        return [run.entry(kind, *keys) for run in self.done]

    def scores(self, metric: str) -> np.ndarray | None:
        """[runs] mean over the evaluation episodes of "success" or "return"; None without runs, or where one has none.

        Raises:
            CorruptFile: a result lacks it, or holds a number that is not finite.
        """
        if not self.done or None in self.entries((dict, type(None)), metric):
            return None
        return np.array(self.entries(NUMBER, metric, "mean"), np.float64)

    def labels(self, kind: str) -> float:
        """Mean number per run of labels of one kind; 0 without runs."""
        return float(np.mean(self.entries(NUMBER, "labels", kind))) if self.done else 0.0

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
    """One arm per (env, agent): environments by name; in each the random floor, the learners by name, the oracle.

    Numbers in a name count as numbers: "bc:labels=8" comes before "bc:labels=16".
    """
    groups: dict[tuple[str, str], list[Snapshot]] = {}
    for run in map(snapshot, runs):
        groups.setdefault((env_name(run.config), run.config["agent"]), []).append(run)
    found = [_arm(env, agent, members) for (env, agent), members in groups.items()]
    rank = {RANDOM: 0, ORACLE: 2}
    return sorted(found, key=lambda arm: (natural(arm.env), rank.get(arm.base, 1), natural(arm.agent)))


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
    kept = _once(members)
    done = [run for run in kept if run.status == "done" and run.result is not None]
    done.sort(key=lambda run: (run.config["seed"], _identity(run), str(run.path)))
    failed = sum(run.status == "failed" for run in kept)
    return Arm(env, agent, tuple(done), failed, len(kept) - len(done) - failed, len(members) - len(kept))


def _once(members: Sequence[Snapshot]) -> list[Snapshot]:
    """Each configuration once: a copy of a run is no further replicate."""
    found: dict[str, Snapshot] = {}
    for run in sorted(members, key=lambda run: (ORDER.get(run.status, 2), str(run.path))):
        found.setdefault(_identity(run), run)
    return list(found.values())


def _identity(run: Snapshot) -> str:
    return json.dumps(_content(run.config), sort_keys=True)


def _content(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with plugins and expert by what they hold (SHA-256), not by where they lie."""
    plugins, expert = config.get("plugins") or [], config.get("expert")
    names = {Path(plugin["path"]).stem: plugin["sha256"] for plugin in plugins}
    return config | {"plugins": names, "expert": expert and expert["sha256"]}
