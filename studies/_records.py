"""What a large study keeps of each run: a line of a committed file, so that the study goes on without the run's folder.

A line is named by the run's folder below the study's, which holds the digest of its whole configuration: where a
setting changes, nothing that was kept counts as the run any more. Only the device is left out of the name: a GPU adds
in another order than a CPU, which is no other experiment, and a line says on which it was made where it was no CPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sandbox.config import Experiment
from sandbox.errors import CorruptFile
from sandbox.files import read_json, write_whole
from sandbox.runs import Run
from sandbox.study import folder_of

Records = dict[str, dict[str, Any]]  # name -> what is kept
Planned = Iterable[tuple[str, Experiment]]  # folder of the batch, experiment
Of = Callable[[Experiment, Run], dict[str, Any]]


_NAMES: dict[tuple[str, str], str] = {}  # a digest takes a millisecond, and thousands of names are asked for many times


def name_of(folder: str, experiment: Experiment) -> str:
    anywhere = experiment.model_copy(update={"device": "cpu"})
    key = (folder, anywhere.model_dump_json())
    if key not in _NAMES:
        _NAMES[key] = folder_of(anywhere, Path(folder)).as_posix()
    return _NAMES[key]


def load(path: Path) -> Records:
    """Nothing where there is no file. CorruptFile names the line that is none."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            one = json.loads(line)
            found[one.pop("run")] = one
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CorruptFile(f"{path}, line {number} is no record of a run; restore the file from git") from error
    return found


def keep(path: Path, root: Path, planned: Planned, record: Of) -> Records:
    """What the file holds and, in place of it, `record` of each planned run below `root` that is finished."""
    before = load(path)
    found = dict(before)
    for folder, experiment in planned:
        name = name_of(folder, experiment)
        run = Run(root / name if experiment.device == "cpu" else folder_of(experiment, root / folder))
        if finished(run):
            commit = read_json(run.versions_file)["commit"]
            device = {} if experiment.device == "cpu" else {"device": experiment.device}
            found[name] = {"commit": commit} | device | record(experiment, run)
    if found != before:
        lines = [json.dumps({"run": name} | one, allow_nan=False) + "\n" for name, one in found.items()]
        write_whole(path, "".join(lines).encode())
    return found


def carry(rows: Iterable[dict[str, Any]], result: Path, names: Iterable[str]) -> None:
    """Of the entries `names` what the records of fewer seeds tell stays as the last result told it: nothing is lost.

    Records begin on 27 November 2026; of the runs before only the rows of a result are left, with a score for each.
    """
    before = {(row["world"], row["arm"]): row for row in (read_json(result)["arms"] if result.exists() else [])}
    for row in rows:
        old = before.get((row["world"], row["arm"]))
        if old and old["scores"] == row["scores"][: len(old["scores"])]:
            row |= {name: old[name] for name in names if _seeds(old, name) > _seeds(row, name)}


def _seeds(row: dict[str, Any], name: str) -> int:
    """Of how many seeds an entry is: as it says, else of all."""
    value = row[name]
    if value is None:
        return 0
    return value.get("n", len(row["seeds"])) if isinstance(value, dict) else len(row["seeds"])


def finished(run: Run) -> bool:
    return run.result_file.exists() and run.status == "done"


def commits(kept: Records, planned: Planned) -> list[str]:
    """Each commit that made some of the planned runs, as they were kept: the last is the newest."""
    names = {name_of(*one) for one in planned}
    return list(dict.fromkeys(str(one["commit"]) for name, one in kept.items() if name in names))
