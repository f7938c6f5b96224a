"""Has a run's representation collapsed? Its features on common frames, measured beside those of the untrained encoder.

The measures and their formulas are in `agents/collapse.py`, the frames in `_walk.py` (all of them, in their order, as
LiDAR's groups are ten frames in a row of one episode). The verdict reads the two that see the two ways to collapse,
each as a share of what the same architecture has with its first weights: centred RankMe - 1 (all features on a line)
and the std of normalised features (all in a point). Below a tenth it is `collapsed`, below three tenths `collapsing`;
`agents.collapse.verdict` says why there.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from agents import collapse
from agents.rollout import flatten_obs
from sandbox import _encoders, terminal
from sandbox._walk import Walk, walk
from sandbox.config import Experiment
from sandbox.plan import plan
from sandbox.runs import Run
from sandbox.study import read_run


def show(path: Path, output: str) -> None:
    """Print the run's measures beside the untrained encoder's, and the verdict.

    Raises:
        SandboxError: `path` is no run, its agent has no encoder, or it has no checkpoint yet.
    """
    from sandbox.worker import translate

    begun = time.perf_counter()
    pair = read_run(path)
    try:
        with redirect_stdout(sys.stderr):
            found = diagnose(*pair)
    except Exception as error:
        raise translate(error) from error
    if output == "json":
        print(json.dumps(found, indent=2))
    else:
        from sandbox.listing import to_csv, to_text

        rows = _rows(found)
        print(to_csv(rows).rstrip() if output == "csv" else f"{to_text(rows)}\n{found['agent']}: {found['verdict']}")
    terminal.note(f"diagnosed in {time.perf_counter() - begun:.1f} s on {found['frames']} frames ({found['policy']})")


def diagnose(run: Run, experiment: Experiment) -> dict[str, Any]:
    """Measures of the newest checkpoint's encoder and of the untrained one, what bounds them, and the verdict."""
    torch.set_num_threads(1)
    plan_ = plan(experiment)
    walked, of = walk(experiment.world)
    encoder = _encoders.trained(run, plan_, of, terminal.note)
    trained = measured(encoder, walked)
    untrained = measured(_encoders.untrained(plan_, of), walked)
    groups = collapse.neighbours(walked.done, collapse.VIEWS, collapse.GROUPS)
    return {
        "schema": 1,
        "agent": experiment.agent,
        "env": experiment.world.id,
        "seed": experiment.seed,
        "verdict": collapse.verdict(trained, untrained),
        "shares": collapse.shares(trained, untrained),
        "trained": trained,
        "untrained": untrained,
        "references": _references(walked.done.numel(), encoder.features_dim, len(groups)),  # type: ignore[arg-type]
        "features": encoder.features_dim,
        "frames": walked.done.numel(),
        "policy": walked.policy,
        "lidar_groups": f"{len(groups)} groups of {collapse.VIEWS} frames in a row of one episode",
    }


def measured(encoder: torch.nn.Module, walked: Walk) -> dict[str, float]:
    """Every measure of one encoder on a walk."""
    z = _encoders.features(encoder, flatten_obs(walked.obs))
    return collapse.measures(z.unflatten(0, walked.done.shape), walked.done)


def _references(n: int, d: int, groups: int) -> dict[str, str]:
    """What each measure is to be held against, in words."""
    return {
        "rankme": f"at most {collapse.rank_limit(n, d)}",
        "rankme_centred": f"at most {collapse.rank_limit(n, d, centred=True)}",
        "rankme_normalised": "at most 1",
        "participation_ratio": f"at most {collapse.rank_limit(n, d, centred=True)}",
        "normalised_std": f"1/sqrt(D) = {d**-0.5:.3f}",
        "lidar": f"at most {max(1, min(groups - 1, d))}, {collapse.VIEWS} neighbours in time a group",
        "contrast_accuracy": f"chance {1 / collapse.BATCH:.3f}",
    }


def _rows(found: dict[str, Any]) -> list[dict[str, str]]:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    sides = found["trained"], found["untrained"]
    return [
        {"measure": name, "run": cell(sides[0].get(name)), "untrained": cell(sides[1].get(name)), "reference": words}
        for name, words in found["references"].items()
    ]
