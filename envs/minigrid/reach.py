"""How many cells an agent can come to in a level, whatever it takes: a flood from where it starts.

Doors and things that can be carried away are passed, walls are not. A goal, lava, and the two places of Memory are
come to but not passed, as they end the episode. So does opening or picking up what the task is about or forbids, so
that such a cell is never entered (and in Memory nothing can be picked up): see `blocks`. Locked doors count as passed,
although a few levels of ObstructedMaze v0 hide a key for ever; the time limit is not considered.
"""

from __future__ import annotations

import numpy as np

from envs.compiled import njit
from envs.minigrid.codes import BALL, BOX, DOOR_CLOSED, DOOR_LOCKED, GOAL, KEY, LAVA, MARK, WALL
from envs.minigrid.levels import Levels
from envs.minigrid.physics import OTHER, TARGET, kind_of
from envs.minigrid.tasks import FETCH, GO_TO, MEMORY, OPEN, OPEN_IN_ORDER, PICK, PUT_NEAR, Task


def reachable(levels: Levels, task: Task) -> np.ndarray:
    """[L] int64: the number of cells within reach of each level's start, which is one of them."""
    counts = np.zeros(len(levels), np.int64)
    count_all(levels.grids, levels.bodies, task.width, task.rule, counts)
    return counts


@njit(cache=True)
def blocks(word, cell, body, rule):  # type: ignore[no-untyped-def]
    """Does what lies in `cell` keep the agent out for the whole episode?"""
    kind = kind_of(word)
    if kind == WALL:
        return True
    if rule in (PICK, OPEN) and word & MARK:
        return kind != BOX  # which toggling removes
    if rule in (FETCH, MEMORY) or (rule == PUT_NEAR and word & MARK == 0):
        return kind in (KEY, BALL)
    if rule == GO_TO:
        return kind in (DOOR_CLOSED, DOOR_LOCKED)
    return rule == OPEN_IN_ORDER and cell == body[OTHER]


@njit(cache=True)
def ends(word, cell, body, rule):  # type: ignore[no-untyped-def]
    """Does the episode end when the agent comes to `cell`?"""
    return kind_of(word) in (GOAL, LAVA) or (rule == MEMORY and cell in (body[TARGET], body[OTHER]))


@njit(cache=True)
def count_all(grids, bodies, width, rule, counts):  # type: ignore[no-untyped-def]
    """Fill `counts` [L]; every level has walls all around, so that no flood leaves the grid."""
    cells = grids.shape[1]
    queue, level_of = np.empty(cells, np.int64), np.full(cells, -1, np.int64)
    for level in range(len(grids)):
        body = bodies[level]
        queue[0] = body[1] * width + body[0]
        level_of[queue[0]] = level
        head, tail = 0, 1
        while head < tail:
            cell = queue[head]
            head += 1
            if head > 1 and ends(grids[level, cell], cell, body, rule):
                continue
            for near in (cell - 1, cell + 1, cell - width, cell + width):
                if 0 <= near < cells and level_of[near] != level and not blocks(grids[level, near], near, body, rule):
                    level_of[near], queue[tail] = level, near
                    tail += 1
        counts[level] = tail
