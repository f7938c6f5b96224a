"""Ground truth of a MiniGrid world: what its grid, its bodies and its task know, name -> [N, ...].

position          (x, y) of the agent
direction         0 right, 1 down, 2 left, 3 up
carrying          0 nothing, else 1 + 6 * (0 key, 1 ball, 2 box) + colour
distance_to_goal  the number of actions in the oracle's plan (0 done, -1 no way); not where there is no oracle. Where
                  a last action ends the task (GoToDoor, GoToObject, PutNear) it is not 0 after that
door_states       0 open, 1 closed, 2 locked, 3 no such door; doors row by row; not where no level has a door
target            (x, y) of the place to go to (GoTo, Memory), to put something near (PutNear), of the red door
wanted            what to fetch (Fetch) or to move (PutNear), coded as `carrying`
obstacles         x, y of each moving ball in turn (DynamicObstacles)

Beside the labels, one number stands for the whole state: `state_keys`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from envs.compiled import njit
from envs.minigrid.codes import BOX, COLOURS, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, KEY, MARK
from envs.minigrid.physics import DIRECTION, HANDS, OTHER, PAD, PITCH, POSITION, TARGET
from envs.minigrid.tasks import AVOID, FETCH, GO_TO, MEMORY, OPEN_IN_ORDER, PUT_NEAR
from envs.splitmix import GOLDEN, mixed

if TYPE_CHECKING:
    from envs.minigrid.world import MiniGridWorld

WITH_TARGET = (GO_TO, PUT_NEAR, OPEN_IN_ORDER, MEMORY)
WITH_WANTED = (FETCH, PUT_NEAR)
THINGS = 1 + 3 * len(COLOURS)
ABSENT = 3  # a door state: this level has fewer doors


def spaces_of(world: MiniGridWorld) -> dict[str, spaces.Space]:
    """name -> Discrete or MultiDiscrete (classes), or Box (numbers)."""
    size, rule = [world.task.width, world.task.height], world.task.rule
    found: dict[str, spaces.Space] = {
        "position": spaces.MultiDiscrete(size),
        "direction": spaces.Discrete(4),
        "carrying": spaces.Discrete(THINGS),
    }
    if world.has_oracle:
        found["distance_to_goal"] = spaces.Box(-1, np.inf, (), np.float32)
    if world.doors:
        found["door_states"] = spaces.MultiDiscrete([ABSENT + 1] * world.doors)
    if rule in WITH_TARGET:
        found["target"] = spaces.MultiDiscrete(size)
    if rule in WITH_WANTED:
        found["wanted"] = spaces.Discrete(THINGS)
    if rule == AVOID:
        found["obstacles"] = spaces.MultiDiscrete(size * world.obstacles.shape[1])
    return found


def labels_of(world: MiniGridWorld) -> dict[str, np.ndarray]:
    """Ground truth of the present state, for each name of `spaces_of`."""
    pitch, bodies, rule = world.rules[PITCH], world.bodies, world.task.rule
    found = {
        "position": _places(bodies[:, POSITION], pitch),
        "direction": bodies[:, DIRECTION].copy(),
        "carrying": _things(bodies[:, HANDS]),
    }
    if world.has_oracle:
        found["distance_to_goal"] = world.plan_lengths().astype(np.float32)
    if world.doors:
        found["door_states"] = _door_states(world.grids, world.doors)
    if rule in WITH_TARGET:
        found["target"] = _places(bodies[:, TARGET], pitch)
    if rule in WITH_WANTED:
        marked = np.concatenate([world.grids, bodies[:, HANDS, None]], axis=1)
        first = ((marked & MARK) > 0).argmax(axis=1)
        found["wanted"] = _things(marked[np.arange(len(marked)), first])
    if rule == AVOID:
        found["obstacles"] = _places(world.obstacles, pitch).reshape(len(bodies), -1)
    return found


def _places(cells: np.ndarray, pitch: int) -> np.ndarray:
    """[...] cells of a padded grid -> [..., 2] x, y."""
    rows, columns = np.divmod(cells, pitch)
    return np.stack([columns - PAD, rows - PAD], axis=-1)


def _things(words: np.ndarray) -> np.ndarray:
    """0 for what cannot be carried, else 1 + 6 * (0 key, 1 ball, 2 box) + colour."""
    kinds = (words >> 3) & 15
    return np.where((kinds >= KEY) & (kinds <= BOX), 1 + len(COLOURS) * (kinds - KEY) + (words & 7), 0)


def _door_states(grids: np.ndarray, doors: int) -> np.ndarray:
    kinds = (grids >> 3) & 15
    states = np.select([kinds == DOOR_OPEN, kinds == DOOR_CLOSED, kinds == DOOR_LOCKED], [0, 1, 2], ABSENT)
    first = np.argsort(states == ABSENT, axis=1, kind="stable")[:, :doors]
    return np.take_along_axis(states, first, axis=1)


# ---------------------------------------------------------------------- the whole state as one number

PARTS = (POSITION, DIRECTION, HANDS, TARGET, OTHER)  # of a body; the step count is no part of a state


@njit(cache=True)
def factors(count):  # type: ignore[no-untyped-def]
    """[count] odd int64, the same in every process."""
    out = np.empty(count, np.int64)
    for i in range(count):
        out[i] = np.int64(mixed(np.uint64(i + 1) * GOLDEN)) | 1
    return out


@njit(cache=True)
def state_keys(grids, bodies, odd, keys):  # type: ignore[no-untyped-def]
    """Fills keys [N] int64, 0 .. 2^63 - 1, of every copy's whole grid and body (but for its steps).

    key = mix(sum_c odd_c word_c) over cells and parts of the body, modulo 2^64: a multilinear hash (Carter & Wegman
    1979): one multiplication per cell, none of which waits for another. Two different states collide with a probability
    of some 2^(v - 62), where 2^v divides every difference of their words (which have 24 bits).
    """
    cells = grids.shape[1]
    for n in range(len(keys)):
        total = np.int64(0)
        for cell in range(cells):
            total += odd[cell] * grids[n, cell]
        for i, part in enumerate(PARTS):
            total += odd[cells + i] * bodies[n, part]
        keys[n] = np.int64(mixed(np.uint64(total)) >> np.uint64(1))
