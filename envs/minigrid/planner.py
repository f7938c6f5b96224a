"""A perfect supervisor: it sees the whole grid, finds the way, and replans from nothing at every call.

First a plan by legs (`planner_legs`), on any level. Where nothing lies around that could be moved or unlocked, it is
the shortest. Otherwise a best-first search (`planner_exact`) looks for a shorter one, and gives up where the level is
too large for it. Each action of a plan shortens it by one. Moving obstacles are planned around as they stand, and
waited for by turning.
"""

from __future__ import annotations

import numpy as np

from envs.compiled import njit
from envs.minigrid.codes import BOX, DOOR_LOCKED, KEY
from envs.minigrid.physics import HANDS, RULE, kind_of
from envs.minigrid.planner_exact import MOST_NODES, shortest
from envs.minigrid.planner_legs import out_of_reach, plan_all
from envs.minigrid.planner_search import FAR
from envs.minigrid.tasks import AVOID


def plans(grids: np.ndarray, bodies: np.ndarray, rules: np.ndarray, actions: np.ndarray, lengths: np.ndarray) -> None:
    """Fill for each copy the first action of a plan, and the plan's length (0 done, -1 no plan found; then DONE).

    Args:
        grids: [N, padded cells] int32.
        bodies: [N, 6] int64.
        rules: the task, as `physics.rules_of` gives it.
        actions: [N] int64, filled.
        lengths: [N] int64, filled.
    """
    plan_all(grids, bodies, rules, actions, lengths)
    if rules[RULE] == AVOID:
        return
    for n in np.flatnonzero((lengths != 0) & has_loose_things(grids, bodies) & ~hopeless(grids, bodies, rules)):
        # Legs that led nowhere prove nothing: then a long search is better than no plan.
        limit, effort = (lengths[n], MOST_NODES) if lengths[n] > 0 else (FAR, 10 * MOST_NODES)
        length, action, _ = shortest(grids[n], bodies[n], rules, limit, effort)
        if action >= 0:
            actions[n], lengths[n] = action, length


def hopeless(grids: np.ndarray, bodies: np.ndarray, rules: np.ndarray) -> np.ndarray:
    """[N] bool: nobody can succeed from here, even if everything movable could be walked through.

    That is a proof; where it is False there may still be no way. Arguments as of `plans`.
    """
    found = np.empty(len(grids), bool)
    out_of_reach(grids, bodies, rules, found)
    return found


@njit(cache=True)
def has_loose_things(grids, bodies):  # type: ignore[no-untyped-def]
    """[N] bool: is there anything that could be moved or unlocked?"""
    found = bodies[:, HANDS] != 0
    for n in range(len(grids)):
        for word in grids[n]:
            found[n] |= KEY <= kind_of(word) <= BOX or kind_of(word) == DOOR_LOCKED
    return found
