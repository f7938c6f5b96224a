"""Agents x worlds x seeds: each run in a process of its own; what is done is skipped, what was cut is resumed.

Workers are forked from a server that has already imported torch and numba, so that forty short runs do not import
them forty times. A run that fails does not stop the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

from sandbox import runs
from sandbox.config import Experiment, build, digest, to_dict
from sandbox.errors import SandboxError, UsageError
from sandbox.runs import Run
from sandbox.signals import StopCheck

GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 60.0  # seconds that a stopped worker has to reach its next safe point
GLANCE = 0.2  # seconds between two looks at what the user may see or ask

# One thread per worker: on networks this small a second one gains little and costs much on shared cores. The
# current folder must not come first in the server's path: the user's may hold an `envs` of its own. And glibc shall
# keep freed memory: else it goes back to the system and comes again, page by page, with every rollout.
SERVER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"} | {
    name: str(2**28) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
}


@dataclass
class Job:
    """One run of a study and where it stands: waiting, running, done, skipped (done before), failed, stopped."""

    run: Run
    experiment: Experiment
    state: str = "waiting"
    message: str = ""
    process: Any = field(default=None, repr=False)


def prepare(experiments: list[Experiment], root: Path) -> list[Job]:
    """The folder of every run, with its configuration, made where it is missing. Done ones are marked skipped."""
    jobs = []
    for experiment in experiments:
        run = runs.create(folder_of(experiment, root), to_dict(experiment))
        jobs.append(Job(run, experiment, "skipped" if run.status == "done" else "waiting"))
    return jobs


def folder_of(experiment: Experiment, root: Path) -> Path:
    """<root>/<world>/<agent>-<digest>/seed-<k>"""
    agent = f"{runs.slug(experiment.agent)}-{digest(experiment)}"
    return root / runs.slug(experiment.world.id) / agent / f"seed-{experiment.seed}"


def default_jobs() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(
    jobs: list[Job], workers: int, *, watch: Callable[[list[Job]], None], should_stop: StopCheck, command: str = ""
) -> None:
    """Run all waiting jobs, `workers` at a time; `watch` is called a few times a second with all of them.

    Raises:
        Interrupted, Stopped: after the running workers have stopped at a safe point.
    """
    context = multiprocessing.get_context("forkserver")
    waiting = [job for job in jobs if job.state == "waiting"]
    running: list[Job] = []
    if waiting:
        start_server(job.experiment.world.id for job in waiting if not job.experiment.world.kwargs)
    try:
        while waiting or running:
            while waiting and len(running) < workers and should_stop() is None:
                running.append(_start(context, waiting.pop(0), command))
            watch(jobs)
            connection.wait([job.process.sentinel for job in running], GLANCE)
            for job in [job for job in running if not job.process.is_alive()]:
                running.remove(job)
                _finish(job)
            watch(jobs)
            stop = should_stop()
            if stop is not None:
                _stop(running)
                watch(jobs)
                raise stop
    except BaseException:  # a second Ctrl-C: without this Python would wait at its exit for every worker
        for job in running:
            if job.process is not None:
                job.process.kill()
        raise


def start_server(env_ids: Iterable[str]) -> None:
    """Start the process that workers are forked from, if it is not there yet; it gets ready for these worlds while the
    caller does something else."""
    forkserver.set_forkserver_preload(["sandbox._preload"])
    worlds = " ".join(dict.fromkeys(env_ids))
    # It inherits that they are ignored: what the whole group is sent (Ctrl-C, a terminal that closes, a batch system's
    # SIGTERM) would end it, and with it what is known here of runs that are still on their way to a safe point.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in GROUP_SIGNALS}
    try:
        with _environment(SERVER_ENVIRONMENT | {"SANDBOX_PRELOAD": worlds}):
            forkserver.ensure_running()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(context: Any, job: Job, command: str) -> Job:
    from sandbox.worker import main

    job.process = context.Process(target=main, args=(str(job.run.path), command), daemon=False)
    job.process.start()
    job.state = "running"
    return job


def _finish(job: Job) -> None:
    code = job.process.exitcode
    job.process.close()
    job.process = None
    if job.run.status == "done":
        job.state = "done"
    elif code in (75, 130):
        job.state, job.message = "stopped", "stopped; the same command goes on"
    else:
        job.state, job.message = "failed", _why(job.run, code)


def _why(run: Run, code: int | None) -> str:
    if run.status == "running":
        return "in use by another process; wait for it, then run the same command again"
    try:
        error = run.error
    except SandboxError:  # its file is damaged; error.log has the rest
        error = None
    if error:
        return str(error.get("message", ""))
    if code is None or code >= 0:
        return f"exit {code}"
    often = ", as where memory runs out: fewer --jobs, or fewer copies" * (code == -signal.SIGKILL)
    return f"killed by {signal.Signals(-code).name}{often}"


def _stop(running: list[Job]) -> None:
    for job in running:
        job.process.terminate()
    deadline = time.monotonic() + GRACE
    for job in running:
        job.process.join(max(0.0, deadline - time.monotonic()))
        if job.process.is_alive():
            job.process.kill()
            job.process.join()
        _finish(job)


def retry_message(jobs: list[Job]) -> str:
    """What failed or was stopped, one line each."""
    lines = [
        f"  {job.run.path}: {job.message.splitlines()[0] if job.message else ''}"
        for job in jobs
        if job.state in ("failed", "stopped")
    ]
    return "\n".join(lines)


def read_run(path: Path) -> tuple[Run, Experiment]:
    """A run folder and its experiment.

    Raises:
        UsageError: `path` is no run, or its configuration is of another version of the sandbox.
        CorruptFile: its configuration is damaged.
    """
    run = Run(path)
    if not run.config_file.exists():
        raise UsageError(f"{path} is no run: it has no config.json (`sandbox list runs` shows what there is)")
    return run, build(Experiment, run.config, str(run.config_file))
