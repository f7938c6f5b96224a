"""A lower bound on the actions that a task still needs, from every state at once: what guides `planner_exact`.

What is movable is ignored and every door is open, except that a plan must pass certain *landmarks* in a fixed order:
the thing that the task is about comes last; before it, if it lies behind locked doors, one of these doors; before the
door its key; and before the key whatever blocks the cell from which the door is opened, for whoever opens a door has
his hands full. The bound is the shortest way along the landmarks, plus what must be done at each (a drop before a
pick-up with full hands), plus one action for each closed door on the way to the first. Each step of that sum is a
search backwards from one landmark's states, which begin at the costs that remain from there. Source: ours.
"""

from __future__ import annotations

import numpy as np

from envs.compiled import njit
from envs.minigrid.codes import BALL, BOX, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, EMPTY, GOAL, KEY, MARK, OUTSIDE
from envs.minigrid.physics import DONE, HANDS, OTHER, PITCH, RULE, TARGET, ahead, kind_of, opens
from envs.minigrid.planner_legs import what_ends_it
from envs.minigrid.planner_search import BACKWARDS, FACING, FAR, ZERO, entry_cost, facing, holds_key, search
from envs.minigrid.tasks import FETCH, GO_TO, MEMORY, OPEN, OPEN_IN_ORDER, PICK, PUT_NEAR

CLOSED = DOOR_CLOSED << 3
ONE, TWO, THREE = np.arange(1, 4)  # see `planner_search.ZERO`
FREE, CHARGED, REGION = np.arange(3)  # ways to relax a grid


@njit(cache=True)
def abstract(grid, hands, rules, essence):  # type: ignore[no-untyped-def]
    """Fill `essence` with what the bound depends on; returns the same of the hands."""
    rule, pitch = rules[RULE], rules[PITCH]
    locks = 0
    for cell in range(len(grid)):
        if kind_of(grid[cell]) == DOOR_LOCKED:
            locks |= 1 << (grid[cell] & 7)
    for cell in range(len(grid)):
        word = np.int64(grid[cell])
        essence[cell] = word
        if KEY <= kind_of(word) <= BOX and word & MARK == 0:
            inside = word
            while kind_of(inside) == BOX:
                inside >>= 8
            useful = kind_of(inside) == KEY and locks >> (inside & 7) & 1
            for direction in range(4):
                useful |= kind_of(grid[cell + ahead(direction, pitch)]) == DOOR_LOCKED
            if not useful and (rule <= OPEN or rule in (GO_TO, OPEN_IN_ORDER)):
                essence[cell] = EMPTY
    inside = hands
    while kind_of(inside) == BOX:
        inside >>= 8
    if hands & MARK or (kind_of(inside) == KEY and locks >> (inside & 7) & 1):
        return hands
    return np.int64(BALL << 3 if hands else 0)


@njit(cache=True)
def relax(essence, body, rules, way):  # type: ignore[no-untyped-def]
    """FREE: everything is open; CHARGED: closed doors cost one more; REGION: locked doors are walls."""
    rule, relaxed = rules[RULE], essence.copy()
    for cell in range(len(essence)):
        word = essence[cell]
        kind, mark = kind_of(word), word & MARK
        if KEY <= kind <= BOX and mark == 0:
            forbidden = rule in (FETCH, MEMORY) or (rule == PUT_NEAR and kind != BOX)
            relaxed[cell] = OUTSIDE if forbidden else EMPTY
        elif kind in (DOOR_CLOSED, DOOR_LOCKED):
            shut = rule == GO_TO or (way == REGION and kind == DOOR_LOCKED)
            relaxed[cell] = (OUTSIDE if shut else CLOSED if way == CHARGED else EMPTY) | mark
    if rule == MEMORY:
        relaxed[body[OTHER]] = OUTSIDE
    return relaxed


@njit(cache=True)
def stage(relaxed, rules, states, costs):  # type: ignore[no-untyped-def]
    """The actions from each state to one of `states` plus what is left from there, `costs`."""
    nowhere, filled = np.zeros(len(relaxed), np.bool_), np.empty(4 * len(relaxed), np.int32)
    search(relaxed, rules, ZERO, FAR, states, costs, BACKWARDS, FACING, nowhere, filled, np.empty_like(filled))
    return filled


@njit(cache=True)
def left_from(states, remaining, extra):  # type: ignore[no-untyped-def]
    """What is left at a landmark: `extra` actions, then the next landmarks."""
    costs = np.empty(len(states), np.int64)
    for k in range(len(states)):
        costs[k] = min(remaining[states[k]] + extra, FAR)
    return costs


@njit(cache=True)
def around(relaxed, rules, cell):  # type: ignore[no-untyped-def]
    """The states that face one cell."""
    wanted = np.zeros(len(relaxed), np.bool_)
    wanted[cell] = True
    return facing(relaxed, rules, wanted)


@njit(cache=True)
def on(relaxed, wanted):  # type: ignore[no-untyped-def]
    """The states on wanted cells that can be stood on."""
    states, count = np.empty(4 * len(relaxed), np.int64), 0
    for state in range(len(states)):
        if wanted[state >> 2] and entry_cost(relaxed[state >> 2], ZERO, FAR) < FAR:
            states[count] = state
            count += 1
    return states[:count]


@njit(cache=True)
def to_the_end(essence, relaxed, body, rules, extra):  # type: ignore[no-untyped-def]
    """The last stage: what the task wants, which takes one action and `extra` ones."""
    wanted = np.zeros(len(relaxed), np.bool_)
    standing = what_ends_it(relaxed if rules[RULE] == PUT_NEAR else essence, body, rules, wanted) == DONE
    if standing:
        states = on(relaxed, wanted)
    else:
        states = facing(relaxed, rules, wanted)
    return stage(relaxed, rules, states, np.full(len(states), 1 + extra, np.int64))


