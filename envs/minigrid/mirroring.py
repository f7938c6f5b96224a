"""A mirror continues where a Minigrid environment stands: it is how parity is measured, and how a plan is asked for
in someone else's episode.

The mirror has one copy and one level: the mirrored state. An automatic reset, or `reset`, therefore returns to that
state (its grid, pose and hands) with no steps taken, whereas Minigrid would draw a new level.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.minigrid.levels import Pool, level_of
from envs.minigrid.physics import STEPS
from envs.minigrid.tasks import task_of
from envs.minigrid.world import MiniGridWorld


def mirror_of(env: Any, *, view: str = "partial", tile_size: int = 8) -> MiniGridWorld:
    """A `MiniGridWorld` of one copy in the state of `env` (wrapped or not), which must have been reset.

    The environment itself is left alone. Go on with `advance`, which does not reset at an episode's end. Obstacles that
    move by chance move as in `env` only if that draws from the mirror's `SameDraws`.

    Raises:
        ValueError: if the environment's class is not batched (the message names those that are), its view is not
            7 x 7, or it holds more than three nested objects.
    """
    env = env.unwrapped
    task = task_of(env)
    level = level_of(env, task.rule)
    world = MiniGridWorld(Pool(task, level, level, "shared (1)"), 1, split="eval", view=view, tile_size=tile_size)
    world.reset(seed=0)
    world.bodies[0, STEPS] = world.episode_lengths[0] = env.step_count
    return world


class SameDraws:
    """The random source that makes Minigrid's obstacles move as those of `world` (one copy), which it seeds.

    Put it in the place of `env.np_random` and call `next_step` before each step. Minigrid asks for a column and a row
    of the 3 x 3 around an obstacle; both are read off one output of SplitMix64, as `envs.minigrid.physics.stir` does.
    """

    def __init__(self, world: MiniGridWorld, seed: int) -> None:
        world.reseed(seed)
        self.words = np.random.Generator(np.random.PCG64(seed))
        self.state, self.row = 0, -1

    def next_step(self) -> None:
        """The world will draw one word for its next step; so does this."""
        self.state, self.row = int(self.words.integers(2**64, size=1, dtype=np.uint64)[0]), -1

    def integers(self, low: int, high: int) -> int:
        """Column and row in turn, each in [low, high)."""
        if high - low != 3:
            raise ValueError(f"obstacles draw from three columns or rows, not from {low}..{high - 1}")
        if self.row >= 0:
            row, self.row = self.row, -1
            return low + row
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        mixed = (self.state ^ self.state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
        self.row, column = divmod(((mixed ^ mixed >> 31) >> 32) * 9 >> 32, 3)
        return low + column
