"""Probing and diagnosing the runs of a study while they have checkpoints, and what was read of them afterwards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from sandbox.files import read_json, write_json
from sandbox.runs import Run

PROBE, DIAGNOSIS = "probe.json", "diagnosis.json"
MEASURES = ("rankme_centred", "lidar", "normalised_std")
UNPROBED = ("random", "oracle", "ppo+true_state")  # no encoder of views


def probe(runs: Sequence[Run]) -> None:
    """Write the two files of each run that lacks them and learns an encoder."""
    from sandbox import diagnose
    from sandbox import probe as probing
    from sandbox.study import read_run

    pairs = [read_run(one.path) for one in runs if not (one.path / DIAGNOSIS).exists()]
    learning = [pair for pair in pairs if pair[1].agent not in UNPROBED]
    if learning:
        print(f"probing and diagnosing {len(learning)} runs, some seconds each ...", file=sys.stderr, flush=True)
    for run_, found in probing.probe(learning):
        write_json(run_.path / PROBE, found)
    for run_, experiment in learning:
        write_json(run_.path / DIAGNOSIS, diagnose.diagnose(run_, experiment))


def probes(found: Sequence[dict[str, float]]) -> dict[str, list[float | None]]:
    """Each variable's probes, one for each run."""
    names = dict.fromkeys(name for one in found for name in one)
    return {name: [one.get(name) for one in found] for name in names}


def probed(run_: Run) -> dict[str, float]:
    """What is read of the oracle's action, of the reward and of the state (mean of R2 and macro-F1)."""
    if not (run_.path / PROBE).exists():
        return {}
    return _read(read_json(run_.path / PROBE)["scores"]["run"])


def controls(run_: Run) -> dict[str, dict[str, float]]:
    """The same of each control: they belong to the world and the encoder, not to the run."""
    if not (run_.path / PROBE).exists():
        return {}
    return {name: _read(read) for name, read in read_json(run_.path / PROBE)["scores"].items() if name != "run"}


def diagnosed(run_: Run) -> dict[str, Any]:
    """The verdict, and each of `MEASURES` for the run's encoder and for the untrained one."""
    if not (run_.path / DIAGNOSIS).exists():
        return {}
    found = read_json(run_.path / DIAGNOSIS)
    sides = found["trained"], found["untrained"]
    measured = {name: [_rounded(side.get(name)) for side in sides] for name in MEASURES}
    return {"verdict": found["verdict"], **measured}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _read(read: dict[str, Any]) -> dict[str, float]:
    state = [read[kind] for kind in ("f1", "r2") if read[kind] is not None]
    kept = {name: read["labels"][name] for name in ("oracle", "reward") if name in read["labels"]}
    return {name: round(value, 4) for name, value in {**kept, "state": float(np.mean(state))}.items()}
