"""Levels: drawn by Minigrid itself, kept as arrays, split into training and evaluation ones, cached on disk.

Level i is what `env.reset(seed=s_i)` builds, with s_i from one fixed seed sequence; equal levels (grid, contents,
agent) are kept once. Two disjoint halves need enough different levels: some ids have 1 (Empty-8x8) or 3 (LavaGapS5),
and there both splits share them all. Unlike in Minigrid each *different* level is equally likely afterwards.
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
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from envs.minigrid import IDS
from envs.minigrid.codes import BOX, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, WALL, word_of
from envs.minigrid.tasks import RULE_OF_CLASS, Task, marked_object, task_of

SCHEMA = 1  # of the cached file; raise it whenever words, seeds or the split change
SEED = 20261100  # of the sequence of level seeds
EVAL_MINIMUM = 32  # fewer evaluation levels than this are no test of generalisation
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Levels:
    """L starting states: grids [L, width * height] int32 words, row by row; bodies [L, 4] int64 (x, y, direction,
    word in the hands)."""

    grids: np.ndarray
    bodies: np.ndarray

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, index: np.ndarray | slice) -> Levels:
        return Levels(np.ascontiguousarray(self.grids[index]), np.ascontiguousarray(self.bodies[index]))


@dataclass(frozen=True)
class Pool:
    """The levels of an id; `note` is "held-out (k)" with k evaluation levels, or "shared (k)"."""

    task: Task
    train: Levels
    evaluation: Levels
    note: str

    @property
    def doors(self) -> int:
        """Most doors in any level."""
        kinds = [(levels.grids >> 3) & 15 for levels in (self.train, self.evaluation)]
        return max(int(np.isin(kind, (DOOR_OPEN, DOOR_CLOSED, DOOR_LOCKED)).sum(1).max()) for kind in kinds)


def load_pool(env_id: str, kwargs: dict[str, Any], levels: int, eval_levels: int) -> Pool:
    """The pool of `env_id`, from the cache where it holds an intact one, else generated (0.1 to 1 ms a level).

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
    env.gen_obs = lambda: None  # the first view costs as much as a level and draws nothing
    found: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    fruitless = 0
    for seed in np.random.SeedSequence(SEED).generate_state(8 * wanted + 512):
        if len(found) == wanted or fruitless > 512 + 4 * len(found):
            break
        with suppress(RecursionError):  # Minigrid's own sign that it could not place something
            env.reset(seed=int(seed))
            grid, body = state_of(env, task.rule)
            before = len(found)
            found.setdefault(grid.tobytes() + body.tobytes(), (grid, body))
            fruitless = 0 if len(found) > before else fruitless + 1
    grids, bodies = zip(*found.values(), strict=True)
    return task, Levels(np.stack(grids), np.stack(bodies))


def new_env(env_id: str, kwargs: dict[str, Any]) -> Any:
    """Minigrid's environment without Gymnasium's wrappers and warnings about newer versions of an id."""
    import gymnasium as gym
    import minigrid  # noqa: F401  (registers the ids)
    from gymnasium.envs.registration import load_env_creator

    spec = gym.spec(env_id)
    return load_env_creator(str(spec.entry_point))(**{**spec.kwargs, **kwargs})


def state_of(env: Any, rule: int) -> tuple[np.ndarray, np.ndarray]:
    """(grid [width * height] int32, body [4] int64) of an unwrapped Minigrid environment."""
    marked = marked_object(env, rule)
    grid = np.zeros(env.width * env.height, np.int32)
    occupied = [(cell, word_of(thing, marked)) for cell, thing in enumerate(env.grid.grid) if thing is not None]
    if occupied:
        cells, words = zip(*occupied, strict=True)
        grid[list(cells)] = words
    x, y = env.agent_pos
    return grid, np.array([x, y, env.agent_dir, word_of(env.carrying, marked)], np.int64)


def split(task: Task, levels: Levels, train_size: int, eval_size: int) -> Pool:
    """Disjoint training and evaluation levels where half of them make a fair test, else the same ones for both."""
    if len(levels) < 2 * min(EVAL_MINIMUM, eval_size):
        return Pool(task, levels, levels, f"shared ({len(levels)})")
    # Levels found late are the rare ones: both splits must have their share of them.
    order = np.random.Generator(np.random.PCG64(SEED)).permutation(len(levels))
    held_out = min(eval_size, len(levels) // 2)
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
            facts, grids, bodies = file["task"], file["grids"], file["bodies"]
            if file["key"].tobytes() != key.encode():
                return None
        width, height, max_steps, see_through, rule = (int(fact) for fact in facts)
        task = Task(width, height, max_steps, bool(see_through), rule)
    except UNREADABLE:
        return None
    return (task, Levels(grids, bodies)) if _is_sound(task, grids, bodies) else None


def _is_sound(task: Task, grids: np.ndarray, bodies: np.ndarray) -> bool:
    """Compiled code trusts these arrays with memory addresses, so it must not see others."""
    shapes = (len(bodies), task.width * task.height) == grids.shape and bodies.shape[1:] == (4,) and len(bodies) > 0
    if not shapes or grids.dtype != np.int32 or bodies.dtype != np.int64 or task.rule not in RULE_OF_CLASS.values():
        return False
    inside = (bodies[:, :3] >= 0) & (bodies[:, :3] < (task.width, task.height, 4))
    kinds, colours = (grids >> 3) & 15, grids & 7
    nested = (grids >> 8 == 0) | (kinds == BOX)
    return bool(inside.all() and (kinds <= WALL).all() and (colours < 6).all() and (grids >= 0).all() and nested.all())


def _write(path: Path, key: str, task: Task, levels: Levels) -> None:
    """Whole or not at all, so that processes that start together never read half a file; no folder, no cache."""
    facts = np.array(astuple(task), np.int64)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.savez_compressed(
                file, key=np.frombuffer(key.encode(), np.uint8), task=facts, grids=levels.grids, bodies=levels.bodies
            )
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
