"""Levels: drawn by Minigrid itself, kept as arrays, split into training and evaluation ones, cached on disk.

Level i is what `env.reset(seed=s_i)` builds, with s_i from one fixed seed sequence; equal levels (grid, contents,
agent) are kept once. Two disjoint halves need enough different levels: some ids have 1 (Empty-8x8) or 3 (LavaGapS5),
and there both splits share them all. Unlike in Minigrid each *different* level is equally likely afterwards.

Levels are kept as they come, also those that nobody can solve: in version 0 of ObstructedMaze a ball may be put where
the box with a key was. Of 512 evaluation levels these are 30 in 2Dlhb-v0, 30 in 1Q-v0 and 15 in 2Q-v0, none in Full-v0
or any version 1 (`tests/envs/test_minigrid_levels.py` counts them): there success ends at 0.94, 0.94 and 0.97.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from envs.minigrid import IDS, missions
from envs.minigrid.codes import BOX, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, WALL, word_of
from envs.minigrid.tasks import RULE_OF_CLASS, Task, is_marked, obstacles_of, places_of, task_of

SCHEMA = 2  # of the cached file; raise it whenever words, seeds or the split change
SEED = 20261100  # of the sequence of level seeds
EVAL_MINIMUM = 32  # fewer evaluation levels than this are no test of generalisation
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Levels:
    """L starting states, whose cells are numbered y * width + x.

    grids [L, width * height] int32: words; bodies [L, 6] int64: x, y, direction, word in the hands, TARGET and OTHER
    (cells, or -1); missions [L, M] int64: tokens; obstacles [L, K] int64: cells, in the order in which they move.
    """

    grids: np.ndarray
    bodies: np.ndarray
    missions: np.ndarray
    obstacles: np.ndarray

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, index: np.ndarray | slice) -> Levels:
        return Levels(*(np.ascontiguousarray(getattr(self, field.name)[index]) for field in fields(self)))


@dataclass(frozen=True)
class Pool:
    """The levels of an id; `note` is "held-out (k)" with k evaluation levels, or "shared (k)"."""

    task: Task
    train: Levels
    evaluation: Levels
    note: str

    @cached_property
    def doors(self) -> int:
        """Most doors in any level."""
        kinds = [(levels.grids >> 3) & 15 for levels in (self.train, self.evaluation)]
        return max(int(np.isin(kind, (DOOR_OPEN, DOOR_CLOSED, DOOR_LOCKED)).sum(1).max()) for kind in kinds)


def load_pool(env_id: str, kwargs: dict[str, Any], levels: int, eval_levels: int) -> Pool:
    """The pool of `env_id`, from the cache where it holds an intact one, else generated (0.1 to 3 ms a level).

    Raises:
        ValueError: for an id outside `IDS`, sizes below 1, or a view that is not 7 x 7.
    """
    if env_id not in IDS:
        close = difflib.get_close_matches(env_id, IDS, n=3)
        raise ValueError(f"{env_id!r} is not a batched MiniGrid id; closest: {', '.join(close) or ', '.join(IDS)}")
    if min(levels, eval_levels) < 1:
        raise ValueError(f"levels and eval_levels must be at least 1, got {levels} and {eval_levels}")
    key = _key(env_id, kwargs, levels, eval_levels)
    path = cache_folder() / f"{env_id}-{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.npz"
    stored = _read(path, key)
    if stored is None:
        stored = generate(env_id, kwargs, levels + eval_levels)
        _write(path, key, *stored)
    return split(*stored, levels, eval_levels)


def generate(env_id: str, kwargs: dict[str, Any], wanted: int) -> tuple[Task, Levels]:
    """Up to `wanted` different levels, in the order of their seeds; ends early once new ones stop to turn up."""
    env = new_env(env_id, kwargs)
    task = task_of(env)
    if type(env).__name__ == "MultiRoomEnv":
        from envs.minigrid.rooms import quicken  # loads numba, which no other pool needs

        quicken(env)
    env.gen_obs = lambda: None  # the first view costs as much as a level and draws nothing
    found: dict[bytes, Levels] = {}
    fruitless = 0
    for seed in np.random.SeedSequence(SEED).generate_state(8 * wanted + 512):
        if len(found) == wanted or fruitless > 512 + 4 * len(found):
            break
        with suppress(RecursionError):  # Minigrid's own sign that it could not place something
            env.reset(seed=int(seed))
            level, before = level_of(env, task.rule), len(found)
            found.setdefault(level.grids.tobytes() + level.bodies.tobytes(), level)  # same wording or not
            fruitless = 0 if len(found) > before else fruitless + 1
    return task, Levels(*(np.concatenate(arrays) for arrays in zip(*map(arrays_of, found.values()), strict=True)))


def new_env(env_id: str, kwargs: dict[str, Any]) -> Any:
    """Minigrid's environment without Gymnasium's wrappers and warnings about newer versions of an id."""
    import gymnasium as gym
    import minigrid  # noqa: F401  (registers the ids)
    from gymnasium.envs.registration import load_env_creator

    spec = gym.spec(env_id)
    return load_env_creator(str(spec.entry_point))(**{**spec.kwargs, **kwargs})


def arrays_of(levels: Levels) -> tuple[np.ndarray, ...]:
    """grids, bodies, missions, obstacles."""
    return levels.grids, levels.bodies, levels.missions, levels.obstacles


def state_of(env: Any, rule: int) -> tuple[np.ndarray, np.ndarray]:
    """(grid [width * height] int32, body [6] int64) of an unwrapped Minigrid environment."""
    marked = partial(is_marked, env, rule)
    grid = np.zeros(env.width * env.height, np.int32)
    occupied = [(cell, word_of(thing, marked)) for cell, thing in enumerate(env.grid.grid) if thing is not None]
    if occupied:
        cells, words = zip(*occupied, strict=True)
        grid[list(cells)] = words
    x, y = env.agent_pos
    return grid, np.array([x, y, env.agent_dir, word_of(env.carrying, marked), *places_of(env, rule)], np.int64)


def level_of(env: Any, rule: int) -> Levels:
    """The present state of an unwrapped Minigrid environment, as one level."""
    grid, body = state_of(env, rule)
    obstacles = np.array(obstacles_of(env, rule), np.int64)
    return Levels(grid[None], body[None], missions.tokens(env.mission, rule)[None], obstacles[None])


def split(task: Task, levels: Levels, train_size: int, eval_size: int) -> Pool:
    """Disjoint training and evaluation levels where half of them make a fair test or all that were asked for are there,
    else the same ones for both."""
    # Levels found late are the rare ones: both splits must have their share of them.
    order = np.random.Generator(np.random.PCG64(SEED)).permutation(len(levels))
    if len(levels) < min(train_size + eval_size, 2 * min(EVAL_MINIMUM, eval_size)):
        fewer = levels[np.sort(order[:train_size])] if train_size < len(levels) else levels
        return Pool(task, fewer, levels, f"shared ({len(levels)})")
    held_out = min(eval_size, max(len(levels) - train_size, len(levels) // 2))
    train, evaluation = np.sort(order[held_out : held_out + train_size]), np.sort(order[:held_out])
    return Pool(task, levels[train], levels[evaluation], f"held-out ({held_out})")


# ---------------------------------------------------------------------- the cache


def cache_folder() -> Path:
    """`$SANDBOX_CACHE`/levels, or ~/.cache/dark-energy-sandbox/levels."""
    root = os.environ.get("SANDBOX_CACHE")
    return (Path(root) if root else Path("~/.cache/dark-energy-sandbox").expanduser()) / "levels"


def _key(env_id: str, kwargs: dict[str, Any], levels: int, eval_levels: int) -> str:
    parts = {"id": env_id, "kwargs": kwargs, "sizes": [levels, eval_levels], "schema": SCHEMA}
    return json.dumps(parts | {"minigrid": version("minigrid")}, sort_keys=True, default=repr)


def _read(path: Path, key: str) -> tuple[Task, Levels] | None:
    """What the file holds, or None where it is missing, damaged or about something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            facts, levels = file["task"], Levels(*(file[field.name] for field in fields(Levels)))
            if file["key"].tobytes() != key.encode():
                return None
        width, height, max_steps, see_through, rule = (int(fact) for fact in facts)
        task = Task(width, height, max_steps, bool(see_through), rule)
    except UNREADABLE:
        return None
    return (task, levels) if _is_sound(task, levels) else None


