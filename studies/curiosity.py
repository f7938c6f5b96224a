"""Every bonus in every world: run what is missing, then turn the finished runs into studies/results/curiosity.json.

The runs are those of studies/curiosity*.toml (studies/curiosity.toml says which and what they cost), below
runs/curiosity. What the claims compare gets its first five seeds first, then all gets five before anything gets ten, so
that a study that was stopped early says what it can. A run is resumed from its checkpoint; the checkpoints of finished
runs are deleted, as there would be thousands.

The score of a run: coverage of an evaluation episode where no reward is seen; in DeepSea 1 if it was solved by
bsuite's rule, else 0; elsewhere success of the final policy, or its return where a world knows no success.

    make study-curiosity                          run (or go on), then write the result and its page
    python -m studies.curiosity --result          the result of what is finished so far
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.analyses._arms import env_name
from sandbox.config import Experiment, Study, to_dict
from sandbox.errors import SandboxError
from sandbox.runs import Run, read_json, versions, write_json
from studies import _claims, _ranks
from studies._batches import Batch, arms_of, finished, only, run, summary

HERE = Path(__file__).parent
COMMAND = "make study-curiosity"
ROOT = Path("runs") / "curiosity"
RESULT, FLY_HASH = (HERE / "results" / f"{name}.json" for name in ("curiosity", "fly_hash"))
FILES = ("curiosity", "curiosity_free", "curiosity_small", "curiosity_hard", "curiosity_cartpole")
EPISODES, ROLLOUT = 10_000, 16 * 32  # of a run in DeepSea; steps of a rollout there
METRICS = {"DeepSea-v0": "solved", "CartPole-v1": "return"}  # elsewhere success; without a reward coverage
REFERENCES = ("random", "oracle")


def batches() -> list[Batch]:
    """What most claims rest on first; DeepSea, the slowest a step, last."""
    return [Batch(file, file) for file in FILES] + [
        Batch("curiosity_deep_sea", f"deep_sea_{n}", (f"world.kwargs.size={n}", f"steps={deep_sea_steps(n)}"))
        for n in _claims.SIZES
    ]


def deep_sea_steps(size: int) -> int:
    """Whole rollouts that hold bsuite's number of episodes."""
    return -(-EPISODES * size // ROLLOUT) * ROLLOUT


# ---------------------------------------------------------------------- running


def only_claimed(study: Study) -> Study | None:
    return only(study, lambda one: _claims.compared(world_name(one), arm_name(one.agent)))


# ---------------------------------------------------------------------- from runs to a result


def result(root: Path, planned: Sequence[Batch]) -> dict[str, Any]:
    """All that the page says, from those planned runs below `root` that are finished."""
    arms = [arm for batch in planned for arm in arms_of(batch, root / batch.folder)]
    rows = [row_of(arm) for arm in arms]
    made = [read_json(one.versions_file) for arm in arms for _, one in arm if finished(one)]
    scores = {(row["world"], row["arm"]): dict(zip(row["seeds"], row["scores"], strict=True)) for row in rows}
    seeds = {(row["world"], row["arm"]): row["planned"] for row in rows}
    hashes = read_json(FLY_HASH) if FLY_HASH.exists() else None
    return {
        "command": COMMAND,
        "versions": made[0] if made else versions(),
        "commits": sorted({str(one["commit"]) for one in made}),
        "arms": rows,
        "claims": _claims.judge(scores, seeds, hashes),
        "ranks": _ranks.stability({cell: of for cell, of in scores.items() if cell[1] not in REFERENCES}),
    }


def row_of(arm: Sequence[tuple[Experiment, Run]]) -> dict[str, Any]:
    """`scores` is in the order of `seeds`; intervals are IQM with 95 % over seeds; `us` is CPU time per step."""
    first = arm[0][0]
    done = [(one.seed, run.result or {}) for one, run in arm if finished(run)]
    results = [found for _, found in done]
    metric = metric_of(first)
    scores = [round(score_of(found, metric, first), 4) for found in results]
    told = [found["coverage"] for found in results if found["coverage"]]
    spent = [found["cost"]["cpu_seconds"] / found["steps"] * 1e6 for found in results if found["steps"]]
    return {
        "world": world_name(first),
        "arm": arm_name(first.agent),
        "metric": metric,
        "steps": first.steps,
        "planned": len(arm),
        "failed": sum(run.config_file.exists() and run.status == "failed" for _, run in arm),
        "seeds": [seed for seed, _ in done],
        "scores": scores,
        "score": summary(scores),
        "coverage": summary([one["evaluation"] for one in told]),
        "life": summary([one["training"]["coverage"] for one in told if "coverage" in one.get("training", {})]),
        "entropy": summary([one["training"]["entropy"] for one in told if "entropy" in one.get("training", {})]),
        "us": round(float(np.median(spent)), 2) if spent else None,
    }


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
        after, size = found["coverage"]["training"]["solved_after"], int(experiment.world.kwargs["size"])
        return float(0 < after <= EPISODES and after < 2**size + 100)
    return found[metric]["mean"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", action="store_true", help="train nothing: the result of what is finished")
    parser.add_argument("--jobs", type=int, help="runs at a time; by default one for each core")
    options = parser.parse_args()
    try:
        if not options.result:
            run(batches(), ROOT, options.jobs, COMMAND, only_claimed)
    except SandboxError as error:
        sys.exit(f"stopped: {error}\nThe same command goes on; --result keeps what is finished.")
    write_json(RESULT, result(ROOT, batches()))
    print(RESULT)


if __name__ == "__main__":
    main()
