"""Training with a clock that stands still while nothing is learned, and results that are kept as they come.

A run is an `Experiment` and goes through `sandbox.plan` and `sandbox.experiment` like `sandbox train`; its numbers are
the same bit for bit. The clock is the CPU time of the process (`time.process_time`, user and system, one thread). It
runs from the return of the evaluation before the first rollout to the last update, log line and checkpoint, and stands
still during every evaluation between. Outside of it: imports, the level pool, building worlds and networks, and
compilation, which a run of two rollouts on the same task in the same process has done before.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sandbox.config import Evaluation, Experiment, World, to_dict
from sandbox.energy import Meter
from sandbox.errors import SandboxError, Stopped
from sandbox.evaluate import Evaluation as Evaluated
from sandbox.experiment import Session
from sandbox.files import read_json, write_json
from sandbox.metrics import RunWriter
from sandbox.plan import plan
from sandbox.runs import create
from sandbox.versions import versions
from studies import _run

AGENT = "ppo+contacts"
SOLVED = 0.95  # success on unseen levels
WARM_UP = 2  # rollouts

Point = tuple[int, float, float]  # environment steps, CPU seconds of training so far, success on unseen levels
Stop = Callable[["Timed"], bool]


def experiment(task: str, steps: int, seed: int, episodes: int, points: int = 1) -> Experiment:
    """The default agent on a MiniGrid task ("MultiRoom-N6"; v0 where no version is named), all settings at default."""
    name = task if task.endswith("-v1") else f"{task}-v0"
    evaluation = Evaluation(episodes=episodes, points=points)
    return Experiment(agent=AGENT, world=World(id=f"MiniGrid-{name}"), steps=steps, seed=seed, evaluation=evaluation)


class Timed(Session):
    """A session that keeps the clock and what every evaluation found."""

    enough: Stop = staticmethod(lambda _session: False)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.curve: list[Point] = []
        self.levels = ""
        self._before, self._since = 0.0, 0.0

    @property
    def seconds(self) -> float:
        """CPU seconds of training until now."""
        return self._before + (time.process_time() - self._since) * bool(self.curve)

    def evaluate(self, predictor: Any, steps: int) -> Evaluated:
        self._before = self.seconds
        evaluation = super().evaluate(predictor, steps)
        assert evaluation.success_rate is not None
        self.levels = evaluation.levels
        self.curve.append((steps, round(self._before, 3), evaluation.success_rate))
        self._since = time.process_time()
        if self.enough(self):  # else another rollout would be learned from before anybody asks
            raise Stopped("enough")
        return evaluation


def train(experiment_: Experiment, stop: Stop = lambda _session: False) -> Timed:
    """The closed session of a run in a temporary folder, to its end or until `stop` says so at a rollout's start."""

    def should_stop() -> SandboxError | None:
        return Stopped("enough") if stop(session) else None

    with tempfile.TemporaryDirectory(prefix="timed-") as folder, Meter() as meter:
        run = create(Path(folder) / "run", to_dict(experiment_))
        writer = RunWriter(run.path)
        session = Timed(run, plan(experiment_), writer, lambda _done, _total, _metrics: None, should_stop, meter, None)
        session.enough = stop
        try:
            session.execute()
        except Stopped:
            pass
        finally:
            session.close()
    return session


def warm_up(task: str, seed: int) -> None:
    """Load or generate the task's levels and compile everything that training and evaluation call."""
    small = experiment(task, WARM_UP * 64 * 128, seed, episodes=2)
    train(small)


def in_processes(
    name: str, command: str, job: Callable[..., dict[str, Any]], work: Iterable[tuple[Any, ...]], jobs: int
) -> list[dict[str, Any]]:
    """`job(*a)` for each a, a fresh one-thread process each, `jobs` at a time; what is missing only.

    A job's answer begins with the entries of `a` under "key" and is in studies/results/<name>.json as soon as it is
    there, so that a study that was interrupted goes on. To repeat it all, remove the file.
    """
    path = _run.RESULTS / f"{name}.json"
    kept: list[dict[str, Any]] = read_json(path)["runs"] if path.exists() else []
    done = {json.dumps(answer["key"]) for answer in kept}
    made_with = versions()  # once: a result that is written makes the working copy dirty, not the code
    os.environ["OMP_NUM_THREADS"] = "1"
    spawn = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_run.one_thread, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(job, *a): list(a) for a in work if json.dumps(list(a)) not in done}
        for future in as_completed(waiting):
            answer = {"key": waiting[future], "commit": made_with["commit"], **future.result()}
            print(json.dumps(answer), file=sys.stderr, flush=True)
            kept = sorted([*kept, answer], key=lambda one: json.dumps(one["key"]))
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"command": command, "versions": made_with, "runs": kept})
    return kept
