"""What labels are worth: run the missing runs, then turn the finished ones into studies/results/labels.json.

The runs are those of studies/labels*.toml, below runs/labels. What the claims compare gets its first five seeds first,
then all get five before any gets ten. An arm's
letter is that of docs/using.md. Pictures are shifted in every arm that learns, and its name leaves that out.

The score of a run is success of the final policy on unseen levels; in MarkovGrid, where only
slowness costs, its return. Before its checkpoint is deleted a run is probed as by `sandbox probe`. What the result says
comes from the records of the runs (`_records.py`), which are committed.

    make study-labels                         the default arms, then the result and its page
    make study-labels-all                     the further arms too
    python -m studies.labels --result         the result of what is finished so far
    python -m studies.labels --device cuda    what is missing, on a GPU: what the worlds of pictures are for
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.analyses import crossing
from sandbox.analyses._arms import Snapshot, env_name
from sandbox.config import Experiment, to_dict
from sandbox.errors import SandboxError
from sandbox.files import read_json, write_json
from sandbox.runs import Run
from sandbox.versions import versions
from studies import _label_claims, _label_curves, _other_claims, _probe_ranks, _probed, _ranks, _two_by_two
from studies._batches import Batch, every, failed, run, summary
from studies._records import Records, carry, commits, keep, name_of

HERE = Path(__file__).parent
COMMAND = "make study-labels"
ROOT = Path("runs") / "labels"
RESULT, RECORDS = HERE / "results" / "labels.json", HERE / "results" / "labels_runs.jsonl"
DEFAULT = ("labels", "labels_pixels", "labels_rendered")
FURTHER = (
    "labels_all", "labels_all_pixels", "labels_all_rendered",
    "labels_data", "labels_data_pixels", "labels_data_rendered",
)  # fmt: skip
MSA, JEPA = (HERE / "results" / f"{name}.json" for name in ("msa", "jepa"))
REFERENCES = ("random", "oracle")
MAIN = _label_claims.SELF_TAUGHT
LEVELS = (MAIN, _label_claims.AUXILIARY, _label_claims.FROZEN, "ppo+noveld")  # no label; S3, S4, S2, R3
LETTERS = {
    "random": "L0", "oracle": "O", "ppo": "R1", "ppo+noveld": "R3",
    "ppo+inverse:mode=frozen,pretrain_steps=0": "L1", "ppo+noveld+inverse:mode=frozen,pretrain_steps=0": "L1, curious",
    "ppo+pca": "L2",
    "ppo+inverse:mode=frozen": "S1", "ppo+noveld+inverse:mode=frozen": "S2", "ppo+noveld+inverse:mode=finetune": "S3",
    "ppo+noveld+inverse": "S4", "ppo+noveld+inverse:mode=finetune,shuffled=true": "S3, shuffled",
    "ppo+state": "U1", "ppo+state:shuffled=true": "U1, shuffled", "ppo+bc:labels=1024": "U4", "ppo+true_state": "P1",
}  # fmt: skip


@cache
def batches(further: bool, device: str = "cpu") -> tuple[Batch, ...]:
    return tuple(Batch(file, file, (f"device={device}",)) for file in (DEFAULT + FURTHER if further else DEFAULT))


def wanted(_kept: Records, first: bool) -> Callable[[Experiment], bool]:
    """First what the claims compare."""
    return lambda one: not first or _label_claims.compared(world_name(one), arm_of(one))


def recorded(device: str = "cpu") -> Records:
    """What is kept of every planned run that is finished, here on `device` or before."""
    return keep(RECORDS, ROOT, every(batches(True, device)), record)


def record(experiment: Experiment, run_: Run) -> dict[str, Any]:
    """What the analyses read of a run's result, its probes, and its evaluations during training."""
    found = run_.result or {}
    scores = {name: found[name] and round(found[name]["mean"], 4) for name in ("success", "return")}
    told = {name: found[name] for name in ("steps", "labels", "privileged")}
    return {
        **scores, **told, "episodes": found["evaluation"]["episodes"],
        "coverage": found["coverage"] and round(found["coverage"]["evaluation"], 4),
        "cpu_seconds": round(found["cost"]["cpu_seconds"], 1),
        "probes": _probed.probed(run_), "controls": _probed.controls(run_), "diagnosis": _probed.diagnosed(run_),
        "curve": _label_curves.evaluations(run_, metric_of(experiment)),
    }  # fmt: skip


def arm_name(agent: str) -> str:
    """The agent without what all learning arms of its world share: shifted pictures, shorter pre-training."""
    for shared in ("+cnn:shift=true", ",pretrain_steps=50000"):
        agent = agent.replace(shared, "")
    return agent


def arm_of(experiment: Experiment) -> str:
    """The arm's name; of an agent whose bonus begins only after the pre-training with what that makes of it."""
    return arm_name(experiment.agent) + ("" if _same_bonus_throughout(experiment) else _label_claims.RANDOM_DATA)


def _same_bonus_throughout(experiment: Experiment) -> bool:
    return isinstance(experiment.learner.intrinsic_weight, float)


def letter(arm: str) -> str:
    """The arm's letter in docs/using.md; of cloning by its parts."""
    if arm.endswith(_label_claims.RANDOM_DATA):
        return f"{LETTERS[arm.removesuffix(_label_claims.RANDOM_DATA)]}, random data"
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


