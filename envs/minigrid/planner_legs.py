"""A plan made of legs: good on any size of level, and the shortest wherever one leg does not depend on the others.

A *leg* is a shortest path, closed doors counting one extra action, to whatever must be done next: what the task wants,
or, where a locked door or something movable stands in the way, that door's key (the box that holds it) or that thing,
and so backwards. Who must pick something up with full hands first drops what he holds where

    steps to there + 1 + steps from there to the thing, around what was dropped

(if the thing is a key: + steps on to its door) is least. Each leg is carried out by the physics on a copy of the state,
until success.

Why it does not oscillate: following a leg shortens it by one, and a finished leg is not needed again (what was unlocked
stays unlocked, what was dropped is out of the way). Lava is never entered. Source: ours.
"""

from __future__ import annotations

import numpy as np

from envs.compiled import njit
from envs.minigrid.codes import BALL, BOX, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, GOAL, KEY, LAVA, MARK, OUTSIDE
from envs.minigrid.physics import (
    DIRECTION,
    DONE,
    DROP,
    FORWARD,
    HANDS,
    LEFT,
    NOTHING,
    OTHER,
    PICKUP,
    PITCH,
    POSITION,
    RIGHT,
    RULE,
    SUCCESS,
    TARGET,
    TOGGLE,
    ahead,
    kind_of,
    marked_door_open,
    move,
    opens,
)
from envs.minigrid.planner_search import (
    BACKWARDS,
    FACING,
    FAR,
    FORWARDS,
    NONE,
    ZERO,
    entry_cost,
    facing,
    holds_key,
    longest,
    search,
    single,
    trace,
)
from envs.minigrid.tasks import AVOID, FETCH, GO_TO, MEMORY, OPEN, OPEN_IN_ORDER, PICK, PUT_NEAR, REACH

MOST_LEGS = 40
MOST_ERRANDS = 16  # from what the task wants backwards to what can be done now


