"""A perfect supervisor: it sees the whole grid, finds the way, and replans from nothing at every call.

A *leg* is a shortest path over (cell, direction), closed doors counting one extra action, to whatever must be done
next: what the task wants, or, where a locked door or something movable stands in the way, that door's key or that
thing, and so backwards. Who must pick something up with full hands first drops what he holds where

    steps to there + 1 + steps from there to the thing, around what was dropped

is least. A plan is legs, each carried out by the physics on a copy of the state, until success.

Why it cannot oscillate: following a leg shortens it by one, and a finished leg is never needed again (what was unlocked
stays unlocked, what was dropped is out of the way). Not optimal between legs: a key is fetched by the shortest way
to it, whatever comes after. Lava is never entered. Source: ours; Dijkstra's algorithm with Dial's buckets (1969).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.minigrid.codes import BOX, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, FLOOR, GOAL, KEY, LAVA, MARK
from envs.minigrid.physics import (
    DIRECTION,
    DONE,
    DROP,
    FORWARD,
    HANDS,
    HEIGHT,
    LEFT,
    PICKUP,
    PITCH,
    POSITION,
    RIGHT,
    RULE,
    SUCCESS,
    TOGGLE,
    WIDTH,
    ahead,
    kind_of,
    marked_door_open,
    move,
    opens,
)
from envs.minigrid.tasks import OPEN, PICK, REACH

FAR = 2**30
MOST_LEGS = 24
MOST_OBSTACLES = 3  # that one relaxed path may lead through


@njit(cache=True)
def entry_cost(word, hands, penalty):  # type: ignore[no-untyped-def]
    """Actions to step into a cell: what blocks the way costs `penalty` more, what never opens is FAR."""
    kind = kind_of(word)
    if kind <= FLOOR or kind == DOOR_OPEN:
        return 1
    if kind == DOOR_CLOSED or (kind == DOOR_LOCKED and opens(hands, word)):
        return 2
    if kind == DOOR_LOCKED or KEY <= kind <= BOX:
        return min(2 + penalty, FAR)
    return FAR


@njit(cache=True)
def longest(rules):  # type: ignore[no-untyped-def]
    """No shortest path is longer: four actions a cell."""
    return 4 * rules[WIDTH] * rules[HEIGHT]


@njit(cache=True)
def search(grid, rules, hands, penalty, sources, backwards, wanted, distance, parent):  # type: ignore[no-untyped-def]
    """Distances from the states `sources` (4 * cell + direction), or to them if `backwards`.

    Stops at the first state that faces a cell of `wanted`, and returns it; -1 where there is none.
    """
    pitch, limit = rules[PITCH], longest(rules) * (1 if penalty == FAR else MOST_OBSTACLES + 1)
    distance.fill(FAR)
    bucket = np.full(limit + 1, -1, np.int32)  # head of a linked list of entries for each distance
    entry_state, entry_next = np.empty(4 * len(distance), np.int32), np.empty(4 * len(distance), np.int32)
    used = 0
    for state in sources:
        distance[state], parent[state] = 0, -1
        entry_state[used], entry_next[used], bucket[0] = state, bucket[0], used
        used += 1
    for reached in range(limit + 1):
        while bucket[reached] >= 0:
            state = entry_state[bucket[reached]]
            bucket[reached] = entry_next[bucket[reached]]
            if distance[state] < reached:
                continue
            cell, facing = state >> 2, state & 3
            step = ahead(facing, pitch)
            if wanted[cell + step]:
                return state
            for turn in range(3):
                if turn < 2:
                    follower, cost = cell << 2 | (facing + 1 + 2 * turn) & 3, 1
                elif backwards:
                    follower, cost = (cell - step) << 2 | facing, entry_cost(grid[cell], hands, penalty)
                    if entry_cost(grid[cell - step], hands, penalty) == FAR:
                        cost = FAR
                else:
                    follower, cost = (cell + step) << 2 | facing, entry_cost(grid[cell + step], hands, penalty)
                total = reached + cost
                if total <= limit and total < distance[follower]:
                    distance[follower], parent[follower] = total, state
                    entry_state[used], entry_next[used], bucket[total] = follower, bucket[total], used
                    used += 1
    return -1


@njit(cache=True)
def one(state):  # type: ignore[no-untyped-def]
    sources = np.empty(1, np.int64)
    sources[0] = state
    return sources


@njit(cache=True)
def trace(parent, last):  # type: ignore[no-untyped-def]
    """The states of a forward path, first to last."""
    count, state = 0, last
    while state >= 0:
        count, state = count + 1, parent[state]
    path = np.empty(count, np.int64)
    state = last
    for k in range(count - 1, -1, -1):
        path[k], state = state, parent[state]
    return path


@njit(cache=True)
def first_obstacle(grid, path, hands):  # type: ignore[no-untyped-def]
    """The first cell of a relaxed path that cannot be entered as things are, or -1."""
    for state in path:  # the agent stands on the first, which is no obstacle
        if entry_cost(grid[state >> 2], hands, 0) == 2 and entry_cost(grid[state >> 2], hands, FAR) == FAR:
            return state >> 2
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
def what_ends_it(grid, rules, wanted):  # type: ignore[no-untyped-def]
    """Fill `wanted` with the cells that the task is about; returns the action that ends it in front of one."""
    if rules[RULE] == REACH:
        for cell in range(len(grid)):
            wanted[cell] = kind_of(grid[cell]) == GOAL
        return FORWARD
    for cell in range(len(grid)):
        wanted[cell] = grid[cell] & MARK != 0
    return PICKUP if rules[RULE] == PICK else TOGGLE


@njit(cache=True)
def next_errand(grid, rules, start, hands, wanted, distance, parent):  # type: ignore[no-untyped-def]
    """What can be done next: fills `wanted`, returns (action to take in front of it, path there, empty if none)."""
    sources = one(start)
    action = what_ends_it(grid, rules, wanted)
    for _ in range(8):
        last = search(grid, rules, hands, longest(rules), sources, False, wanted, distance, parent)
        if last < 0:
            break
        path = trace(parent, last)
        obstacle = first_obstacle(grid, path, hands)
        front = (last >> 2) + ahead(last & 3, rules[PITCH])
        if obstacle < 0 and action == TOGGLE and entry_cost(grid[front], hands, FAR) == FAR:
            obstacle = front
        if obstacle < 0:
            return action, path
        action = PICKUP
        if kind_of(grid[obstacle]) == DOOR_LOCKED:
            for cell in range(len(grid)):
                wanted[cell] = kind_of(grid[cell]) == KEY and opens(grid[cell], grid[obstacle])
        else:
            wanted.fill(False)
            wanted[obstacle] = True
    return DONE, np.empty(0, np.int64)


@njit(cache=True)
def facing(grid, rules, wanted):  # type: ignore[no-untyped-def]
    """The states from which a wanted cell is one action away."""
    states, count = np.empty(len(grid), np.int64), 0
    for cell in range(len(grid)):
        if wanted[cell]:
            for direction in range(4):
                neighbour = cell - ahead(direction, rules[PITCH])
                if entry_cost(grid[neighbour], 0, FAR) < FAR and count < len(states):
                    states[count] = neighbour << 2 | direction
                    count += 1
    return states[:count]


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
def where_to_drop(grid, rules, start, hands, wanted):  # type: ignore[no-untyped-def]
    """The path to the best state for a drop before going for `wanted`; empty if there is none.

    Steps from a state to the wanted thing are known at first as if nothing were dropped: a lower bound. States are
    tried in the order of that bound, with the drop in place, until no bound can beat the best.
    """
    nowhere = np.zeros(len(grid), np.bool_)
    there, back = np.empty(4 * len(grid), np.int32), np.empty(4 * len(grid), np.int32)
    parent, scratch, scratch_parent = np.empty_like(there), np.empty_like(there), np.empty_like(there)
    search(grid, rules, hands, FAR, one(start), False, nowhere, there, parent)
    search(grid, rules, 0, FAR, facing(grid, rules, wanted), True, nowhere, back, scratch_parent)
    best, best_total = -1, FAR
    while True:
        state, bound = promising(grid, rules, there, back)
        if bound >= best_total:
            break
        back[state] = FAR  # tried
        front = (state >> 2) + ahead(state & 3, rules[PITCH])
        grid[front] = hands
        last = search(grid, rules, 0, FAR, one(state), False, wanted, scratch, scratch_parent)
        grid[front] = 0
        if last >= 0 and there[state] + scratch[last] < best_total:
            best, best_total = state, there[state] + scratch[last]
    return trace(parent, best)


@njit(cache=True)
def leg(grid, body, rules, acts):  # type: ignore[no-untyped-def]
    """Write the actions up to the next thing done into `acts`; returns their number, 0 where there is no way."""
    hands, start = body[HANDS], body[POSITION] << 2 | body[DIRECTION]
    if kind_of(grid[body[POSITION]]) == LAVA:
        return 0
    wanted = np.zeros(len(grid), np.bool_)
    distance, parent = np.empty(4 * len(grid), np.int32), np.empty(4 * len(grid), np.int32)
    action, path = next_errand(grid, rules, start, hands, wanted, distance, parent)
    if len(path) == 0:
        return 0
    count, unlocked = follow(grid, path, hands, acts)
    if action == PICKUP and hands != 0:
        if unlocked >= 0:
            return unlocked + 1  # the key is still needed: open that door, then see
        path = where_to_drop(grid, rules, start, hands, wanted)
        if len(path) == 0:
            return 0
        action = DROP
        count, unlocked = follow(grid, path, hands, acts)
    acts[count] = action
    return count + 1


@njit(cache=True)
def already_done(grid, body, rules):  # type: ignore[no-untyped-def]
    if rules[RULE] == PICK:
        return body[HANDS] & MARK != 0
    if rules[RULE] == OPEN:
        return marked_door_open(grid)
    return kind_of(grid[body[POSITION]]) == GOAL


@njit(cache=True)
def plans(grids, bodies, rules, most_legs, actions, lengths):  # type: ignore[no-untyped-def]
    """For each copy the plan's first action and, if `most_legs` suffice to end it, its length (0 done, -1 no way)."""
    acts = np.empty(2 * longest(rules) + 2, np.int64)
    for n in range(len(grids)):
        grid, body = grids[n].copy(), bodies[n].copy()
        actions[n], lengths[n] = DONE, -1
        if already_done(grid, body, rules):
            lengths[n] = 0
            continue
        total, ended = 0, False
        for k in range(most_legs):
            count = leg(grid, body, rules, acts)
            if k == 0 and count > 0:
                actions[n] = acts[0]
            for act in acts[:count]:
                ended = move(grid, body, act, rules) == SUCCESS
                total += 1
            if ended:
                lengths[n] = total
            if ended or count == 0:
                break