def result(kept: Records, planned: Sequence[Batch]) -> dict[str, Any]:
    """All that the page says, from what is kept of the planned runs."""
    arms = [(batch, arm) for batch in planned for arm in batch.arms]
    rows = [row_of(batch, arm, kept) for batch, arm in arms]
    carry(rows, RESULT, ("coverage", "curve"))
    made = commits(kept, every(planned))
    runs = [
        snapshot(one, kept[name])
        for folder, one in every(planned)
        if (name := name_of(folder, one)) in kept and _same_bonus_throughout(one)
    ]
    return {
        "command": COMMAND,
        "versions": versions() | ({"commit": made[-1]} if made else {}),
        "commits": made,
        "on_gpu": sum("device" in one for one in kept.values()),
        "arms": rows,
        "ranks": _ranks.stability(
            {
                (row["world"], row["arm"]): dict(zip(row["seeds"], row["scores"], strict=True))
                for row in rows
                if row["arm"] not in REFERENCES
            }
        ),
        "crossings": crossings(runs),
        "two_by_two": _two_by_two.effects(rows, _label_claims.WORLDS),
        "claims": claims_of(rows),
    }


def claims_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All claims in order; 1, 2 and 5 rest on results of other studies, where these are there."""
    published = _other_claims.msa_claims(read_json(MSA)) if MSA.exists() else []
    terms = [_other_claims.jepa_claim(read_json(JEPA))] if JEPA.exists() else []
    return [*published, *_label_claims.judge(rows), *terms, _probe_ranks.judge(rows, _label_claims.WORLDS)]


def snapshot(experiment: Experiment, kept: dict[str, Any]) -> Snapshot:
    """The run as the crossing reads it."""
    scores = {name: None if kept[name] is None else {"mean": kept[name]} for name in ("success", "return")}
    told = {"labels": kept["labels"], "evaluation": {"episodes": kept["episodes"]}}
    return Snapshot(Path("records"), to_dict(experiment), "done", scores | told)


def crossings(runs: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """n* of every supervised curve at the levels of the self-taught arms, a row for each world.

    `sentences` are of the main arm, S3, with its ratios; of each level is told how often its arm saw the reward.
    """
    return [
        {"world": world.env, "sentences": [one["text"] for one in found if _arm(one) == MAIN],
         "found": [one | {"letter": LETTERS[_arm(one)], "rewards": _rewards(one, runs)} for one in found]}
        for world in crossing.worlds(runs)
        if (found := [one for one in (*crossing.crossings(world), *crossing.ratios(world)) if _arm(one) in LEVELS])
    ]  # fmt: skip


def _arm(found: dict[str, Any]) -> str:
    return arm_name(found["self_taught"] or "")


def _rewards(found: dict[str, Any], runs: Sequence[Snapshot]) -> float | None:
    """Mean number of reward evaluations that a run of the self-taught arm saw."""
    of = [one for one in runs if (env_name(one.config), one.config["agent"]) == (found["env"], found["self_taught"])]
    return _mean([one.result["labels"]["rewards"] for one in of if one.result])


def row_of(batch: Batch, arm: Sequence[Experiment], kept: Records) -> dict[str, Any]:
    """`scores` in the order of `seeds`; intervals are IQMs with 95 % over seeds, costs and ledger means per run."""
    first, metric = arm[0], metric_of(arm[0])
    done = {one.seed: kept[name] for one in arm if (name := name_of(batch.folder, one)) in kept}
    runs = list(done.values())
    name, scores = arm_of(first), [one[metric] for one in runs]
    return {
        "world": world_name(first),
        "arm": name,
        "letter": "R2" if name == "ppo" != first.agent else letter(name),  # with augmentation
        "metric": metric,
        "planned": len(arm),
        "failed": failed(ROOT, batch.folder, arm),
        "seeds": list(done),
        "scores": scores,
        "score": summary(scores),
        "probes": _probed.probes([one["probes"] for one in runs]),
        "controls": next((told for one in runs if (told := one.get("controls"))), {}),
        "diagnoses": [told for one in runs if (told := one.get("diagnosis"))],
        "coverage": summary([one["coverage"] for one in runs if one["coverage"] is not None]),
        "curve": _label_curves.curve(runs),
        "ledger": {
            kind: _mean([one["labels"][kind] for one in runs])
            for kind in ("actions", "states", "rewards", "terminations")
        },
        "steps": _mean([one["steps"] for one in runs]),
        "cpu_seconds": _mean([one["cpu_seconds"] for one in runs]),
        "privileged": sorted({told for one in runs for told in one["privileged"]}),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 1) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all-arms", action="store_true", help="the further arms too")
    parser.add_argument("--result", action="store_true", help="train nothing: the result of what is finished")
    parser.add_argument("--jobs", type=int, help="runs at a time; by default one for each core")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for what is missing")
    options = parser.parse_args()
    kept = partial(recorded, options.device)
    try:
        if not options.result:
            planned = batches(options.all_arms, options.device)
            run(planned, ROOT, options.jobs, COMMAND, wanted, kept, _probed.probe)
    except SandboxError as error:
        sys.exit(f"stopped: {error}\nThe same command goes on; --result keeps what is finished.")
    write_json(RESULT, result(kept(), batches(further=True)))
    print(RESULT)


if __name__ == "__main__":
    main()
