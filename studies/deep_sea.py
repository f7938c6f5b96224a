"""DeepSea by bsuite's rule: who finds the treasure within 10,000 episodes, and in which episode is it solved?

bsuite calls a size solved at the first episode at which less than nine tenths of all episodes so far were bad (left the
diagonal; in the deterministic world: missed the treasure). One setting for every arm and size: 16 copies, rollouts of
32 steps, and a table (the encoder `flat` with linear heads), since the meaning of an action is drawn anew for every
cell and there is nothing to generalise. The settings were found on size 20 with seeds 0 to 2; the reported ones begin
at 100.

    make study-deep-sea
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from studies import _run

EPISODES = 10_000
FIRST_SEED = 100
SETTINGS = {"n_steps": 32, "batch_size": 64, "n_epochs": 2, "learning_rate": 0.02, "ent_coef": 0.01, "clip_range": 0.2}
COPIES, WEIGHT = 16, 0.5


def train(size: int, bonus: str | None, seed: int) -> dict[str, Any]:
    """The episode at which bsuite's rule is first met (None: not within the budget), and the share of bad episodes."""
    import numpy as np
    from stable_baselines3.common.callbacks import BaseCallback

    from agents.encoders.flat import Flat
    from agents.learners.ppo import PPO
    from agents.vec_env import GymnasiumVecEnv
    from envs import vector
    from sandbox import registry

    class Count(BaseCallback):
        episodes, bad, solved = 0, 0, None

        def _on_step(self) -> bool:
            for i in np.flatnonzero(self.locals["dones"]):
                if self.episodes == EPISODES:
                    return False
                self.episodes += 1
                self.bad += not self.locals["infos"][i]["is_success"]
                if self.solved is None and self.bad < 0.9 * self.episodes:
                    self.solved = self.episodes
            return True

    intrinsic = registry.load("curiosity", bonus) if bonus else None
    network = {"features_extractor_class": Flat, "net_arch": [], "optimizer_kwargs": {"eps": 1e-5, "fused": True}}
    model = PPO(
        "MlpPolicy", GymnasiumVecEnv(vector.make("DeepSea-v0", COPIES, size=size)), seed=seed, device="cpu",
        intrinsic=intrinsic, intrinsic_weight=WEIGHT, policy_kwargs=network, **SETTINGS,
    )  # fmt: skip
    count = Count()
    model.learn((EPISODES + COPIES) * size, callback=count)
    arm = f"ppo+{bonus}" if bonus else "ppo"
    return {"size": size, "arm": arm, "seed": seed, "solved": count.solved, "bad": count.bad / count.episodes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 30])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    work = [
        (n, bonus, k)
        for n in options.sizes
        for bonus in (None, "counts", "rnd")
        for k in range(FIRST_SEED, FIRST_SEED + options.seeds)
    ]
    answers = _run.in_processes(train, work, options.jobs)
    rows = []
    for size, bonus, _ in dict.fromkeys((n, b, None) for n, b, _ in work):
        arm = f"ppo+{bonus}" if bonus else "ppo"
        solved = [a["solved"] for a in answers if (a["size"], a["arm"]) == (size, arm)]
        found = [episode for episode in solved if episode is not None]
        median = statistics.median(found) if found else None
        rows.append({"size": size, "arm": arm, "solved": len(found), "of": len(solved), "median_episode": median})
        print(rows[-1])
    content = {"rows": rows, "runs": answers, "settings": SETTINGS | {"copies": COPIES, "weight": WEIGHT}}
    print(_run.write("deep_sea", "make study-deep-sea", content))


if __name__ == "__main__":
    main()
