"""One run in one process: errors end in the run's folder and in an exit code."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch

from agents.faults import EnvironmentFault, NonFinite, Unfit
from sandbox import runs
from sandbox.errors import Diverged, EnvironmentFailed, NoResources, SandboxError, Stopped, UsageError
from sandbox.experiment import Progress, execute
from sandbox.files import disk_error, read_json, write_json
from sandbox.plan import check_device, plan
from sandbox.runs import Run
from sandbox.signals import StopCheck, stop_requests
from sandbox.versions import versions


def run_once(
    run: Run,
    *,
    progress: Progress = lambda _done, _total, _metrics: None,
    should_stop: StopCheck = lambda: None,
    warn: Callable[[str], None] = lambda _text: None,
    command: str = "",
) -> None:
    """Run or resume `run` under its lock; whatever goes wrong is a SandboxError, kept in error.json and error.log."""
    from sandbox.study import read_run

    with runs.lock(run):
        if run.status == "done":
            return
        runs.clear_error(run)
        try:
            _, experiment = read_run(run.path)
            check_device(experiment.device)
            _check_versions(run, experiment.device, warn)
            with redirect_stdout(sys.stderr):  # an environment that prints must not spoil the data
                execute(run, plan(experiment), progress=progress, should_stop=should_stop, warn=warn, command=command)
        except (Exception, SystemExit) as error:  # an environment may call sys.exit
            told = translate(error)
            if told is not error:
                told.__cause__ = error  # the log must show where it came from
            if not isinstance(told, Stopped) and told.exit_code != 130:
                runs.record_error(run, told)
            if told is error:
                raise
            raise told from told.__cause__


def translate(error: Exception | SystemExit) -> SandboxError:
    """The error as one that a user can act on."""
    if isinstance(error, SandboxError):
        return error
    if isinstance(error, EnvironmentFault):
        return EnvironmentFailed(f"the environment failed: {error}")
    if isinstance(error, SystemExit):
        return EnvironmentFailed(f"the environment ended the program (sys.exit({error.code!r}))")
    if isinstance(error, NonFinite):
        return Diverged(f"training diverged: {error}. The last good checkpoint is kept, if there was one; {error.mend}")
    if isinstance(error, Unfit):
        return UsageError(str(error))
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return NoResources(f"out of memory: {error}; use fewer copies (--set world.copies=...)")
    if isinstance(error, OSError):
        return disk_error(error, "cannot write", Path(error.filename or "."))
    return SandboxError(f"unexpected {type(error).__name__}: {error} (please report it; --debug shows where)")


@functools.cache
def own_versions() -> dict[str, Any]:
    """Those of this process; a study's workers inherit what their server, whose code they run, has found."""
    return versions()


def _check_versions(run: Run, device: str, warn: Callable[[str], None]) -> None:
    """Record where this run is made; a resume on other versions goes on, says that it is no exact one, and is listed
    under `resumed`."""
    now = own_versions() | ({"gpu": torch.cuda.get_device_name(device)} if device != "cpu" else {})
    if not run.versions_file.exists() or not any(run.checkpoints.glob("*")):
        write_json(run.versions_file, now)
        return
    recorded = read_json(run.versions_file)
    resumed = recorded.get("resumed", [])
    before = resumed[-1] if resumed else recorded
    changed = sorted(key for key in now if now[key] != before.get(key))
    if changed:
        write_json(run.versions_file, recorded | {"resumed": [*resumed, now]})
        listed = ", ".join(changed)
        warn(f"resuming with other versions ({listed}): the result is statistically, not bitwise, the same")


def _orphaned() -> bool:
    parent = parent_process()
    return parent is not None and not parent.is_alive()


def main(path: str, command: str = "") -> None:
    """A study's worker."""
    warnings.simplefilter("ignore")
    os.dup2(2, 1)  # stdout belongs to the study's own process, also against a library that writes by itself
    run = Run(Path(path))
    with stop_requests(ignore_ctrl_c=True) as requested:

        def should_stop() -> SandboxError | None:
            return requested() or (Stopped("the study's own process is gone") if _orphaned() else None)

        try:
            run_once(run, should_stop=should_stop, warn=functools.partial(runs.add_warning, run), command=command)
        except SandboxError as error:
            sys.exit(error.exit_code)
