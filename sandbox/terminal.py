"""What a person sees while runs go on: a live table on a terminal, a line per event elsewhere. All on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sandbox.study import Job

LINE_EVERY = 10.0  # seconds, where no terminal is
MARKS = {"waiting": "·", "running": "▶", "done": "●", "skipped": "○", "failed": "✗", "stopped": "■"}


def console() -> Console:
    """For everything that is not data."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """One line to stderr, without markup. A reader that is gone must not end a run."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def study_progress() -> Iterator[Callable[[list[Job]], None]]:
    """Yields the function that shows all jobs."""
    err = console()
    if not err.is_terminal:
        yield _Lines()
        return
    with Live(console=err, refresh_per_second=4, transient=True) as live:
        start = time.monotonic()
        last = [0.0]
        plain = not err.encoding.lower().startswith("utf")

        def show(jobs: list[Job]) -> None:
            now = time.monotonic()
            if now - last[0] > 0.25:
                last[0] = now
                live.update(_table(jobs, now - start, plain))

        yield show


class _Lines:
    """A line whenever a run starts or ends."""

    def __init__(self) -> None:
        self.seen: dict[Path, str] = {}

    def __call__(self, jobs: list[Job]) -> None:
        for job in jobs:
            if self.seen.get(job.run.path, "waiting") != job.state:
                self.seen[job.run.path] = job.state
                ended = sum(j.state not in ("waiting", "running") for j in jobs)
                suffix = f": {job.message}" if job.message else ""
                one = job.experiment
                note(f"[{ended}/{len(jobs)}] {job.state} {one.agent} {one.world.id} seed {one.seed}{suffix}")


def _table(jobs: list[Job], seconds: float, plain: bool) -> Table:
    ended = sum(job.state not in ("waiting", "running") for job in jobs)
    table = Table(
        title=f"{ended} of {len(jobs)} runs, {seconds:.0f} s", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for name in ("agent", "world", "seeds", "now"):
        table.add_column(name, no_wrap=name == "seeds")
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.experiment.agent, job.experiment.world.id), []).append(job)
    # the running first: of a table longer than the terminal its end is not seen
    rows = sorted(groups.items(), key=lambda row: all(job.state != "running" for job in row[1]))
    for (agent, world), group in rows:
        marks = "".join(job.state[0] if plain else MARKS[job.state] for job in group)
        now = [_now(job) for job in group if job.state == "running"]
        table.add_row(Text(agent), Text(world), Text(marks), Text("; ".join(now)))
    return table


def _now(job: Job) -> str:
    row = last_row(job.run.metrics_file)
    done = f"{row.get('step', 0) / job.experiment.steps:.0%}"
    shown = {"rollout/success_rate": "success", "eval/success_rate": "success", "rollout/ep_rew_mean": "return"}
    for key, name in shown.items():
        if isinstance(row.get(key), (int, float)):
            return f"{done} {name} {row[key]:.2f}"
    return done


def last_row(path: Path) -> dict[str, Any]:
    """The last whole row of a metrics file; {} where there is none yet."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in reversed(lines[:-1]):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return {}


@contextmanager
def run_progress(name: str, total: int) -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Yields the function that shows one run's steps and latest numbers."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    err = console()
    if not err.is_terminal:
        yield _run_lines()
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    ]
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(Text(name).plain, total=total, numbers="")

        def show(done: int, _total: int, metrics: dict[str, float]) -> None:
            bar.update(task, completed=done, numbers=_numbers(metrics))

        yield show


def _run_lines() -> Callable[[int, int, dict[str, float]], None]:
    last = [time.monotonic()]

    def show(done: int, total: int, metrics: dict[str, float]) -> None:
        if time.monotonic() - last[0] >= LINE_EVERY:
            last[0] = time.monotonic()
            note(f"{done:,} of {total:,} steps  {_numbers(metrics)}")

    return show


def _numbers(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
