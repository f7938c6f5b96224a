"""Training speed of the learner and its parts beside stable-baselines3 on the same batched world, one thread.

Only ratios within one run count. Interleaved: every contender once per round, five rounds, medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

ENV, COPIES, STEPS, ROLLOUTS, ROUNDS = "MiniGrid-MultiRoom-N4-S5-v0", 64, 128, 10, 5
SCHEDULE = {"n_steps": STEPS, "batch_size": 1024, "n_epochs": 2, "learning_rate": 2e-3, "device": "cpu"}
NETWORK = {"net_arch": [], "optimizer_kwargs": {"eps": 1e-5, "fused": True}}


def contender(bonus: str | None, objective: str | None) -> Any:
    """Our learner with our encoder."""
    from agents.encoders.symbolic import Symbolic
    from agents.learners.ppo import PPO
    from agents.vec_env import GymnasiumVecEnv
    from envs import vector
    from sandbox import registry

    intrinsic = registry.load("curiosity", bonus) if bonus else None
    loss = registry.load("objectives", objective) if objective else None
    env = GymnasiumVecEnv(vector.make(ENV, COPIES))
    network = NETWORK | {"features_extractor_class": Symbolic}
    return PPO("MultiInputPolicy", env, intrinsic=intrinsic, objective=loss, policy_kwargs=network, seed=0, **SCHEDULE)


def peer() -> Any:
    """SB3's PPO with its own extractor and a network of the same widths, on our batched world."""
    from stable_baselines3 import PPO

    from agents.vec_env import GymnasiumVecEnv
    from envs import vector

    env = GymnasiumVecEnv(vector.make(ENV, COPIES))
    return PPO("MultiInputPolicy", env, policy_kwargs={"net_arch": [128, 128]}, seed=0, **SCHEDULE)


def seconds(model: Any) -> float:
    """CPU-seconds of `ROLLOUTS` rollouts with their updates."""
    start = time.process_time()
    model.learn(ROLLOUTS * STEPS * COPIES)
    return time.process_time() - start


def main() -> None:
    import torch

    torch.set_num_threads(1)
    makers: dict[str, Callable[[], Any]] = {"SB3 ppo": peer, "ppo": lambda: contender(None, None)}
    for name in ("counts", "rnd", "noveld", "icm"):
        makers[f"ppo+{name}"] = lambda name=name: contender(name, None)  # type: ignore[misc]
    makers["ppo+noveld+inverse"] = lambda: contender("noveld", "inverse")
    models = {name: make() for name, make in makers.items()}
    for model in models.values():
        model.learn(STEPS * COPIES)  # compile and warm up
    spent: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            spent[name].append(seconds(model))
    base = statistics.median(spent["SB3 ppo"])
    print(f"{ENV}, {COPIES} copies, {STEPS} steps, one thread; CPU time, medians of {ROUNDS} interleaved rounds")
    for name, values in spent.items():
        median = statistics.median(values)
        speed = ROLLOUTS * STEPS * COPIES / median
        print(f"{name:22} {speed:10,.0f} steps/s   x{base / median:.2f}   spread {min(values):.2f}-{max(values):.2f} s")


if __name__ == "__main__":
    main()
