"""One step and one view of a Minigrid world, compiled, written on arrays.

Each copy has a row of `grids` (its words, padded by six cells of wall so that no view needs a bounds test) and a row
of `bodies` (position, direction, hands, steps, and two places that the task is about). Reward of success:
1 - 0.9 * (steps / max_steps), in float64.

Source: minigrid 3.2, `MiniGridEnv.step`, `MiniGridEnv.gen_obs_grid`, `Grid.process_vis`. We do the visibility of a
row of seven cells with bits: light floods along the row through clear cells (a Kogge-Stone fill), first rightwards,
then leftwards, and each cell that passes it on also lights two cells of the next row, its own column and the one it
lit. Minigrid stops each pass one cell short of the row's end; the other pass makes up for it, so that we need not.
"""

from __future__ import annotations

import numpy as np

from envs.compiled import njit
from envs.coverage import visit
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
from envs.minigrid.tasks import FETCH, GO_TO, MEMORY, OPEN, OPEN_IN_ORDER, PICK, PUT_NEAR, Task
from envs.splitmix import GOLDEN, below

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
POSITION, DIRECTION, HANDS, STEPS, TARGET, OTHER = range(6)  # columns of `bodies`, int64; the last two: cell or -1
WIDTH, HEIGHT, PITCH, MAX_STEPS, SEE_THROUGH, RULE, ACTIONS = range(7)  # entries of `rules`, int64
NOTHING, SUCCESS, DEATH = range(3)  # outcomes of a move
TRIES = 101  # of an obstacle to move
PAD = 6  # a view reaches six cells ahead
OPENING = (DOOR_OPEN ^ DOOR_CLOSED) << 3  # the bits in which an open and a closed door differ


def rules_of(task: Task) -> np.ndarray:
    """The task as the [7] int64 array that the kernels read."""
    facts = (task.width, task.height, task.width + 2 * PAD, task.max_steps, task.see_through, task.rule, task.actions)
    return np.array(facts, np.int64)


def empty_grids(task: Task, num_envs: int) -> np.ndarray:
    """[N, padded cells] int32, all outside."""
    return np.full((num_envs, (task.width + 2 * PAD) * (task.height + 2 * PAD)), OUTSIDE, np.int32)


def places_of(task: Task) -> np.ndarray:
    """[padded cells] int64: the cell number y * width + x, or -1 outside."""
    places = np.full((task.height + 2 * PAD, task.width + 2 * PAD), -1, np.int64)
    places[PAD:-PAD, PAD:-PAD] = np.arange(task.height * task.width).reshape(task.height, task.width)
    return places.ravel()


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