def _is_sound(task: Task, levels: Levels) -> bool:
    """Compiled code trusts these arrays with memory addresses, so it must not see others."""
    grids, bodies, cells = levels.grids, levels.bodies, task.width * task.height
    if task.rule not in RULE_OF_CLASS.values() or any(array.ndim != 2 for array in arrays_of(levels)):
        return False
    widths = (cells, 6, missions.LONGEST.get(task.rule, 0), levels.obstacles.shape[1])
    types = (np.int32, np.int64, np.int64, np.int64)
    for array, width, dtype in zip(arrays_of(levels), widths, types, strict=True):
        if array.shape != (len(grids), width) or array.dtype != dtype or len(grids) == 0:
            return False
    inside = (bodies[:, :3] >= 0) & (bodies[:, :3] < (task.width, task.height, 4))
    known = (levels.missions >= 0) & (levels.missions <= len(missions.WORDS))
    kinds, colours = (grids >> 3) & 15, grids & 7
    nested = (grids >> 8 == 0) | (kinds == BOX)
    placed = (bodies[:, 4:] >= -1) & (bodies[:, 4:] < cells)
    moved = (levels.obstacles >= 0) & (levels.obstacles < cells)
    whole = (inside, placed, moved, known, kinds <= WALL, colours < 6, grids >= 0, nested)
    return all(bool(part.all()) for part in whole)


def _write(path: Path, key: str, task: Task, levels: Levels) -> None:
    """Whole or not at all, so that processes that start together never read half a file; no folder, no cache."""
    facts = np.array(astuple(task), np.int64)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.savez_compressed(file, key=np.frombuffer(key.encode(), np.uint8), task=facts, **vars(levels))
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
