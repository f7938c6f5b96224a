"""The one-copy face: a reset without a seed ends an episode as an automatic reset would."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

import envs  # noqa: F401  registers the ids
from envs import vector


def grid_of(env: Any) -> bytes:
    return env.unwrapped.world.grids.tobytes()


def test_evaluation_levels_come_one_after_the_other() -> None:
    env: Any = gym.make("envs:NoisyTV-MultiRoom-N4-S5-v0", split="eval", levels=8, eval_levels=8)
    drawn = []
    env.reset(seed=0)
    for _ in range(4):
        drawn.append(int(env.unwrapped.world.drawn[0]))
        env.reset()
    assert drawn == [0, 1, 2, 3]
    env.reset(seed=0)
    assert env.unwrapped.world.drawn[0] == 0


def test_what_is_counted_goes_on_until_a_seed_is_given() -> None:
    env: Any = gym.make("envs:DeepSea-v0", size=4)
    env.reset(seed=0)
    for _ in range(3):
        for _ in range(4):
            env.step(1)
        env.reset()
    assert env.unwrapped.world.exploration()["episodes"] == 3
    env.reset(seed=1)
    assert env.unwrapped.world.exploration()["episodes"] == 0


def test_the_module_that_registers_an_id_may_be_named() -> None:
    for name in ("minigrid:MiniGrid-Fetch-5x5-N2-v0", "envs:MiniGrid-Fetch-5x5-N2-v0", "MiniGrid-Fetch-5x5-N2-v0"):
        assert vector.is_batched(name)
        world: Any = vector.make(name, 2, levels=8, eval_levels=8)
        assert "mission" in world.single_observation_space.spaces
        assert np.all(
            world.reset(seed=0)[0]["mission"]
            == vector.make(name, 2, levels=8, eval_levels=8).reset(seed=0)[0]["mission"]
        )