@njit(cache=True, inline="always")
def act(grid, body, action, rules):  # type: ignore[no-untyped-def]
    """What every task shares, with the rules REACH, PICK and OPEN; returns the outcome."""
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
def distance(cell, other, pitch):  # type: ignore[no-untyped-def]
    """(columns, rows) between two cells of a padded grid."""
    return abs(cell % pitch - other % pitch), abs(cell // pitch - other // pitch)


@njit(cache=True)
def is_open(grid, cell):  # type: ignore[no-untyped-def]
    return kind_of(grid[cell]) == DOOR_OPEN


@njit(cache=True)
def judged(grid, body, action, rules, held, first_open, second_open, outcome):  # type: ignore[no-untyped-def]
    """The outcome of a step by the other rules; `held`, and which of the two doors was open, is from before it."""
    rule, pitch, target, other = rules[RULE], rules[PITCH], body[TARGET], body[OTHER]
    hands, position = body[HANDS], body[POSITION]
    if rule == FETCH and hands != 0:
        return SUCCESS if hands & MARK else DEATH
    if rule == GO_TO and action == TOGGLE:
        return DEATH
    if rule == GO_TO and action == DONE:
        across, down = distance(position, target, pitch)
        return SUCCESS if across + down == 1 else DEATH
    if rule == PUT_NEAR and action == PICKUP and hands != 0 and hands & MARK == 0:
        return DEATH
    if rule == PUT_NEAR and action == DROP and held != 0:
        across, down = distance(position + ahead(body[DIRECTION], pitch), target, pitch)
        return SUCCESS if hands == 0 and across <= 1 and down <= 1 else DEATH
    if rule == OPEN_IN_ORDER and is_open(grid, other):
        return SUCCESS if first_open else DEATH
    if rule == OPEN_IN_ORDER and second_open and is_open(grid, target):
        return DEATH
    if rule == MEMORY and position in (target, other):
        return SUCCESS if position == target else DEATH
    return outcome


@njit(cache=True)
def move(grid, body, action, rules):  # type: ignore[no-untyped-def]
    """Apply `action` to one copy (`grid` and `body` change in place); returns the outcome. Obstacles stand still, and
    running into one is NOTHING here: see `stir`."""
    rule, held, first_open, second_open = rules[RULE], body[HANDS], False, False
    if rule == OPEN_IN_ORDER:
        first_open, second_open = is_open(grid, body[TARGET]), is_open(grid, body[OTHER])
    if rule == MEMORY and action == PICKUP:
        action = TOGGLE
    outcome = act(grid, body, action, rules)
    if rule > OPEN:
        outcome = judged(grid, body, action, rules, held, first_open, second_open, outcome)
    return outcome


@njit(cache=True)
def exist(actions, rules):  # type: ignore[no-untyped-def]
    for action in actions:  # noqa: SIM110  (compiled code has no generators)
        if action < LEFT or action >= rules[ACTIONS]:
            return False
    return True


@njit(cache=True)
def stir(grids, bodies, rules, obstacles, chance, actions, hit):  # type: ignore[no-untyped-def]
    """The rule AVOID, before `advance`: fills `hit` [N] bool, who is about to run into something, then moves obstacles.

    Each obstacle in turn goes to an empty cell of the 3 x 3 around it, or stays after 101 vain tries. `obstacles` are
    their cells, [N, K] int64; the tries are the stream of SplitMix64 from each copy's word of `chance` [N] uint64.
    """
    pitch = rules[PITCH]
    if not exist(actions, rules):
        return  # `advance` will say so
    for n in range(len(actions)):
        grid, position, state = grids[n], bodies[n, POSITION], chance[n]
        ahead_of_it = grid[position + ahead(bodies[n, DIRECTION], pitch)]
        hit[n] = actions[n] == FORWARD and ahead_of_it != 0 and kind_of(ahead_of_it) != GOAL
        for k in range(obstacles.shape[1]):
            old = obstacles[n, k]
            for _ in range(TRIES):
                state += GOLDEN
                ninth = below(state, 9)
                cell = old + (ninth // 3 - 1) * pitch + ninth % 3 - 1
                if grid[cell] == 0 and cell != position:
                    grid[cell], grid[old], obstacles[n, k] = grid[old], 0, cell
                    break


@njit(cache=True)
def advance(grids, bodies, rules, actions, seen, visits, places, rewards, terminated, truncated):  # type: ignore[no-untyped-def]
    """Move every copy; fills the last three [N]; returns the number of ended copies, or -1 (nothing moved) if an
    action does not exist. `seen` and `visits` are those of `envs.coverage.Coverage`, which in a call of its own would
    take another tenth of the time; `places` are the cell numbers in a padded grid."""
    if not exist(actions, rules):
        return -1
    ended = 0
    for n in range(len(actions)):
        if rules[RULE] <= OPEN:  # the same as `move`, but without the call: a third of the time
            outcome = act(grids[n], bodies[n], actions[n], rules)
        else:
            outcome = move(grids[n], bodies[n], actions[n], rules)
        visit(seen, visits, n, places[bodies[n, POSITION]])
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
def padded(cell, width):  # type: ignore[no-untyped-def]
    """The index in a padded grid of cell number y * width + x; -1 stays -1."""
    return (cell // width + PAD) * (width + 2 * PAD) + cell % width + PAD if cell >= 0 else -1


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
        bodies[n, POSITION] = padded(body[1] * width + body[0], width)
        bodies[n, DIRECTION], bodies[n, HANDS], bodies[n, STEPS] = body[2], body[3], 0
        bodies[n, TARGET], bodies[n, OTHER] = padded(body[4], width), padded(body[5], width)