@njit(cache=True)
def within_one(cell, target, pitch):  # type: ignore[no-untyped-def]
    """Do the two cells touch, diagonals and equality included?"""
    return abs(cell % pitch - target % pitch) <= 1 and abs(cell // pitch - target // pitch) <= 1


@njit(cache=True)
def flood(grid, rules, start, hands, reached):  # type: ignore[no-untyped-def]
    """Fill `reached` with every cell that might ever be entered or emptied: things can be moved, and a lock opens once
    a key of its colour lies in a reached cell. What stays out is out of reach for certain."""
    while kind_of(hands) == BOX:
        hands >>= 8
    keys, known = 1 << (hands & 7) if kind_of(hands) == KEY else 0, -1
    stack = np.empty(len(grid), np.int64)
    while known != keys:
        known = keys
        reached.fill(False)
        reached[start], stack[0], count = True, start, 1
        while count > 0:
            count -= 1
            here = stack[count]
            for direction in range(4):
                cell = here + ahead(direction, rules[PITCH])
                word = grid[cell]
                shut = kind_of(word) == DOOR_LOCKED and keys >> (word & 7) & 1 == 0
                if reached[cell] or shut or entry_cost(word, ZERO, ZERO) == FAR:
                    continue
                reached[cell], stack[count], count = True, cell, count + 1
                while kind_of(word) == BOX:
                    word >>= 8
                if kind_of(word) == KEY:
                    keys |= 1 << (word & 7)


@njit(cache=True)
def simplify(grid, body, rules, reached):  # type: ignore[no-untyped-def]
    """Turn into walls, in place, what the plan must leave alone: doors that never open, and what the task forbids.
    Moving obstacles become closed doors: passing one costs about one action of waiting more. Fills `reached`."""
    rule = rules[RULE]
    if rule == MEMORY:
        grid[body[OTHER]] = OUTSIDE
    for cell in range(len(grid)):
        word = grid[cell]
        kind = kind_of(word)
        untouchable = KEY <= kind <= BOX and word & MARK == 0 and rule in (FETCH, PUT_NEAR, MEMORY)
        if untouchable or (rule == GO_TO and kind in (DOOR_CLOSED, DOOR_LOCKED)):
            grid[cell] = OUTSIDE
        elif rule == AVOID and kind == BALL:
            grid[cell] = DOOR_CLOSED << 3
    flood(grid, rules, body[POSITION], body[HANDS], reached)
    for cell in range(len(grid)):
        if kind_of(grid[cell]) == DOOR_LOCKED and not reached[cell]:
            grid[cell] = OUTSIDE | (grid[cell] & MARK)


@njit(cache=True)
def what_ends_it(grid, body, rules, wanted):  # type: ignore[no-untyped-def]
    """Fill `wanted` with the cells that the task is about now; returns the action to take in front of one (DONE: on
    one)."""
    rule, target = rules[RULE], body[TARGET]
    put = rule == PUT_NEAR and body[HANDS] & MARK != 0
    for cell in range(len(grid)):
        word = grid[cell]
        if rule in (REACH, AVOID):
            wanted[cell] = kind_of(word) == GOAL
        elif put:
            wanted[cell] = word == 0 and within_one(cell, target, rules[PITCH])
        else:
            wanted[cell] = word & MARK != 0 and rule != OPEN_IN_ORDER
    if rule == GO_TO:
        for direction in range(4):
            wanted[target + ahead(direction, rules[PITCH])] = True
        return DONE
    if rule == MEMORY:
        wanted[target] = True
    if rule == OPEN_IN_ORDER:
        wanted[body[OTHER] if kind_of(grid[target]) == DOOR_OPEN else target] = True
    if rule in (OPEN, OPEN_IN_ORDER):
        return TOGGLE
    if rule in (PICK, FETCH, PUT_NEAR):
        return DROP if put else PICKUP
    return FORWARD


@njit(cache=True)
def first_obstacle(grid, path, hands):  # type: ignore[no-untyped-def]
    """The first cell of a relaxed path that cannot be entered as things are, or -1."""
    for k in range(1, len(path)):
        cell = path[k] >> 2
        if cell != path[k - 1] >> 2 and entry_cost(grid[cell], hands, FAR) == FAR:
            return cell
    return -1


@njit(cache=True)
def follow(grid, path, hands, acts):  # type: ignore[no-untyped-def]
    """Write the actions along a path into `acts`; returns their number, and at which one a lock opens (or -1)."""
    count, unlocked = 0, -1
    for k in range(len(path) - 1):
        cell, following = path[k] >> 2, path[k + 1]
        if following >> 2 == cell:
            acts[count] = RIGHT if (following - path[k]) & 3 == 1 else LEFT
        else:
            kind = kind_of(grid[following >> 2])
            if kind in (DOOR_CLOSED, DOOR_LOCKED):
                acts[count] = TOGGLE
                if kind == DOOR_LOCKED and unlocked < 0:
                    unlocked = count
                count += 1
            acts[count] = FORWARD
        count += 1
    return count, unlocked


@njit(cache=True)
def next_errand(grid, body, rules, wanted, distance, parent):  # type: ignore[no-untyped-def]
    """What can be done next: fills `wanted`; returns the action to take in front of it, the path there (empty if there
    is none), and the door that it is the key of (or -1)."""
    hands, start, zero = body[HANDS], single(body[POSITION] << 2 | body[DIRECTION]), single(ZERO)
    action, door = what_ends_it(grid, body, rules, wanted), -1
    standing = action == DONE
    for _ in range(MOST_ERRANDS):
        last = search(grid, rules, hands, longest(rules), start, zero, FORWARDS, standing, wanted, distance, parent)
        if last < 0:
            break
        path = trace(parent, last)
        obstacle = first_obstacle(grid, path, hands)
        front = (last >> 2) + ahead(last & 3, rules[PITCH])
        locked = kind_of(grid[front]) == DOOR_LOCKED and not opens(hands, grid[front])
        if obstacle < 0 and not standing and action == TOGGLE and locked:
            obstacle = front
        if obstacle < 0:
            is_box = kind_of(grid[front]) == BOX and door >= 0 and not standing
            return TOGGLE if is_box else action, path, door
        standing, action, door = FACING, PICKUP, -1
        if kind_of(grid[obstacle]) == DOOR_LOCKED:
            door = obstacle
            for cell in range(len(grid)):
                wanted[cell] = holds_key(grid[cell], grid[door])
        else:
            wanted.fill(False)
            wanted[obstacle] = True
            if kind_of(grid[obstacle]) == BOX and rules[RULE] != GO_TO and grid[obstacle] & MARK == 0:
                action = TOGGLE  # of a box only its contents remain
    return DONE, np.empty(0, np.int64), -1


@njit(cache=True)
def promising(grid, rules, there, back):  # type: ignore[no-untyped-def]
    """The state in front of an empty cell with the least `there` + `back`, and that sum."""
    best, least = -1, FAR
    for state in range(len(there)):
        if there[state] < FAR and there[state] + back[state] < least:
            front = (state >> 2) + ahead(state & 3, rules[PITCH])
            if grid[front] == 0:
                best, least = state, there[state] + back[state]
    return best, least


@njit(cache=True)
def lower_bound(grid, rules, wanted, door, back, scratch, parent):  # type: ignore[no-untyped-def]
    """Fill `back` with the steps from each state to a wanted thing and, if it is the key of `door`, on to the door."""
    nowhere, targets = np.zeros(len(grid), np.bool_), facing(grid, rules, wanted)
    costs = np.zeros(len(targets), np.int64)
    if door >= 0:
        at_door = np.zeros(len(grid), np.bool_)
        at_door[door] = True
        doors = facing(grid, rules, at_door)
        search(
            grid, rules, ZERO, FAR, doors, np.zeros(len(doors), np.int64), BACKWARDS, FACING, nowhere, scratch, parent
        )
        for k in range(len(targets)):
            costs[k] = scratch[targets[k]]
    search(grid, rules, ZERO, FAR, targets, costs, BACKWARDS, FACING, nowhere, back, parent)


@njit(cache=True)
def steps_onwards(grid, rules, state, wanted, door, scratch, parent):  # type: ignore[no-untyped-def]
    """Steps from `state` to the nearest wanted thing and, if that is the key of `door`, on to the door."""
    last = search(grid, rules, ZERO, FAR, single(state), single(ZERO), FORWARDS, FACING, wanted, scratch, parent)
    if last < 0 or door < 0:
        return FAR if last < 0 else scratch[last]
    steps, front = scratch[last], (last >> 2) + ahead(last & 3, rules[PITCH])
    at_door = np.zeros(len(grid), np.bool_)
    at_door[door] = True
    key, grid[front] = grid[front], 0
    last = search(grid, rules, ZERO, FAR, single(last), single(ZERO), FORWARDS, FACING, at_door, scratch, parent)
    grid[front] = key
    return FAR if last < 0 else steps + scratch[last]


@njit(cache=True)
def where_to_drop(grid, body, rules, wanted, door):  # type: ignore[no-untyped-def]
    """The path to the best state for a drop before going for `wanted`; empty if there is none.

    Steps from a state onwards are known at first as if nothing were dropped: a lower bound. States are tried in the
    order of that bound, with the drop in place, until no bound can beat the best.
    """
    hands, start = body[HANDS], body[POSITION] << 2 | body[DIRECTION]
    there, back = np.empty(4 * len(grid), np.int32), np.empty(4 * len(grid), np.int32)
    parent, scratch, scratch_parent = np.empty_like(there), np.empty_like(there), np.empty_like(there)
    nowhere = np.zeros(len(grid), np.bool_)
    search(grid, rules, hands, FAR, single(start), single(ZERO), FORWARDS, FACING, nowhere, there, parent)
    lower_bound(grid, rules, wanted, door, back, scratch, scratch_parent)
    best, best_total = NONE, FAR
    while True:
        state, bound = promising(grid, rules, there, back)
        if bound >= best_total:
            break
        back[state] = FAR  # tried
        front = (state >> 2) + ahead(state & 3, rules[PITCH])
        grid[front] = hands
        total = there[state] + steps_onwards(grid, rules, state, wanted, door, scratch, scratch_parent)
        grid[front] = 0
        if total < best_total:
            best, best_total = state, total
    return trace(parent, best)


@njit(cache=True)
def leg(grid, body, rules, acts):  # type: ignore[no-untyped-def]
    """Write the actions up to the next thing done into `acts`; returns their number, 0 where there is no way."""
    if kind_of(grid[body[POSITION]]) == LAVA:
        return 0
    hands, wanted = body[HANDS], np.zeros(len(grid), np.bool_)
    distance, parent = np.empty(4 * len(grid), np.int32), np.empty(4 * len(grid), np.int32)
    action, path, door = next_errand(grid, body, rules, wanted, distance, parent)
    if len(path) == 0:
        return 0
    count, unlocked = follow(grid, path, hands, acts)
    if action == PICKUP and hands != 0:
        if unlocked >= 0:
            return unlocked + 1  # the key is still needed: open that door, then see
        path = where_to_drop(grid, body, rules, wanted, door)
        if len(path) == 0 and door >= 0:
            path = where_to_drop(grid, body, rules, wanted, NONE)
        if len(path) == 0:
            return 0
        action = DROP
        count, unlocked = follow(grid, path, hands, acts)
    acts[count] = action
    return count + 1


@njit(cache=True)
def plan(grid, body, rules, acts):  # type: ignore[no-untyped-def]
    """Write the first leg into `acts`; returns the length of the whole plan, FAR where there is none. `grid` (after
    `simplify`) and `body` are used up."""
    total, more = 0, np.empty_like(acts)
    for k in range(MOST_LEGS):
        chosen = acts if k == 0 else more
        count = leg(grid, body, rules, chosen)
        for act in chosen[:count]:
            total += 1
            outcome = move(grid, body, act, rules)
            if outcome != NOTHING:
                return total if outcome == SUCCESS else FAR
        if count == 0:
            break
    return FAR


@njit(cache=True)
def already_done(grid, body, rules):  # type: ignore[no-untyped-def]
    rule = rules[RULE]
    if rule in (PICK, FETCH):
        return body[HANDS] & MARK != 0
    if rule == OPEN:
        return marked_door_open(grid)
    if rule == OPEN_IN_ORDER:
        return kind_of(grid[body[TARGET]]) == DOOR_OPEN and kind_of(grid[body[OTHER]]) == DOOR_OPEN
    if rule == MEMORY:
        return body[POSITION] == body[TARGET]
    return rule in (REACH, AVOID) and kind_of(grid[body[POSITION]]) == GOAL


@njit(cache=True)
def in_reach(grid, body, rules, reached, wanted):  # type: ignore[no-untyped-def]
    """Does anything that the task wants lie in the cells `reached` or next to one?"""
    what_ends_it(grid, body, rules, wanted)
    for cell in range(len(wanted)):
        if wanted[cell]:
            near = reached[cell]
            for direction in range(4):
                near |= reached[cell + ahead(direction, rules[PITCH])]
            if near:
                return True
    return False


@njit(cache=True)
def out_of_reach(grids, bodies, rules, found):  # type: ignore[no-untyped-def]
    """Fill `found` [N]: is success impossible even for someone who can walk through everything movable?"""
    reached, wanted = np.empty(grids.shape[1], np.bool_), np.empty(grids.shape[1], np.bool_)
    for n in range(len(grids)):
        grid, body = grids[n].copy(), bodies[n]
        simplify(grid, body, rules, reached)
        found[n] = not already_done(grid, body, rules) and not in_reach(grid, body, rules, reached, wanted)


@njit(cache=True)
def plan_all(grids, bodies, rules, actions, lengths):  # type: ignore[no-untyped-def]
    """Fill for each copy the plan's first action and its length (0 done; -1 no plan found, then DONE, or LEFT)."""
    acts, reached = np.empty(2 * longest(rules) + 2, np.int64), np.empty(grids.shape[1], np.bool_)
    for n in range(len(grids)):
        actions[n], lengths[n] = LEFT if rules[RULE] == AVOID else DONE, 0  # where only three actions exist, LEFT
        if already_done(grids[n], bodies[n], rules):
            continue
        grid, body = grids[n].copy(), bodies[n].copy()
        simplify(grid, body, rules, reached)
        lengths[n] = plan(grid, body, rules, acts)
        if lengths[n] == FAR:
            lengths[n] = -1
        elif rules[RULE] != AVOID or acts[0] != TOGGLE:
            actions[n] = acts[0]
