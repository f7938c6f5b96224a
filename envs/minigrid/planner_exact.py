"""The shortest plan, by best-first search over everything that can change: pose, hands, and the grid itself.

A *situation* is a grid with what the hands hold; a node is a situation with a state (cell and direction) in it. Nodes
are expanded, by the physics, in the order of

    f = actions so far + `planner_bound`

and the latest first among equals, until f reaches the length of a plan that is already known: no shorter one exists.

To open a door and not to walk through it at once is never better than to open it later: the two are one move. The
search gives up if more than `MOST_NODES` nodes were expanded before a value of f is begun. The bound never falls by
more than one per action, so that after an action on a shortest path no node is needed that was not needed before it:
what could be proven once can be proven at every later step, and replanning does not turn back. Source: Hart, Nilsson &
Raphael 1968; hashing of situations after Zobrist 1970.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.compiled import njit
from envs.minigrid.codes import BOX, DOOR_CLOSED, DOOR_LOCKED, DOOR_OPEN, EMPTY, KEY, MARK, OUTSIDE
from envs.minigrid.physics import (
    DIRECTION,
    DONE,
    DROP,
    FORWARD,
    HANDS,
    NOTHING,
    PICKUP,
    PITCH,
    POSITION,
    RULE,
    SUCCESS,
    TOGGLE,
    ahead,
    kind_of,
    move,
)
from envs.minigrid.planner_bound import abstract, bound
from envs.minigrid.planner_legs import flood, in_reach
from envs.minigrid.planner_search import NONE, ZERO
from envs.minigrid.tasks import GO_TO, PICK
from envs.splitmix import mixed

MOST_NODES = 4000
MOST_ABOVE = 64  # f is looked at up to so many actions above the first bound
UNSEEN = 2**30
HASH, HELD, ROW = range(3)  # columns of `facts`
SITUATION, STATE, SPENT, FIRST, NEXT = range(5)  # columns of a table of nodes; FIRST: the plan's first action


class Situations(NamedTuple):
    """grids [S, cells], facts [S, 3], best [S, 4 * cells] actions to a state, rows [S, 4 * cells] bounds with their
    row_facts [S, 3], and how many situations and rows there are."""

    grids: np.ndarray
    facts: np.ndarray
    best: np.ndarray
    rows: np.ndarray
    row_facts: np.ndarray
    counts: np.ndarray


class Nodes(NamedTuple):
    """A table of nodes, the first of the list of each f above the least, and the number of nodes."""

    table: np.ndarray
    heads: np.ndarray
    used: np.ndarray


@njit(cache=True)
def scrambled(cell, word):  # type: ignore[no-untyped-def]
    """A 64-bit number for a word in a cell."""
    return np.int64(mixed(np.uint64(cell) << np.uint64(32) | np.uint64(word)))


@njit(cache=True)
def digest(grid, hands):  # type: ignore[no-untyped-def]
    total = scrambled(len(grid), hands)
    for cell in range(len(grid)):
        if grid[cell] != 0:
            total += scrambled(cell, np.int64(grid[cell]))
    return total


@njit(cache=True)
def grown(array):  # type: ignore[no-untyped-def]
    """The array with room for twice as many rows."""
    larger = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    for k in range(array.shape[0]):
        larger[k] = array[k]
    return larger


@njit(cache=True)
def find(facts, count, key):  # type: ignore[no-untyped-def]
    """The row with the hash `key` among the first `count`, looked for from the latest; `count` if there is none."""
    for k in range(count - 1, -1, -1):
        if facts[k, HASH] == key:
            return k
    return count


@njit(cache=True)
def beginning(grid, hands):  # type: ignore[no-untyped-def]
    """The situation to start from, and no node yet."""
    cells, room = len(grid), 32
    grids, best = np.empty((room, cells), np.int32), np.empty((room, 4 * cells), np.int32)
    facts, rows = np.empty((room, 3), np.int64), np.empty((room, 4 * cells), np.int32)
    grids[0], best[0], facts[0, HASH], facts[0, HELD], facts[0, ROW] = grid, UNSEEN, digest(grid, hands), hands, -1
    counts = np.zeros(2, np.int64)
    counts[0] = 1
    known = Situations(grids, facts, best, rows, np.empty_like(facts), counts)
    heads = np.full(MOST_ABOVE, -1, np.int64)
    return known, Nodes(np.empty((512, 5), np.int64), heads, np.zeros(1, np.int64))


@njit(cache=True)
def situation_of(known, like, front, word, held):  # type: ignore[no-untyped-def]
    """Which situation is that of `like` with `word` in the cell `front` and `held` in the hands; enters new ones."""
    grids, facts, best = known.grids, known.facts, known.best
    key, count = facts[like, HASH], known.counts[0]
    if grids[like, front] != 0:
        key -= scrambled(front, np.int64(grids[like, front]))
    if word != 0:
        key += scrambled(front, np.int64(word))
    key += scrambled(grids.shape[1], held) - scrambled(grids.shape[1], facts[like, HELD])
    found = find(facts, count, key)
    if found < count:
        return known, found
    if count == len(grids):
        grids, facts, best = grown(grids), grown(facts), grown(best)
        known = Situations(grids, facts, best, known.rows, known.row_facts, known.counts)
    grids[count] = grids[like]
    grids[count, front], facts[count, HASH], facts[count, HELD], facts[count, ROW] = word, key, held, -1
    best[count] = UNSEEN
    known.counts[0] += 1
    return known, count


@njit(cache=True)
def with_bound(known, situation, start, rules):  # type: ignore[no-untyped-def]
    """Make sure that the situation has a row of bounds; situations that differ in nothing that matters share one."""
    rows, facts, count = known.rows, known.row_facts, known.counts[1]
    essence, body = np.empty_like(known.grids[situation]), start.copy()
    body[HANDS] = abstract(known.grids[situation], known.facts[situation, HELD], rules, essence)
    key = digest(essence, body[HANDS])
    row = find(facts, count, key)
    if row == count:
        if count == len(rows):
            rows, facts = grown(rows), grown(facts)
            known = Situations(known.grids, known.facts, known.best, rows, facts, known.counts)
        rows[row], facts[row, HASH] = bound(essence, body, rules), key
        known.counts[1] += 1
    known.facts[situation, ROW] = row
    return known


@njit(cache=True)
def push(nodes, situation, state, spent, first, above):  # type: ignore[no-untyped-def]
    """Put a node in front of the list of its f, which is `above` the least."""
    table, count = nodes.table, nodes.used[0]
    if count == len(table):
        table = grown(table)
        nodes = Nodes(table, nodes.heads, nodes.used)
    table[count, SITUATION], table[count, STATE], table[count, SPENT] = situation, state, spent
    table[count, FIRST], table[count, NEXT] = first, nodes.heads[above]
    nodes.heads[above] = count
    nodes.used[0] += 1
    return nodes


@njit(cache=True)
def lone_lock(grid, start, rules):  # type: ignore[no-untyped-def]
    """The only locked door, if its key is the only thing that can be carried before it is open; else -1."""
    lock, locks, things, shut = NONE, 0, np.int64(start[HANDS] != 0), grid.copy()
    for cell in range(len(grid)):
        kind = kind_of(grid[cell])
        things += KEY <= kind <= BOX and grid[cell] & MARK == 0
        if kind == DOOR_LOCKED:
            lock, locks, shut[cell] = np.int64(cell), locks + 1, OUTSIDE
    if locks != 1 or things != 1 or rules[RULE] != PICK:
        return NONE
    reached, wanted = np.empty(len(grid), np.bool_), np.empty(len(grid), np.bool_)
    flood(shut, rules, start[POSITION], start[HANDS], reached)
    return NONE if in_reach(shut, start, rules, reached, wanted) else lock


@njit(cache=True)
def is_worth(action, word, hands, lock, rule):  # type: ignore[no-untyped-def]
    """Can `action` with `word` ahead be part of a shortest plan? Shutting a door never helps; nor does putting down the
    key of a `lone_lock` that is still to be opened."""
    if action == PICKUP:
        return hands == 0 and kind_of(word) >= KEY
    if action == DROP:
        needed = kind_of(lock) == DOOR_LOCKED and kind_of(hands) == KEY
        return hands != 0 and word == 0 and not needed
    if action == TOGGLE:
        return kind_of(word) > DOOR_OPEN
    return action <= FORWARD or (action == DONE and rule == GO_TO)


@njit(cache=True)
def expand(known, nodes, node, body, rules, lock, least, f, limit):  # type: ignore[no-untyped-def]
    """Push what follows a node of this f, unless its own f reaches `limit`; also returns the plan's first action if
    it succeeds."""
    situation, state = nodes.table[node, SITUATION], nodes.table[node, STATE]
    first, held = nodes.table[node, FIRST], known.facts[situation, HELD]
    front = (state >> 2) + ahead(state & 3, rules[PITCH])
    for action in range(DONE + 1):
        grid = known.grids[situation]
        word = grid[front]
        if not is_worth(action, word, held, grid[lock] if lock >= 0 else EMPTY, rules[RULE]):
            continue
        body[POSITION], body[DIRECTION], body[HANDS] = state >> 2, state & 3, held
        outcome = move(grid, body, action, rules)
        changed, grid[front] = grid[front], word
        began = action if first < 0 else first
        if outcome == SUCCESS:
            return known, nodes, began
        spent, least_left = nodes.table[node, SPENT] + 1, 0
        follower, reached = situation, body[POSITION] << 2 | body[DIRECTION]
        if kind_of(word) == DOOR_CLOSED and action == TOGGLE and rules[RULE] <= PICK:
            reached, spent = front << 2 | body[DIRECTION], spent + 1
            least_left = known.rows[known.facts[situation, ROW], reached] - 1
        if changed != word or body[HANDS] != held:
            known, follower = situation_of(known, situation, front, changed, body[HANDS])
        if outcome != NOTHING or spent >= known.best[follower, reached]:
            continue
        known.best[follower, reached] = spent
        row = known.facts[follower, ROW]
        total = max(f, spent + (known.rows[row, reached] if row >= 0 else least_left))
        if total < min(limit, least + MOST_ABOVE):
            nodes = push(nodes, follower, reached, spent, began, total - least)
    return known, nodes, -1


@njit(cache=True)
def shortest(grid, start, rules, limit, most_nodes):  # type: ignore[no-untyped-def]
    """(length, first action, nodes expanded) of the shortest plan if it is shorter than `limit`.

    The action is -1 where there is none shorter; then the length is `limit`, or -1 if the search gave up.
    """
    state, body, expanded = start[POSITION] << 2 | start[DIRECTION], start.copy(), 0
    known, nodes = beginning(grid, start[HANDS])
    known = with_bound(known, ZERO, start, rules)
    least = np.int64(known.rows[0, state])
    if least >= limit:
        return limit, -1, 0
    known.best[0, state], lock = 0, lone_lock(grid, start, rules)
    nodes = push(nodes, ZERO, state, ZERO, NONE, ZERO)
    for above in range(min(MOST_ABOVE, limit - least)):
        if expanded > most_nodes:
            return -1, -1, expanded
        while nodes.heads[above] >= 0:
            node = nodes.heads[above]
            situation, state, spent = nodes.table[node, SITUATION], nodes.table[node, STATE], nodes.table[node, SPENT]
            nodes.heads[above] = nodes.table[node, NEXT]
            if known.best[situation, state] < spent:
                continue
            if known.facts[situation, ROW] < 0:
                known = with_bound(known, situation, start, rules)
            total = spent + known.rows[known.facts[situation, ROW], state]
            if total > least + above:
                if total < min(limit, least + MOST_ABOVE):
                    nodes = push(nodes, situation, state, spent, nodes.table[node, FIRST], total - least)
                continue
            expanded += 1
            known, nodes, action = expand(known, nodes, node, body, rules, lock, least, least + above, limit)
            if action >= 0:
                return spent + 1, action, expanded
    return limit, -1, expanded