@njit(cache=True)
def in_two(essence, body, rules):  # type: ignore[no-untyped-def]
    """First the thing to be moved, then its place; first one door, then the other."""
    free, charged = relax(essence, body, rules, FREE), relax(essence, body, rules, CHARGED)
    later, first = body.copy(), np.zeros(len(essence), np.bool_)
    what_ends_it(essence, body, rules, first)
    if rules[RULE] == PUT_NEAR:
        later[HANDS] = MARK
        remaining = to_the_end(essence, free, later, rules, ZERO)
    else:
        states = around(free, rules, body[OTHER])
        remaining = stage(free, rules, states, np.ones(len(states), np.int64))
    states = facing(charged, rules, first)
    return stage(charged, rules, states, left_from(states, remaining, ONE))


@njit(cache=True)
def blocked_approach(essence, rules, region, door):  # type: ignore[no-untyped-def]
    """The cell from which a door must be opened, if it is the only one and something lies there; else -1."""
    found, count = -1, 0
    for direction in range(4):
        cell = door + ahead(direction, rules[PITCH])
        if entry_cost(essence[cell], ZERO, ZERO) < FAR and region[cell << 2] == FAR:
            found, count = cell, count + 1
    if count != 1 or not KEY <= kind_of(essence[found]) < BOX or opens(essence[found], essence[door]):
        return -1
    return found


@njit(cache=True)
def to_keys(essence, relaxed, rules, door, remaining, extra):  # type: ignore[no-untyped-def]
    """A stage that takes a key of `door`, wherever one lies; a box must be opened as well."""
    keys = np.zeros(len(essence), np.bool_)
    for cell in range(len(essence)):
        keys[cell] = holds_key(essence[cell], essence[door])
    states = facing(relaxed, rules, keys)
    costs = left_from(states, remaining, extra)
    for k in range(len(states)):
        costs[k] += kind_of(essence[(states[k] >> 2) + ahead(states[k] & 3, rules[PITCH])]) == BOX
    return stage(relaxed, rules, states, costs)


@njit(cache=True)
def through(door, essence, hands, free, charged, region, beyond, rules):  # type: ignore[no-untyped-def]
    """Everything still to be done if `door` is the last lock before what the task wants."""
    blocked = blocked_approach(essence, rules, region, door)
    has_key, boxed = holds_key(hands, essence[door]), kind_of(hands) == BOX
    states = around(free, rules, door)
    costs = left_from(states, beyond, ONE)
    for k in range(len(states)):
        if region[states[k]] < FAR:
            costs[k] = FAR  # from within it needs no opening
    opened = stage(charged if has_key and blocked < 0 else free, rules, states, costs)
    unpack, drop = np.int32(3 * boxed), np.int32(hands != 0)  # drop the box, open it, take the key
    if has_key and blocked < 0:
        return opened + unpack
    if blocked < 0:
        return to_keys(essence, charged, rules, door, opened, ONE) + drop
    # What blocks the door is taken up and dropped elsewhere, then the key taken (again).
    states = around(free, rules, blocked)
    if has_key:
        return stage(charged, rules, states, left_from(states, opened, np.int64(3 + boxed))) + drop
    key_next = to_keys(essence, free, rules, door, opened, ONE)
    blocker_first = stage(charged, rules, states, left_from(states, key_next, TWO))
    key_brought = stage(free, rules, states, left_from(states, opened, THREE))
    key_first = to_keys(essence, charged, rules, door, key_brought, TWO)
    return np.minimum(blocker_first, key_first) + drop


@njit(cache=True)
def behind_locks(essence, body, rules):  # type: ignore[no-untyped-def]
    """The tasks with locks."""
    hands, drop = body[HANDS], np.int64(rules[RULE] == PICK)
    free, charged = relax(essence, body, rules, FREE), relax(essence, body, rules, CHARGED)
    row = to_the_end(essence, charged, body, rules, drop * (hands != 0))
    doors = np.empty(len(essence), np.int64)
    count, opening = 0, False
    for cell in range(len(essence)):
        if kind_of(essence[cell]) == DOOR_LOCKED:
            doors[count], count = cell, count + 1
            opening |= rules[RULE] == OPEN and essence[cell] & MARK != 0
    if count == 0:
        return row
    beyond, region = to_the_end(essence, free, body, rules, drop), np.empty_like(row)
    if opening:
        beyond.fill(0)
        region.fill(FAR)
    else:
        region = to_the_end(essence, relax(essence, body, rules, REGION), body, rules, ZERO)
    for state in range(len(row)):
        if region[state] == FAR:
            row[state] = FAR
    for door in doors[:count]:
        next_to_region = opening and essence[door] & MARK != 0
        for direction in range(4):
            cell = door + ahead(direction, rules[PITCH])
            next_to_region |= region[cell << 2] < FAR or essence[cell] & MARK != 0 or kind_of(essence[cell]) == GOAL
        if next_to_region:
            last = through(door, essence, hands, free, charged, region, beyond, rules)
            for state in range(len(row)):
                if region[state] == FAR:
                    row[state] = min(row[state], last[state])
    return row


@njit(cache=True)
def bound(essence, body, rules):  # type: ignore[no-untyped-def]
    """[4 * cells] int32: at least so many actions are left from each state, FAR where there is no way; `essence` and
    the hands in `body` are as `abstract` made them."""
    rule = rules[RULE]
    if (rule == PUT_NEAR and body[HANDS] & MARK == 0) or (
        rule == OPEN_IN_ORDER and kind_of(essence[body[TARGET]]) != DOOR_OPEN
    ):
        return in_two(essence, body, rules)
    return behind_locks(essence, body, rules)
