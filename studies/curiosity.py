"""Every bonus in every world: run what is missing, keep a record of each run, and write studies/results/curiosity.json.

The runs are those of studies/curiosity*.toml (studies/curiosity.toml says which and what they cost), below
runs/curiosity. What the claims compare gets its first five seeds first, then all gets five before anything gets ten, so
that a study that was stopped early says what it can. In DeepSea an arm that solves a size, from 20 on, in fewer than
half of its runs is not tried at the next. What the result says comes from the records (`_records.py`), which are
committed: the study goes on where the runs themselves are gone.

The score of a run: coverage of an evaluation episode where no reward is seen; in DeepSea 1 if it was solved by
bsuite's rule, else 0; elsewhere success of the final policy, or its return where a world knows no success.

    make study-curiosity                          run (or go on), then write the result and its page
    python -m studies.curiosity --result          the result of what is finished so far
    python -m studies.curiosity --device cuda     what is missing, on a GPU
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.analyses._arms import env_name
from sandbox.config import Experiment, to_dict
from sandbox.errors import SandboxError
from sandbox.files import read_json, write_json
from sandbox.runs import Run
from sandbox.versions import versions
from studies import _beside_none, _claims, _fly_claims, _ranks
from studies._batches import Batch, every, failed, run, summary
from studies._records import Records, carry, commits, keep, name_of
from studies.deep_sea import EPISODES, beats_chance

HERE = Path(__file__).parent
COMMAND = "make study-curiosity"
ROOT = Path("runs") / "curiosity"
RESULT, FLY_HASH = (HERE / "results" / f"{name}.json" for name in ("curiosity", "fly_hash"))
RECORDS = HERE / "results" / "curiosity_runs.jsonl"
FILES = (
    "curiosity",
    "curiosity_free",
    "curiosity_small",
    "curiosity_hard",
    "curiosity_harder",
    "curiosity_cartpole",
)
ROLLOUT = 16 * 32  # steps of one in DeepSea
METRICS = {"DeepSea-v0": "solved", "CartPole-v1": "return"}  # elsewhere success; without a reward coverage
REFERENCES = ("random", "oracle")
SUMMARIES = ("score", "coverage", "life", "entropy")


@cache
def batches(device: str = "cpu") -> tuple[Batch, ...]:
    """What most claims rest on first; DeepSea, the slowest a step, last."""
    on = f"device={device}"
    return tuple(Batch(file, file, (on,)) for file in FILES) + tuple(
        Batch("curiosity_deep_sea", f"deep_sea_{n}", (on, f"world.kwargs.size={n}", f"steps={deep_sea_steps(n)}"))
        for n in _claims.SIZES
    )


def deep_sea_steps(size: int) -> int:
    """Whole rollouts that hold bsuite's number of episodes."""
    return -(-EPISODES * size // ROLLOUT) * ROLLOUT


# ---------------------------------------------------------------------- running


def recorded(device: str = "cpu") -> Records:
    """What is kept of every planned run that is finished, here on `device` or before."""
    return keep(RECORDS, ROOT, every(batches(device)), record)


def wanted(kept: Records, first: bool) -> Callable[[Experiment], bool]:
    """First what the claims compare; an arm of DeepSea where it solved the size below."""
    scores = scores_of(kept, batches())

    def test(one: Experiment) -> bool:
        return (not first or _claims.compared(*cell_of(one))) and _claims.climbs(*cell_of(one), scores)

    return test


def record(experiment: Experiment, run_: Run) -> dict[str, Any]:
    """`us`: CPU time per step of the whole run, where no GPU took part of it; `life`: share of all states that
    training visited; `watched`: share of training that went to a television."""
    found = run_.result or {}
    told = found["coverage"] or {}
    training = told.get("training", {})
    all_of_it = found["steps"] and experiment.device == "cpu"
    spent = found["cost"]["cpu_seconds"] / found["steps"] * 1e6 if all_of_it else None
    values = {
        "score": score_of(found, metric_of(experiment), experiment),
        "coverage": told.get("evaluation"),
        "life": training.get("coverage"),
        "entropy": training.get("entropy"),
        "watched": training.get("watched"),
        "us": spent,
    }
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


# ---------------------------------------------------------------------- from records to a result


def result(kept: Records, planned: Sequence[Batch]) -> dict[str, Any]:
    """All that the page says, from what is kept of the planned runs."""
    scores = scores_of(kept, planned)
    rows = [row_of(batch, arm, kept) for batch in planned for arm in batch.arms if tried(arm, scores)]
    seeds = {(row["world"], row["arm"]): row["planned"] for row in rows}
    carry(rows, RESULT, ("coverage", "life", "entropy", "us"))
    made = commits(kept, every(planned))
    hashes = read_json(FLY_HASH) if FLY_HASH.exists() else None
    claims = _claims.judge(scores | watched_of(kept, planned), seeds | watched_cells(seeds))
    return {
        "command": COMMAND,
        "versions": versions() | ({"commit": made[-1]} if made else {}),
        "commits": made,
        "on_gpu": sum("device" in one for one in kept.values()),
        "arms": rows,
        "claims": sorted([*claims, *_fly_claims.judge(hashes)], key=lambda one: one["claim"]),
        "beside_none": _beside_none.beside(scores, metrics_of(planned)),
        "ranks": _ranks.stability({cell: of for cell, of in scores.items() if cell[1] not in REFERENCES}),
    }


def row_of(batch: Batch, arm: Sequence[Experiment], kept: Records) -> dict[str, Any]:
    """`scores` is in the order of `seeds`; intervals are IQM with 95 % over seeds; `us` is CPU time per step."""
    first, folder = arm[0], batch.folder
    done = {one.seed: kept[name] for one in arm if (name := name_of(folder, one)) in kept}

    def values(key: str) -> list[float]:
        return [one[key] for one in done.values() if one[key] is not None]

    return {
        "world": world_name(first),
        "arm": arm_name(first.agent),
        "metric": metric_of(first),
        "steps": first.steps,
        "planned": len(arm),
        "failed": failed(ROOT, folder, arm),
        "seeds": list(done),
        "scores": values("score"),
        **{name: summary(values(name)) for name in SUMMARIES},
        "us": round(float(np.median(values("us"))), 2) if values("us") else None,
    }


def scores_of(kept: Records, planned: Sequence[Batch]) -> dict[_claims.Cell, dict[int, float]]:
    """Of each cell, those without a record too, the score of each seed that has one."""
    return {
        cell_of(arm[0]): {one.seed: kept[name]["score"] for one in arm if (name := name_of(batch.folder, one)) in kept}
        for batch in planned
        for arm in batch.arms
    }


def watched_of(kept: Records, planned: Sequence[Batch]) -> dict[_claims.Cell, dict[int, float]]:
    """As `scores_of`: how much of each training went to a television, where the record tells it."""
    found: dict[_claims.Cell, dict[int, float]] = {}
    for folder, one in every(planned):
        told = kept.get(name_of(folder, one), {}).get("watched")
        if told is not None:
            world, arm = cell_of(one)
            found.setdefault((world + _claims.WATCHED, arm), {})[one.seed] = told
    return found


def watched_cells(planned: dict[_claims.Cell, int]) -> dict[_claims.Cell, int]:
    """The numbers of seeds by the names that `watched_of` has."""
    return {(world + _claims.WATCHED, arm): seeds for (world, arm), seeds in planned.items()}


def metrics_of(planned: Sequence[Batch]) -> dict[str, str]:
    """World -> what its score is."""
    return {world_name(arm[0]): metric_of(arm[0]) for batch in planned for arm in batch.arms}


def tried(arm: Sequence[Experiment], scores: _claims.Scores) -> bool:
    """In DeepSea not every arm comes as far as the large sizes."""
    cell = cell_of(arm[0])
    return bool(scores[cell]) or _claims.climbs(*cell, scores)


def cell_of(one: Experiment) -> _claims.Cell:
    return world_name(one), arm_name(one.agent)


def reward_free(experiment: Experiment) -> bool:
    return experiment.learner.extrinsic_weight == 0


def world_name(experiment: Experiment) -> str:
    """The world's short name, its arguments, and whether its reward was hidden."""
    name = env_name(to_dict(experiment)).removeprefix("MiniGrid-").replace("-v0", "")
    return f"{name}, no reward" if reward_free(experiment) else name


def arm_name(agent: str) -> str:
    """What differs between the arms of a world: the bonus."""
    return agent.removeprefix("ppo").removeprefix("+flat").removeprefix("+") or "none"


def metric_of(experiment: Experiment) -> str:
    if reward_free(experiment):
        return "coverage"
    return METRICS.get(experiment.world.id, "success")


def score_of(found: dict[str, Any], metric: str, experiment: Experiment) -> float:
    if metric == "coverage":
        return found["coverage"]["evaluation"]
    if metric == "solved":
        size = int(experiment.world.kwargs["size"])
        return float(beats_chance(size, found["coverage"]["training"]["solved_after"]))
    return found[metric]["mean"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", action="store_true", help="train nothing: the result of what is finished")
    parser.add_argument("--jobs", type=int, help="runs at a time; by default one for each core")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for what is missing")
    options = parser.parse_args()
    kept = partial(recorded, options.device)
    try:
        if not options.result:
            run(batches(options.device), ROOT, options.jobs, COMMAND, wanted, kept)
    except SandboxError as error:
        sys.exit(f"stopped: {error}\nThe same command goes on; --result keeps what is finished.")
    write_json(RESULT, result(kept(), batches()))
    print(RESULT)


if __name__ == "__main__":
    main()
