"""What labels are worth: run the missing runs, then turn the finished ones into studies/results/labels.json.

The runs are those of studies/labels*.toml, below runs/labels. What the claims compare gets its first five seeds first,
then all get five before any gets ten. An arm's
letter is that of docs/using.md. Pictures are shifted in every arm that learns, and its name leaves that out.

The score of a run is success of the final policy on unseen levels; in MarkovGrid, where only
slowness costs, its return. Before its checkpoint is deleted a run is probed as by `sandbox probe`.

    make study-labels                         the default arms, then the result and its page
    make study-labels-all                     the further arms too
    python -m studies.labels --result         the result of what is finished so far
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.analyses import crossing
from sandbox.analyses._arms import env_name
from sandbox.config import Experiment, Study, to_dict
from sandbox.errors import SandboxError
from sandbox.runs import Run, read_json, versions, write_json
from studies import _label_claims, _label_curves, _probe_ranks, _probed, _ranks
from studies._batches import Batch, arms_of, finished, only, run, summary

HERE = Path(__file__).parent
COMMAND = "make study-labels"
ROOT = Path("runs") / "labels"
RESULT = HERE / "results" / "labels.json"
DEFAULT = ("labels", "labels_pixels", "labels_rendered")
FURTHER = ("labels_all", "labels_all_pixels", "labels_all_rendered")
REFERENCES = ("random", "oracle")
LETTERS = {
    "random": "L0", "oracle": "O", "ppo": "R1", "ppo+noveld": "R3",
    "ppo+inverse:mode=frozen,pretrain_steps=0": "L1", "ppo+noveld+inverse:mode=frozen,pretrain_steps=0": "L1, curious",
    "ppo+inverse:mode=frozen": "S1", "ppo+noveld+inverse:mode=frozen": "S2", "ppo+noveld+inverse:mode=finetune": "S3",
    "ppo+noveld+inverse": "S4", "ppo+noveld+inverse:mode=finetune,shuffled=true": "S3, shuffled",
    "ppo+state": "U1", "ppo+state:shuffled=true": "U1, shuffled", "ppo+bc:labels=1024": "U4", "ppo+true_state": "P1",
}  # fmt: skip


def batches(further: bool) -> list[Batch]:
    return [Batch(file, file) for file in (DEFAULT + FURTHER if further else DEFAULT)]


def only_claimed(study: Study) -> Study | None:
    return only(study, lambda one: _label_claims.compared(world_name(one), arm_name(one.agent)))


def arm_name(agent: str) -> str:
    """The agent without what all learning arms of its world share: shifted pictures, shorter pre-training."""
    for shared in ("+cnn:shift=true", ",pretrain_steps=50000"):
        agent = agent.replace(shared, "")
    return agent


def letter(arm: str) -> str:
    """The arm's letter in docs/using.md; of cloning by its parts."""
    if arm in LETTERS:
        return LETTERS[arm]
    base = arm.partition(":")[0].partition("+")[0]
    if "shuffled=true" in arm:
        return "U2, shuffled"
    return "H1" if "+" in arm else {"bc": "U2", "dagger": "U3"}[base]


def world_name(experiment: Experiment) -> str:
    name = env_name(to_dict(experiment)).removeprefix("MiniGrid-").replace("-v0", "")
    return name.replace(":view=rgb", ", rendered")


def metric_of(experiment: Experiment) -> str:
    return "return" if experiment.world.id == "MarkovGrid-v0" else "success"


def result(root: Path, planned: Sequence[Batch]) -> dict[str, Any]:
    """All that the page says, from those planned runs below `root` that are finished."""
    arms = [arm for batch in planned for arm in arms_of(batch, root / batch.folder)]
    rows = [row_of(arm) for arm in arms]
    made = [read_json(one.versions_file) for arm in arms for _, one in arm if finished(one)]
    return {
        "command": COMMAND,
        "versions": made[0] if made else versions(),
        "commits": sorted({str(one["commit"]) for one in made}),
        "arms": rows,
        "ranks": _ranks.stability(
            {
                (row["world"], row["arm"]): dict(zip(row["seeds"], row["scores"], strict=True))
                for row in rows
                if row["arm"] not in REFERENCES
            }
        ),
        "crossings": crossings([one for arm in arms for _, one in arm if finished(one)]),
        "claims": [*_label_claims.judge(rows), _probe_ranks.judge(rows, _label_claims.WORLDS)],
    }


def crossings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """n* of every supervised curve at the level of the main self-taught arm, and its ratios, a row for each world."""
    return [
        {"world": world.env, "sentences": [one["text"] for one in found], "found": found}
        for world in crossing.worlds(runs)
        if (found := [one for one in (*crossing.crossings(world), *crossing.ratios(world)) if _at_main_level(one)])
    ]


def _at_main_level(found: dict[str, Any]) -> bool:
    return arm_name(found["self_taught"] or "") == _label_claims.SELF_TAUGHT


def row_of(arm: Sequence[tuple[Experiment, Run]]) -> dict[str, Any]:
    """`scores` in the order of `seeds`; intervals are IQMs with 95 % over seeds, costs and ledger means per run."""
    first, metric = arm[0][0], metric_of(arm[0][0])
    done = [(one.seed, run.result or {}) for one, run in arm if finished(run)]
    results = [found for _, found in done]
    scores = [round(found[metric]["mean"], 4) for found in results]
    name = arm_name(first.agent)
    return {
        "world": world_name(first),
        "arm": name,
        "letter": letter(name),
        "metric": metric,
        "planned": len(arm),
        "failed": sum(run.config_file.exists() and run.status == "failed" for _, run in arm),
        "seeds": [seed for seed, _ in done],
        "scores": scores,
        "score": summary(scores),
        "probes": _probed.probes([run for _, run in arm if finished(run)]),
        "coverage": summary([one["coverage"]["evaluation"] for one in results if one["coverage"]]),
        "curve": _label_curves.curve([run for _, run in arm if finished(run)], metric),
        "ledger": {
            kind: _mean([one["labels"][kind] for one in results])
            for kind in ("actions", "states", "rewards", "terminations")
        },
        "steps": _mean([one["steps"] for one in results]),
        "cpu_seconds": _mean([one["cost"]["cpu_seconds"] for one in results]),
        "privileged": sorted({told for one in results for told in one["privileged"]}),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 1) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all-arms", action="store_true", help="the further arms too")
    parser.add_argument("--result", action="store_true", help="train nothing: the result of what is finished")
    parser.add_argument("--jobs", type=int, help="runs at a time; by default one for each core")
    options = parser.parse_args()
    try:
        if not options.result:
            run(batches(options.all_arms), ROOT, options.jobs, COMMAND, only_claimed, _probed.probe)
    except SandboxError as error:
        sys.exit(f"stopped: {error}\nThe same command goes on; --result keeps what is finished.")
    write_json(RESULT, result(ROOT, batches(further=True)))
    print(RESULT)


if __name__ == "__main__":
    main()
