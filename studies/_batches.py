"""What the large studies share: study files run into folders of their own, a few seeds of everything first.

A run is resumed from its checkpoint. Of a finished one a record is kept (`_records.py`) and its checkpoints are
deleted, as there would be thousands; what has a record is not run again, wherever its folder went.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sandbox import statistics
from sandbox.config import Experiment, Study, load_study
from sandbox.errors import StudyIncomplete
from sandbox.runs import Run, find_runs
from sandbox.study import folder_of
from studies._records import Records, finished, name_of

HERE = Path(__file__).parent
SEEDS_FIRST = 5


@dataclass(frozen=True)
class Batch:
    """What one `sandbox batch` would run: a study file, changed by `sets`, into a folder of its own."""

    file: str
    folder: str
    sets: tuple[str, ...] = ()

    def study(self, seeds: int | None = None) -> Study:
        """The study, of all its seeds or of the first `seeds`."""
        study = load_study(HERE / f"{self.file}.toml", self.sets)
        every = list(range(study.seeds)) if isinstance(study.seeds, int) else study.seeds
        return study.model_copy(update={"seeds": every[:seeds]})

    def missing(self, kept: Records) -> Callable[[Experiment], bool]:
        return lambda one: name_of(self.folder, one) not in kept

    @cached_property
    def arms(self) -> list[list[Experiment]]:
        """The planned runs of each world and agent, in the order of the study file."""
        arms: dict[tuple[str, str], list[Experiment]] = {}
        for one in self.study().experiments():
            arms.setdefault((one.world.id, one.agent), []).append(one)
        return list(arms.values())


def run(
    batches: Sequence[Batch],
    root: Path,
    jobs: int | None,
    command: str,
    wanted: Callable[[Records, bool], Callable[[Experiment], bool]],
    keep: Callable[[], Records],
    measure: Callable[[Sequence[Run]], None] = lambda _runs: None,
) -> None:
    """What is wanted first, with five seeds; then all with five; then all. What is kept is not run again.

    Args:
        wanted: of what is kept so far and whether this is the first pass, a test of an experiment.
        keep: keeps what is finished, returns all that is kept.
        measure: is given the finished runs of a study while they still have their checkpoints.

    Failed runs are named and do not stop the others.
    """
    from sandbox import main_job

    def settled(folder: Path) -> Records:
        measure([one for one in find_runs(folder) if finished(one) and one.checkpoints.exists()])
        kept = keep()
        tidy(folder)
        return kept

    for first, seeds in ((True, SEEDS_FIRST), (False, SEEDS_FIRST), (False, None)):
        for batch in batches:
            folder = root / batch.folder
            kept = settled(folder)
            for study in parts(batch.study(seeds), batch.missing(kept), wanted(kept, first)):
                try:
                    main_job.compare(study, folder, jobs, "table", False, command)
                except StudyIncomplete as error:
                    print(error, file=sys.stderr)
                settled(folder)


def parts(study: Study, *tests: Callable[[Experiment], bool]) -> list[Study]:
    """Studies that hold exactly the experiments that pass, one for all agents with the same worlds and seeds."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for one in study.experiments():
        if all(test(one) for test in tests):
            seeds.setdefault((one.agent, one.world.id), []).append(one.seed)
    of_agent: dict[str, dict[tuple[int, ...], list[str]]] = {}
    for (agent, world), some in seeds.items():
        of_agent.setdefault(agent, {}).setdefault(tuple(some), []).append(world)
    agents: dict[tuple[tuple[int, ...], tuple[str, ...]], list[str]] = {}
    for agent, groups in of_agent.items():
        for some, worlds in groups.items():
            agents.setdefault((some, tuple(worlds)), []).append(agent)
    return [
        study.model_copy(update={"seeds": list(some), "envs": list(worlds), "agents": names})
        for (some, worlds), names in agents.items()
    ]


def every(batches: Sequence[Batch]) -> list[tuple[str, Experiment]]:
    """All planned experiments, each with the folder of its batch."""
    return [(batch.folder, one) for batch in batches for arm in batch.arms for one in arm]


def tidy(folder: Path) -> None:
    """Delete the checkpoints of finished runs."""
    for one in find_runs(folder):
        if finished(one):
            shutil.rmtree(one.checkpoints, ignore_errors=True)


def failed(root: Path, folder: str, arm: Sequence[Experiment]) -> int:
    runs = [Run(folder_of(one, root / folder)) for one in arm]
    return sum(one.config_file.exists() and one.status == "failed" for one in runs)


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    found = statistics.interval(values)
    low, high = (None if end is None else round(end, 4) for end in (found.low, found.high))
    return {"iqm": round(found.value, 4), "low": low, "high": high, "n": found.n}
