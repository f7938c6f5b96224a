"""Contenders take turns (A B A B ...), so that a change of the machine's speed meets all of them.

Ratios are made within a round, of CPU seconds; their median is stated with the smallest and the largest.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.table import Contender, Group

ROOT = Path(__file__).resolve().parents[1]
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
Times = list[dict[str, float]]


class Process:
    """A contender that waits, warm, for its turn. Leaving its context ends it."""

    def __init__(self, contender: Contender) -> None:
        python = PEERS_PYTHON if contender.peer else Path(sys.executable)
        command = [str(python), "-m", "benchmarks.contender", contender.name]
        self.contender = contender
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ready = self.answer()  # when it is warm

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # closes its input, which ends it

    def turn(self) -> dict[str, float]:
        """Seconds of one measurement."""
        self.begin()
        return self.answer()

    def begin(self) -> None:
        """Let it run one measurement."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.contender.steps}\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it says when it is ready, or at the end of the measurement that has begun."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"contender {self.contender.name!r} ended with exit code {self.process.wait()}, see above"
            )
        return json.loads(line)


def take_turns(contenders: Sequence[Contender], rounds: int) -> tuple[dict[str, Times], dict[str, Any]]:
    """(times of each contender, one a round; what each said of itself when it was ready)."""
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(contender)) for contender in contenders]
        times: dict[str, Times] = {contender.name: [] for contender in contenders}
        for _ in range(rounds):
            for process in processes:
                times[process.contender.name].append(process.turn())
        return times, {process.contender.name: process.ready for process in processes}


def speeds(times: Times, clock: str = "cpu") -> list[float]:
    """Environment steps per second."""
    return [time["steps"] / time[clock] for time in times]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def row(contender: Contender, times: Times, flops: float | None) -> dict[str, Any]:
    """Speed of one contender by CPU time, and its median by the clock on the wall."""
    return {
        "name": contender.name,
        "what": contender.what,
        "peer": contender.peer,
        "target": contender.target,
        "steps": contender.steps,
        "flops": flops,
        **spread(speeds(times)),
        "wall": statistics.median(speeds(times, "wall")),
    }


def ratios(ours: Times, theirs: Times) -> dict[str, float]:
    """Of the speeds within each round."""
    return spread([a / b for a, b in zip(speeds(ours), speeds(theirs), strict=True)])


def result(group: Group, times: dict[str, Times], ready: dict[str, Any]) -> dict[str, Any]:
    """What is written of a group."""
    pairs: list[dict[str, Any]] = [
        {
            "ours": pair.ours,
            "theirs": pair.theirs,
            "target": pair.target,
            **ratios(times[pair.ours], times[pair.theirs]),
        }
        for pair in group.pairs
    ]
    rows = [row(one, times[one.name], ready[one.name]["flops"]) for one in group.contenders]
    environments = {"peers" if one.peer else "ours": ready[one.name]["versions"] for one in group.contenders}
    return {"environments": environments, "rows": rows, "ratios": pairs}
