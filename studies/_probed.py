"""Probing the runs of a study while they have checkpoints, and what was read of them afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sandbox.files import read_json, write_json
from sandbox.runs import Run

PROBE = "probe.json"
UNPROBED = ("random", "oracle", "ppo+true_state")  # no encoder of views


def probe(runs: Sequence[Run]) -> None:
    """Write the probe.json of each run that has none and learns an encoder."""
    from sandbox import probe as probing
    from sandbox.study import read_run

    pairs = [read_run(one.path) for one in runs if not (one.path / PROBE).exists()]
    for run_, found in probing.probe([pair for pair in pairs if pair[1].agent not in UNPROBED]):
        write_json(run_.path / PROBE, found)


def probes(found: Sequence[dict[str, float]]) -> dict[str, list[float | None]]:
    """Each variable's probes, one for each run."""
    names = dict.fromkeys(name for one in found for name in one)
    return {name: [one.get(name) for one in found] for name in names}


def probed(run_: Run) -> dict[str, float]:
    """What is read of the oracle's action, of the reward and of the state (mean of R2 and macro-F1)."""
    if not (run_.path / PROBE).exists():
        return {}
    read = read_json(run_.path / PROBE)["scores"]["run"]
    state = [read[kind] for kind in ("f1", "r2") if read[kind] is not None]
    kept = {name: read["labels"][name] for name in ("oracle", "reward") if name in read["labels"]}
    return {name: round(value, 4) for name, value in {**kept, "state": float(np.mean(state))}.items()}
