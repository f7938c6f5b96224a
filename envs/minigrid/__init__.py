"""MiniGrid, stepped N copies at a time by compiled code: Minigrid's own levels, views, rewards and end rules.

Speed is why: Minigrid itself runs at thousands of steps per second, this at millions, with nothing changed that an
agent can see (`benchmarks/parity.py` counts mismatches). Source: Chevalier-Boisvert et al. 2023, "Minigrid &
Miniworld", and the minigrid 3.2 package, which generates every level. Importing this module loads neither numba nor
minigrid.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from envs.minigrid.levels import Pool
    from envs.minigrid.world import MiniGridWorld

# A literal, so that it can be read without an import.
IDS = (
    "MiniGrid-Empty-5x5-v0",
    "MiniGrid-Empty-Random-5x5-v0",
    "MiniGrid-Empty-6x6-v0",
    "MiniGrid-Empty-Random-6x6-v0",
    "MiniGrid-Empty-8x8-v0",
    "MiniGrid-Empty-16x16-v0",
    "MiniGrid-FourRooms-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-DoorKey-6x6-v0",
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-DoorKey-16x16-v0",
    "MiniGrid-MultiRoom-N2-S4-v0",
    "MiniGrid-MultiRoom-N4-S5-v0",
    "MiniGrid-MultiRoom-N4-S5-v1",
    "MiniGrid-MultiRoom-N6-v0",
    "MiniGrid-MultiRoom-N7-S8-v0",
    "MiniGrid-MultiRoom-N10-S10-v0",
    "MiniGrid-MultiRoom-N12-S10-v0",
    "MiniGrid-SimpleCrossingS9N1-v0",
    "MiniGrid-SimpleCrossingS9N2-v0",
    "MiniGrid-SimpleCrossingS9N3-v0",
    "MiniGrid-SimpleCrossingS11N5-v0",
    "MiniGrid-LavaCrossingS9N1-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-LavaCrossingS9N3-v0",
    "MiniGrid-LavaCrossingS11N5-v0",
    "MiniGrid-LavaGapS5-v0",
    "MiniGrid-LavaGapS6-v0",
    "MiniGrid-LavaGapS7-v0",
    "MiniGrid-KeyCorridorS3R1-v0",
    "MiniGrid-KeyCorridorS3R2-v0",
    "MiniGrid-KeyCorridorS3R3-v0",
    "MiniGrid-KeyCorridorS4R3-v0",
    "MiniGrid-KeyCorridorS5R3-v0",
    "MiniGrid-KeyCorridorS6R3-v0",
    "MiniGrid-Unlock-v0",
    "MiniGrid-UnlockPickup-v0",
    "MiniGrid-LockedRoom-v0",
    "MiniGrid-BlockedUnlockPickup-v0",
    "MiniGrid-DistShift1-v0",
    "MiniGrid-DistShift2-v0",
    "MiniGrid-Dynamic-Obstacles-5x5-v0",
    "MiniGrid-Dynamic-Obstacles-Random-5x5-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
    "MiniGrid-Dynamic-Obstacles-Random-6x6-v0",
    "MiniGrid-Dynamic-Obstacles-8x8-v0",
    "MiniGrid-Dynamic-Obstacles-16x16-v0",
    "MiniGrid-Fetch-5x5-N2-v0",
    "MiniGrid-Fetch-6x6-N2-v0",
    "MiniGrid-Fetch-8x8-N3-v0",
    "MiniGrid-GoToDoor-5x5-v0",
    "MiniGrid-GoToDoor-6x6-v0",
    "MiniGrid-GoToDoor-8x8-v0",
    "MiniGrid-GoToObject-6x6-N2-v0",
    "MiniGrid-GoToObject-8x8-N2-v0",
    "MiniGrid-MemoryS7-v0",
    "MiniGrid-MemoryS9-v0",
    "MiniGrid-MemoryS11-v0",
    "MiniGrid-MemoryS13-v0",
    "MiniGrid-MemoryS13Random-v0",
    "MiniGrid-MemoryS17Random-v0",
    "MiniGrid-ObstructedMaze-1Dl-v0",
    "MiniGrid-ObstructedMaze-1Dlh-v0",
    "MiniGrid-ObstructedMaze-1Dlhb-v0",
    "MiniGrid-ObstructedMaze-2Dl-v0",
    "MiniGrid-ObstructedMaze-2Dlh-v0",
    "MiniGrid-ObstructedMaze-2Dlhb-v0",
    "MiniGrid-ObstructedMaze-2Dlhb-v1",
    "MiniGrid-ObstructedMaze-1Q-v0",
    "MiniGrid-ObstructedMaze-1Q-v1",
    "MiniGrid-ObstructedMaze-2Q-v0",
    "MiniGrid-ObstructedMaze-2Q-v1",
    "MiniGrid-ObstructedMaze-Full-v0",
    "MiniGrid-ObstructedMaze-Full-v1",
    "MiniGrid-Playground-v0",
    "MiniGrid-PutNear-6x6-N2-v0",
    "MiniGrid-PutNear-8x8-N3-v0",
    "MiniGrid-RedBlueDoors-6x6-v0",
    "MiniGrid-RedBlueDoors-8x8-v0",
)

# Minigrid's other ids, which Minigrid itself steps, one copy after the other; and why. A literal, too.
NOT_BATCHED = {
    "its levels cannot be drawn, as the minigrid 3.2.0 wheel lacks the pictures in envs/wfc/patterns": (
        "MiniGrid-WFC-DungeonMazeScaled-v0",
        "MiniGrid-WFC-MazeSimple-v0",
        "MiniGrid-WFC-ObstaclesAngular-v0",
        "MiniGrid-WFC-ObstaclesBlackdots-v0",
        "MiniGrid-WFC-ObstaclesHogs3-v0",
        "MiniGrid-WFC-RoomsFabric-v0",
    ),
}


def make(
    env_id: str,
    num_envs: int,
    *,
    split: Literal["train", "eval"] = "train",
    levels: int = 4096,
    eval_levels: int = 512,
    emit_labels: bool = False,
    view: Literal["partial", "full", "rgb"] = "partial",
    tile_size: int = 8,
    **kwargs: Any,
) -> MiniGridWorld:
    """N copies of one of `IDS`.

    Args:
        env_id: an id of `IDS`.
        num_envs: number of copies N.
        split: "train" draws levels at random, "eval" goes through the evaluation levels in order.
        levels: at most so many different training levels.
        eval_levels: at most so many different evaluation levels.
        emit_labels: put the ground truth into `infos["labels"]`.
        view: what `image` shows, see `envs.minigrid.views`.
        tile_size: pixels of a cell in the view "rgb".
        kwargs: arguments of Minigrid's own class (`max_steps`, `size` ...).

    Raises:
        ValueError: for an id outside `IDS`, an unknown split or view, or an `agent_view_size` that is not 7.
    """
    from envs.minigrid.world import MiniGridWorld

    pool = _pool(env_id, levels, eval_levels, tuple(sorted(kwargs.items())))
    return MiniGridWorld(pool, num_envs, split=split, emit_labels=emit_labels, view=view, tile_size=tile_size)


@functools.lru_cache(maxsize=4)
def _pool(env_id: str, levels: int, eval_levels: int, kwargs: tuple[tuple[str, Any], ...]) -> Pool:
    """Kept, because a run makes two worlds of one pool, and a study's workers inherit it."""
    from envs.minigrid.levels import load_pool

    return load_pool(env_id, dict(kwargs), levels, eval_levels)


def mirror(env: Any, **view: Any) -> MiniGridWorld:
    """A one-copy world in exactly the state of the Minigrid environment `env`; see `envs.minigrid.mirroring`."""
    from envs.minigrid.mirroring import mirror_of

    return mirror_of(env, **view)
