"""What the large studies share: study files run into folders of their own, a few seeds of everything first.

A run is resumed from its checkpoint; the checkpoints of finished runs are deleted, as there would be thousands.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import statistics
from sandbox.config import Experiment, Study, load_study
from sandbox.errors import StudyIncomplete
from sandbox.runs import Run, find_runs
from sandbox.study import folder_of

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


def run(
    batches: Sequence[Batch],
    root: Path,
    jobs: int | None,
    command: str,
    first: Callable[[Study], Study | None] = lambda _study: None,
    measure: Callable[[Sequence[Run]], None] = lambda _runs: None,
) -> None:
    """Everything that is missing: `first` of each study with five seeds, then all with five, then all.

    `measure` is given the finished runs of a study while they still have their checkpoints. Failed runs are named and
    do not stop the others.
    """
    from sandbox import main_job

    for batch, study in _in_order(batches, first):
        try:
            main_job.compare(study, root / batch.folder, jobs, "table", False, command)
        except StudyIncomplete as error:
            print(error, file=sys.stderr)
        measure([one for one in find_runs(root / batch.folder) if finished(one) and one.checkpoints.exists()])
        tidy(root / batch.folder)


def only(study: Study, wanted: Callable[[Experiment], bool]) -> Study | None:
    """Of the study the agents and the worlds of the experiments that are wanted; None where there are none."""
    cells = [one for one in study.experiments() if wanted(one)]
    agents, worlds = ({get(one) for one in cells} for get in (lambda one: one.agent, lambda one: one.world.id))
    return study.model_copy(update={"agents": sorted(agents), "envs": sorted(worlds)}) if cells else None


def _in_order(batches: Sequence[Batch], first: Callable[[Study], Study | None]) -> Iterable[tuple[Batch, Study]]:
    for batch in batches:
        study = first(batch.study(SEEDS_FIRST))
        if study is not None:
            yield batch, study
    for seeds in (SEEDS_FIRST, None):
        for batch in batches:
            yield batch, batch.study(seeds)


def tidy(folder: Path) -> None:
    """Delete the checkpoints of finished runs."""
    for one in find_runs(folder):
        if finished(one):
            shutil.rmtree(one.checkpoints, ignore_errors=True)


def arms_of(batch: Batch, folder: Path) -> list[list[tuple[Experiment, Run]]]:
    """The planned runs of each world and agent, begun or not, in the order of the study file."""
    arms: dict[tuple[str, str], list[tuple[Experiment, Run]]] = {}
    for one in batch.study().experiments():
        arms.setdefault((one.world.id, one.agent), []).append((one, Run(folder_of(one, folder))))
    return list(arms.values())


def finished(run: Run) -> bool:
    return run.result_file.exists() and run.status == "done"


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    found = statistics.interval(values)
    low, high = (None if end is None else round(end, 4) for end in (found.low, found.high))
    return {"iqm": round(found.value, 4), "low": low, "high": high, "n": found.n}
