"""MultiRoom's search for a place for its rooms, compiled: the same rooms from the same draws, a hundred times sooner.

Minigrid places room after room at random and begins again from nothing where one does not fit: twelve rooms need some
hundred beginnings, a tenth of a second. Here the same search draws from the same generator (numba's `integers` is
NumPy's, bit for bit, and both advance one state), so that `env.reset(seed=...)` builds the same level as without it.

Source: minigrid 3.2, `MultiRoomEnv._placeRoom`, whose recursion never takes a room back and is therefore a loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.compiled import njit

RIGHT, SOUTH, LEFT, TOP = range(4)  # walls of a room
MANY = 8  # rooms from which on it takes longer to search for them than to compile the search
TRIES = 8  # for the room after each room
X, Y, SIZE_X, SIZE_Y, DOOR_X, DOOR_Y = range(6)  # columns of `rooms`


def quicken(env: Any) -> None:
    """Make the `reset` of an unwrapped Minigrid environment quick if it is a MultiRoom with many rooms."""
    from minigrid.envs.multiroom import MultiRoom, MultiRoomEnv

    def place_all(count: int, roomList: list, minSz: int, maxSz: int, entryDoorWall: int, entryDoorPos: Any) -> bool:
        rooms = np.zeros((count, 6), np.int64)
        door_x, door_y = entryDoorPos
        search(env.np_random, rooms, minSz, maxSz, entryDoorWall, door_x, door_y, env.width, env.height)
        for x, y, size_x, size_y, *door in rooms.tolist():
            roomList.append(MultiRoom((x, y), (size_x, size_y), tuple(door), None))
        return True

    if type(env) is MultiRoomEnv and env.maxNumRooms >= MANY:
        vars(env)["_placeRoom"] = place_all


@njit(cache=True)
def search(random, rooms, smallest, largest, wall, door_x, door_y, width, height):  # type: ignore[no-untyped-def]
    """Fill `rooms` [count, 6], the first behind the door at (door_x, door_y), which is drawn anew where it fails."""
    while not chain(random, rooms, smallest, largest, wall, door_x, door_y, width, height):
        door_x, door_y = random.integers(0, width - 2), random.integers(0, width - 2)


@njit(cache=True)
def chain(random, rooms, smallest, largest, wall, door_x, door_y, width, height):  # type: ignore[no-untyped-def]
    """One attempt, each room behind a door of the one before it; whether all were placed."""
    if not place(random, rooms, 0, smallest, largest, wall, door_x, door_y, width, height):
        return False
    placed, tries = 1, 0
    while placed < len(rooms):
        if tries == TRIES:
            return False
        x, y, size_x, size_y = rooms[placed - 1, :4]
        leave = random.integers(0, 3)
        leave += leave >= wall  # any wall but the one of its own door
        along = random.integers(1, size_y - 1) if leave in (RIGHT, LEFT) else random.integers(1, size_x - 1)
        door_x = x + size_x - 1 if leave == RIGHT else x if leave == LEFT else x + along
        door_y = y + size_y - 1 if leave == SOUTH else y if leave == TOP else y + along
        entry = (leave + 2) % 4
        if place(random, rooms, placed, smallest, largest, entry, door_x, door_y, width, height):
            placed, tries, wall = placed + 1, 0, entry
        else:
            tries += 1
    return True


@njit(cache=True)
def place(random, rooms, k, smallest, largest, wall, door_x, door_y, width, height):  # type: ignore[no-untyped-def]
    """Draw room k, its door at (door_x, door_y) in `wall`; whether it lies in the grid and apart from the others."""
    size_x, size_y = random.integers(smallest, largest + 1), random.integers(smallest, largest + 1)
    x, y = door_x, door_y
    if k > 0 and wall in (RIGHT, LEFT):
        x -= size_x - 1 if wall == RIGHT else 0
        y = random.integers(door_y - size_y + 2, door_y)
    elif k > 0:
        x = random.integers(door_x - size_x + 2, door_x)
        y -= size_y - 1 if wall == SOUTH else 0
    if x < 0 or y < 0 or x + size_x > width or y + size_y >= height:
        return False
    for other in range(k - 1):  # the one before shares the door's wall
        left, top, wide, tall = rooms[other, :4]
        if not (x + size_x < left or left + wide <= x or y + size_y < top or top + tall <= y):
            return False
    rooms[k, X], rooms[k, Y], rooms[k, SIZE_X], rooms[k, SIZE_Y] = x, y, size_x, size_y
    rooms[k, DOOR_X], rooms[k, DOOR_Y] = door_x, door_y
    return True
