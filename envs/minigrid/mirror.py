"""A mirror continues where a Minigrid environment stands: it is how parity is measured, and how a plan is asked for
in someone else's episode.

The mirror has one copy and one level: the mirrored state. An automatic reset, or `reset`, therefore returns to that
state (its grid, pose and hands) with no steps taken, whereas Minigrid would draw a new level.
"""

from __future__ import annotations

from typing import Any

from envs.minigrid.levels import Pool, level_of
from envs.minigrid.physics import STEPS
from envs.minigrid.tasks import task_of
from envs.minigrid.world import MiniGridWorld


def mirror_of(env: Any, *, view: str = "partial", tile_size: int = 8) -> MiniGridWorld:
    """A `MiniGridWorld` of one copy in the state of `env` (wrapped or not), which must have been reset.

    The environment itself is left alone. Go on with `advance`, which does not reset at an episode's end.

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
