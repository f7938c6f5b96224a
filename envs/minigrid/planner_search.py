"""Shortest paths over (cell, direction) in a grid of Minigrid: what the planner's parts have in common.

A *state* is the number 4 * cell + direction; turning costs one action, stepping into a cell what `entry_cost` says.
Source: Dijkstra's algorithm with Dial's buckets (1969).
"""

from __future__ import annotations

import numpy as np

from envs.compiled import njit
from envs.minigrid.codes import BOX, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, FLOOR, KEY
from envs.minigrid.physics import HEIGHT, PITCH, WIDTH, ahead, kind_of, opens

# NumPy's numbers, because numba would compile a function again for each Python number that it is called with.
FAR = np.int64(2**30)
ZERO, NONE = np.int64(0), np.int64(-1)
FORWARDS, BACKWARDS = np.bool_(False), np.bool_(True)
FACING, STANDING = np.bool_(False), np.bool_(True)
MOST_OBSTACLES = 5  # that one relaxed path may lead through


@njit(cache=True)
def entry_cost(word, hands, penalty):  # type: ignore[no-untyped-def]
    """Actions to step into a cell: what blocks the way costs `penalty` more (a key, which may be of use, three quarters
    of it), what never opens is FAR."""
    kind = kind_of(word)
    if kind <= FLOOR or kind == DOOR_OPEN:
        return 1
    if kind == DOOR_CLOSED or (kind == DOOR_LOCKED and opens(hands, word)):
        return 2
    if kind == DOOR_LOCKED or KEY <= kind <= BOX:
        return FAR if penalty == FAR else 2 + (3 * penalty // 4 if kind == KEY else penalty)
    return FAR


@njit(cache=True)
def longest(rules):  # type: ignore[no-untyped-def]
    """No shortest path is longer: four actions a cell."""
    return 4 * rules[WIDTH] * rules[HEIGHT]


@njit(cache=True)
def search(grid, rules, hands, penalty, sources, costs, backwards, standing, wanted, distance, parent):  # type: ignore[no-untyped-def]
    """Distances from the states `sources`, which begin at `costs`, or to them if `backwards`.

    Stops at the first state that faces a cell of `wanted` (stands on one if `standing`) and returns it; -1 where there
    is none.
    """
    pitch, limit = rules[PITCH], longest(rules) * (4 if penalty == FAR else MOST_OBSTACLES + 1)
    distance.fill(FAR)
    bucket = np.full(limit + 1, -1, np.int32)  # head of a linked list of entries for each distance
    entry_state, entry_next = np.empty(5 * len(distance), np.int32), np.empty(5 * len(distance), np.int32)
    used, highest = 0, -1
    for k in range(len(sources)):
        state, cost = sources[k], costs[k]
        if cost <= limit and cost < distance[state]:
            distance[state], parent[state] = cost, -1
            entry_state[used], entry_next[used], bucket[cost] = state, bucket[cost], used
            used, highest = used + 1, max(highest, cost)
    reached = -1
    while reached < highest:
        reached += 1
        while bucket[reached] >= 0:
            state = entry_state[bucket[reached]]
            bucket[reached] = entry_next[bucket[reached]]
            if distance[state] < reached:
                continue
            cell, facing = state >> 2, state & 3
            step = ahead(facing, pitch)
            if wanted[cell if standing else cell + step]:
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
                    used, highest = used + 1, max(highest, total)
    return -1


@njit(cache=True)
def single(value):  # type: ignore[no-untyped-def]
    array = np.empty(1, np.int64)
    array[0] = value
    return array


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
def facing(grid, rules, wanted):  # type: ignore[no-untyped-def]
    """The states from which a wanted cell lies straight ahead."""
    states, count = np.empty(4 * len(grid), np.int64), 0
    for cell in range(len(grid)):
        if wanted[cell]:
            for direction in range(4):
                neighbour = cell - ahead(direction, rules[PITCH])
                if entry_cost(grid[neighbour], ZERO, FAR) < FAR:
                    states[count] = neighbour << 2 | direction
                    count += 1
    return states[:count]


@njit(cache=True)
def holds_key(word, door):  # type: ignore[no-untyped-def]
    """Is `word` the key of `door`, or a box with it inside?"""
    while kind_of(word) == BOX:
        word >>= 8
    return opens(word, door)
