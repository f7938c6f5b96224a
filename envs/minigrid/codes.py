"""A cell is one word: its lowest byte is the object in it, the next byte what lies inside that object, and so on.

    byte = mark << 7 | kind << 3 | colour        word = byte + 256 * (word of the contents)

Opening a box is then a shift by eight bits. The kinds are numbered so that each question of the physics is one
comparison: `kind <= DOOR_OPEN` can be walked on, `KEY <= kind <= BOX` can be carried, bit 6 of the byte blocks the
view. The mark is the task's own object (the ball to pick up, the door to open): Minigrid compares identities, not
looks. Three nested objects fit in an int32, which every array format can store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

EMPTY, FLOOR, GOAL, LAVA, DOOR_OPEN, KEY, BALL, BOX, DOOR_CLOSED, DOOR_LOCKED, WALL = range(11)
MARK = 128
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")  # Minigrid's numbers 0 to 5
OUTSIDE = WALL << 3 | COLOURS.index("grey")  # what a view shows beyond the grid
MAX_NESTING = 3

KIND_OF_TYPE = {"floor": FLOOR, "goal": GOAL, "lava": LAVA, "key": KEY, "ball": BALL, "box": BOX, "wall": WALL}
_COLOUR_OF_NAME = {name: number for number, name in enumerate(COLOURS)}
# Minigrid's (type, state) of each kind, as its observations encode them.
_SEEN_AS = ((1, 0), (3, 0), (8, 0), (9, 0), (4, 0), (5, 0), (6, 0), (7, 0), (4, 1), (4, 2), (2, 0))


def _view_table() -> np.ndarray:
    """[128, 3] uint8: byte without its mark -> the (type, colour, state) that Minigrid shows."""
    table = np.zeros((128, 3), np.uint8)
    for kind, (shown_type, state) in enumerate(_SEEN_AS):
        for colour in range(len(COLOURS)):
            table[kind << 3 | colour] = shown_type, colour, state
    return table


VIEW = _view_table()


def word_of(thing: Any, is_marked: Callable[[Any], bool] = lambda _: False, depth: int = 0) -> int:
    """The word of a Minigrid object (`None` is the empty cell); `is_marked` tells the task's own object.

    Raises:
        ValueError: for more than three nested objects, or a door that is open and locked at once.
    """
    if thing is None:
        return EMPTY
    if depth == MAX_NESTING:
        raise ValueError(f"a cell holds at most {MAX_NESTING} nested objects")
    kind = _door_kind(thing) if thing.type == "door" else KIND_OF_TYPE[thing.type]
    byte = MARK * is_marked(thing) | kind << 3 | _COLOUR_OF_NAME[thing.color]
    return byte + (word_of(thing.contains, is_marked, depth + 1) << 8 if kind == BOX else 0)


def _door_kind(door: Any) -> int:
    if door.is_open and door.is_locked:
        raise ValueError("a door cannot be open and locked at once")
    return DOOR_OPEN if door.is_open else DOOR_LOCKED if door.is_locked else DOOR_CLOSED
