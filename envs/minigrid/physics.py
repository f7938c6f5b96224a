"""One step and one view of a Minigrid world, compiled, written on arrays.

Each copy has a row of `grids` (its words, padded by six cells of wall so that no view needs a bounds test) and a row
of `bodies` (position, direction, hands, steps). Reward of success: 1 - 0.9 * (steps / max_steps), in float64.

Source: minigrid 3.2, `MiniGridEnv.step`, `MiniGridEnv.gen_obs_grid`, `Grid.process_vis`. We do the visibility of a
row of seven cells with bits: light floods along the row through clear cells (a Kogge-Stone fill), first rightwards,
then leftwards, and each cell that passes it on also lights two cells of the next row, its own column and the one it
lit. Minigrid stops each pass one cell short of the row's end; the other pass makes up for it, so that we need not.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.minigrid.codes import (
    BOX,
    DOOR_CLOSED,
    DOOR_LOCKED,
    DOOR_OPEN,
    GOAL,
    KEY,
    LAVA,
    MARK,
    OUTSIDE,
    VIEW,
)
from envs.minigrid.tasks import OPEN, PICK, Task

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
POSITION, DIRECTION, HANDS, STEPS = range(4)  # columns of `bodies`, int64
WIDTH, HEIGHT, PITCH, MAX_STEPS, SEE_THROUGH, RULE = range(6)  # entries of `rules`, int64
NOTHING, SUCCESS, DEATH = range(3)  # outcomes of a move
PAD = 6  # a view reaches six cells ahead
OPENING = (DOOR_OPEN ^ DOOR_CLOSED) << 3  # the bits in which an open and a closed door differ


def rules_of(task: Task) -> np.ndarray:
    """The task as the [6] int64 array that the kernels read."""
    pitch = task.width + 2 * PAD
    return np.array([task.width, task.height, pitch, task.max_steps, task.see_through, task.rule], np.int64)


def empty_grids(task: Task, num_envs: int) -> np.ndarray:
    """[N, padded cells] int32, all outside."""
    return np.full((num_envs, (task.width + 2 * PAD) * (task.height + 2 * PAD)), OUTSIDE, np.int32)


@njit(cache=True, inline="always")
def kind_of(word):  # type: ignore[no-untyped-def]
    return (word >> 3) & 15


@njit(cache=True)
def ahead(direction, pitch):  # type: ignore[no-untyped-def]
    """Offset in a padded grid of the next cell in `direction` (0 right, 1 down, 2 left, 3 up)."""
    offset = pitch if direction & 1 else 1
    return -offset if direction & 2 else offset


@njit(cache=True)
def opens(hands, door):  # type: ignore[no-untyped-def]
    """Is `hands` the key of `door`?"""
    return kind_of(hands) == KEY and (hands & 7) == (door & 7)


@njit(cache=True)
def toggled(word, hands):  # type: ignore[no-untyped-def]
    """What toggling leaves of a cell."""
    kind = kind_of(word)
    if kind == BOX:
        return word >> 8
    if kind in (DOOR_OPEN, DOOR_CLOSED):
        return word ^ OPENING
    if kind == DOOR_LOCKED and opens(hands, word):
        return word ^ ((DOOR_LOCKED ^ DOOR_OPEN) << 3)
    return word


@njit(cache=True)
def marked_door_open(grid):  # type: ignore[no-untyped-def]
    for word in grid:  # noqa: SIM110  (compiled code has no generators)
        if word & MARK and kind_of(word) == DOOR_OPEN:
            return True
    return False


@njit(cache=True)
def move(grid, body, action, rules):  # type: ignore[no-untyped-def]
    """Apply `action` to one copy (`grid` and `body` change in place); returns the outcome."""
    body[STEPS] += 1
    front = body[POSITION] + ahead(body[DIRECTION], rules[PITCH])
    word = np.int64(grid[front])
    kind = kind_of(word)
    if action == LEFT:
        body[DIRECTION] = (body[DIRECTION] + 3) & 3
    elif action == RIGHT:
        body[DIRECTION] = (body[DIRECTION] + 1) & 3
    elif action == FORWARD:
        if kind <= DOOR_OPEN:
            body[POSITION] = front
        if kind == GOAL:
            return SUCCESS
        if kind == LAVA:
            return DEATH
    elif action == PICKUP:
        if KEY <= kind <= BOX and body[HANDS] == 0:
            body[HANDS], grid[front] = word, 0
        if rules[RULE] == PICK and body[HANDS] & MARK:
            return SUCCESS
    elif action == DROP:
        if word == 0:
            grid[front], body[HANDS] = body[HANDS], 0
    elif action == TOGGLE:
        grid[front] = toggled(word, body[HANDS])
        if rules[RULE] == OPEN and marked_door_open(grid):
            return SUCCESS
    return NOTHING


@njit(cache=True)
def advance(grids, bodies, rules, actions, rewards, terminated, truncated):  # type: ignore[no-untyped-def]
    """Move every copy; fills the three outputs [N]; returns the number of ended copies, or -1 (nothing moved) if an
    action is outside 0..6."""
    for action in actions:
        if action < LEFT or action > DONE:
            return -1
    ended = 0
    for n in range(len(actions)):
        outcome = move(grids[n], bodies[n], actions[n], rules)
        steps = bodies[n, STEPS]
        rewards[n] = 1 - 0.9 * (steps / rules[MAX_STEPS]) if outcome == SUCCESS else 0.0
        terminated[n], truncated[n] = outcome != NOTHING, steps >= rules[MAX_STEPS]
        ended += terminated[n] or truncated[n]
    return ended


@njit(cache=True, inline="always")
def flood(light, clear):  # type: ignore[no-untyped-def]
    """Clear cells that light reaches going towards higher bits, seven cells wide."""
    lit = light & clear
    lit |= clear & (lit << 1)
    clear &= clear << 1
    lit |= clear & (lit << 2)
    clear &= clear << 2
    return lit | clear & (lit << 4)


@njit(cache=True, inline="always")
def flood_back(light, clear):  # type: ignore[no-untyped-def]
    """The same towards lower bits."""
    lit = light & clear
    lit |= clear & (lit >> 1)
    clear &= clear >> 1
    lit |= clear & (lit >> 2)
    clear &= clear >> 2
    return lit | clear & (lit >> 4)


@njit(cache=True)
def shine(light, clear):  # type: ignore[no-untyped-def]
    """Where light ends up in a row that it enters at the bits `light`, and where it enters the next row."""
    passed = flood(light, clear)
    light, below = light | passed << 1, passed | passed << 1
    passed = flood_back(light, clear)
    return (light | passed >> 1) & 127, (below | passed | passed >> 1) & 127


@njit(cache=True)
def look(grids, bodies, rules, copies, image, direction):  # type: ignore[no-untyped-def]
    """Write what `copies` see into image [N, 7, 7, 3], which must be zero there, and direction [N]."""
    for n in copies:
        grid, facing = grids[n], bodies[n, DIRECTION]
        deeper, across = ahead(facing, rules[PITCH]), ahead(facing + 1, rules[PITCH])
        corner = bodies[n, POSITION] - 3 * across
        light = 127 if rules[SEE_THROUGH] else 8  # bit i: cell i of the row; the agent stands in the middle
        for row in range(6, -1, -1):
            opaque = 0
            for i in range(7):
                opaque |= ((grid[corner + i * across] >> 6) & 1) << i
            below = 127
            if not rules[SEE_THROUGH]:
                light, below = shine(light, ~opaque & 127)
            for i in range(7):
                if light >> i & 1:
                    seen = VIEW[grid[corner + i * across] & 127]
                    image[n, i, row, 0], image[n, i, row, 1], image[n, i, row, 2] = seen[0], seen[1], seen[2]
            light = below
            if light == 0:
                break
            corner += deeper
        held = VIEW[bodies[n, HANDS] & 127]  # an empty hand is an empty cell
        image[n, 3, 6, 0], image[n, 3, 6, 1], image[n, 3, 6, 2] = held[0], held[1], held[2]
        direction[n] = facing


@njit(cache=True)
def begin(grids, bodies, rules, copies, level_grids, level_bodies, drawn):  # type: ignore[no-untyped-def]
    """Put the k-th of `copies` at the start of level `drawn[k]`."""
    width, pitch = rules[WIDTH], rules[PITCH]
    for k in range(len(copies)):
        n, level = copies[k], drawn[k]
        for y in range(rules[HEIGHT]):
            start = (y + PAD) * pitch + PAD
            for x in range(width):  # a slice would take two seconds longer to compile
                grids[n, start + x] = level_grids[level, y * width + x]
        body = level_bodies[level]
        bodies[n, POSITION] = (body[1] + PAD) * pitch + body[0] + PAD
        bodies[n, DIRECTION], bodies[n, HANDS], bodies[n, STEPS] = body[2], body[3], 0
