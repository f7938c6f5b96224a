"""Steps per second of MultiRoom-N6: the compiled world (64 copies, resets and last views included) and Minigrid.

Random actions, medians of five, in CPU seconds of one thread (other processes may hold the cores); only the ratio holds
on another machine. Set OMP_NUM_THREADS=1.

    python -m benchmarks.world_speed
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from envs.minigrid import make
from envs.minigrid.levels import new_env

ENV_ID, COPIES, CALLS, THEIR_STEPS, REPEATS = "MiniGrid-MultiRoom-N6-v0", 64, 10_000, 3_000, 5


def ours() -> list[float]:
    """Environment steps per second, one number a repeat."""
    world = make(ENV_ID, COPIES)
    world.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 7, (CALLS, COPIES))
    world.step(actions[0])  # compiles, or loads what was compiled
    speeds = []
    for _ in range(REPEATS):
        start = time.process_time()
        for action in actions:
            world.step(action)
        speeds.append(CALLS * COPIES / (time.process_time() - start))
    return speeds


def theirs() -> list[float]:
    """The same for one bare Minigrid environment, which is reset where an episode ends."""
    env = new_env(ENV_ID, {})
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 7, THEIR_STEPS).tolist()
    speeds = []
    for _ in range(REPEATS):
        start = time.process_time()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        speeds.append(THEIR_STEPS / (time.process_time() - start))
    return speeds


def main() -> None:
    fast, slow = statistics.median(ours()), statistics.median(theirs())
    print(f"{ENV_ID}, {COPIES} copies: {fast:,.0f} steps/s; Minigrid: {slow:,.0f} steps/s; ratio {fast / slow:,.0f}")


if __name__ == "__main__":
    main()
