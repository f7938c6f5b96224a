"""bsuite's DeepSea experiments, deterministic and stochastic: the share of sizes that an agent solves.

bsuite (experiments/deep_sea/sweep.py and analysis.py) runs the sizes 10, 12, ..., 50 for 10,000 episodes each and calls
a size solved at the first episode at which less than nine tenths of all episodes so far were bad (left the diagonal);
in the stochastic form less than eight tenths, from episode 100 on. The score is the share of sizes that are solved
before episode 2^N + 100: sooner than by acting at random.

One setting for every arm, size and form: 16 copies, rollouts of 32 steps, and a table (the encoder `flat` with linear
heads), since the meaning of an action is drawn anew for every cell and there is nothing to generalise. It was found on
size 20 of the deterministic form with seeds 0 to 2; reported seeds begin at 100. A run ends with its size solved.

    make study-deep-sea
    python -m studies.deep_sea --forms stochastic --sizes 10 20 --seeds 1 --dry-run     what that would be
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from studies import _run
from studies._batches import summary

EPISODES = 10_000
FIRST_SEED = 100
SIZES = tuple(range(10, 51, 2))
FORMS = ("deterministic", "stochastic")
BONUSES = (None, "counts", "rnd")
SETTINGS = {"n_steps": 32, "batch_size": 64, "n_epochs": 2, "learning_rate": 0.02, "ent_coef": 0.01, "clip_range": 0.2}
COPIES, WEIGHT = 16, 0.5


def beats_chance(size: int, solved_after: int) -> bool:
    """Was it solved (0: it was not) within bsuite's episodes, and sooner than uniformly random actions would?"""
    return 0 < solved_after <= EPISODES and solved_after < 2**size + 100


def train(form: str, size: int, bonus: str | None, seed: int) -> dict[str, Any]:
    """The episode at which the size was solved (0: not within the budget), and all episodes until then."""
    from stable_baselines3.common.callbacks import BaseCallback

    from agents.encoders.flat import Flat
    from agents.learners.ppo import PPO
    from agents.vec_env import GymnasiumVecEnv
    from envs import vector
    from sandbox import registry

    world: Any = vector.make("DeepSea-v0", COPIES, size=size, stochastic=form == "stochastic")

    class UntilSolved(BaseCallback):
        def _on_step(self) -> bool:
            told = world.exploration()
            return not told["solved_after"] and told["episodes"] < EPISODES

    intrinsic = registry.load("curiosity", bonus) if bonus else None
    network = {"features_extractor_class": Flat, "net_arch": [], "optimizer_kwargs": {"eps": 1e-5, "fused": True}}
    model = PPO(
        "MlpPolicy", GymnasiumVecEnv(world), seed=seed, device="cpu",
        intrinsic=intrinsic, intrinsic_weight=WEIGHT, policy_kwargs=network, **SETTINGS,
    )  # fmt: skip
    model.learn((EPISODES + COPIES) * size, callback=UntilSolved())
    told, arm = world.exploration(), f"ppo+{bonus}" if bonus else "ppo"
    counted = {"episodes": int(told["episodes"]), "solved": int(told["solved_after"])}
    return {"form": form, "size": size, "arm": arm, "seed": seed} | counted


def row(form: str, arm: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """bsuite's score of each seed and its IQM; of each size, how many seeds beat chance and their median episode."""
    seeds, sizes = (sorted({run[key] for run in runs}) for key in ("seed", "size"))
    good = [run for run in runs if beats_chance(run["size"], run["solved"])]
    scores = [round(sum(run["seed"] == seed for run in good) / len(sizes), 4) for seed in seeds]
    found = {size: [run["solved"] for run in good if run["size"] == size] for size in sizes}
    told = {size: {"n": len(at), "episode": statistics.median(at) if at else None} for size, at in found.items()}
    return {"form": form, "arm": arm, "seeds": seeds, "scores": scores, "score": summary(scores), "sizes": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 100 on")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true", help="say what would be run")
    options = parser.parse_args()
    work = [
        (form, size, bonus, seed)
        for form in options.forms
        for bonus in BONUSES
        for size in options.sizes
        for seed in range(FIRST_SEED, FIRST_SEED + options.seeds)
    ]
    if options.dry_run:
        steps = sum(size * EPISODES for _, size, _, _ in work)
        print(f"{len(work)} runs, {steps:,} steps at most; first: {work[0]}")
        return
    answers = _run.in_processes(train, work, options.jobs)
    arms = dict.fromkeys((run["form"], run["arm"]) for run in answers)
    rows = [row(*arm, [run for run in answers if (run["form"], run["arm"]) == arm]) for arm in arms]
    content = {"rows": rows, "runs": answers, "settings": SETTINGS | {"copies": COPIES, "weight": WEIGHT}}
    print(_run.write("deep_sea", "make study-deep-sea", content))


if __name__ == "__main__":
    main()
