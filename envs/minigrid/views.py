"""What an agent is shown: the cells before it ("partial"), the whole grid ("full"), or a picture ("rgb").

    partial  [7, 7, 3] (type, colour, state) of each cell of the view; see `envs.minigrid.physics.look`
    full     [width, height, 3] the same of each cell of the grid, the agent's own being (10, 0, its direction)
    rgb      [3, 7 * tile_size, 7 * tile_size] the partial view as Minigrid draws it, channels first

Equal to minigrid 3.2's own view, `FullyObsWrapper` and `RGBImgPartialObsWrapper` number for number. Pictures are made
of tiles that Minigrid draws once for each thing that can be seen.
"""

from __future__ import annotations

import functools

import numpy as np
from gymnasium import spaces

from envs.compiled import njit
from envs.minigrid.codes import VIEW
from envs.minigrid.physics import DIRECTION, HEIGHT, PAD, PITCH, POSITION, WIDTH
from envs.minigrid.single import HIGHEST
from envs.minigrid.tasks import VIEW_SIZE

AGENT = 10  # Minigrid's type of the agent; its colour is red, 0
UP = 3  # where the agent looks in its own view


def space(view: str, width: int, height: int, tile_size: int) -> spaces.Box:
    """The space of `image` in a grid of width x height cells."""
    if view == "rgb":
        return spaces.Box(0, 255, (3, VIEW_SIZE * tile_size, VIEW_SIZE * tile_size), np.uint8)
    cells = (width, height) if view == "full" else (VIEW_SIZE, VIEW_SIZE)
    return spaces.Box(0, HIGHEST, (*cells, 3), np.uint8)


@functools.lru_cache(maxsize=4)
def tiles(tile_size: int) -> np.ndarray:
    """[2, 352, 3, tile_size, tile_size] uint8: what is seen at `type << 5 | colour << 2 | state`, then the same with
    the agent holding it."""
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import WorldObj

    drawn = np.zeros((2, (AGENT + 1) << 5, 3, tile_size, tile_size), np.uint8)
    for shown in {(0, 0, 0), *map(tuple, VIEW.tolist())}:
        thing = WorldObj.decode(*shown)
        index = shown[0] << 5 | shown[1] << 2 | shown[2]
        drawn[0, index] = np.moveaxis(Grid.render_tile(thing, None, shown[0] > 0, tile_size), -1, 0)
        if thing is None or thing.can_pickup():
            drawn[1, index] = np.moveaxis(Grid.render_tile(thing, UP, True, tile_size), -1, 0)
    return drawn


@njit(cache=True)
def paint(symbols, tiles, copies, picture):  # type: ignore[no-untyped-def]
    """Write the pictures of the views symbols [N, 7, 7, 3] of `copies` into picture [N, 3, 7 * size, 7 * size]."""
    size = tiles.shape[-1]
    for n in copies:
        for i in range(VIEW_SIZE):
            for j in range(VIEW_SIZE):
                own = 1 if i == VIEW_SIZE // 2 and j == VIEW_SIZE - 1 else 0
                seen = np.int64(symbols[n, i, j, 0]) << 5 | np.int64(symbols[n, i, j, 1]) << 2 | symbols[n, i, j, 2]
                tile = tiles[own, seen]
                for channel in range(3):
                    for y in range(size):
                        for x in range(size):
                            picture[n, channel, j * size + y, i * size + x] = tile[channel, y, x]


@njit(cache=True)
def survey(grids, bodies, rules, copies, image, direction):  # type: ignore[no-untyped-def]
    """Write the whole grid of `copies` into image [N, width, height, 3], and direction [N]."""
    width, height, pitch = rules[WIDTH], rules[HEIGHT], rules[PITCH]
    for n in copies:
        for y in range(height):
            row = (y + PAD) * pitch + PAD
            for x in range(width):
                seen = VIEW[grids[n, row + x] & 127]
                image[n, x, y, 0], image[n, x, y, 1], image[n, x, y, 2] = seen[0], seen[1], seen[2]
        x, y = bodies[n, POSITION] % pitch - PAD, bodies[n, POSITION] // pitch - PAD
        image[n, x, y, 0], image[n, x, y, 1], image[n, x, y, 2] = AGENT, 0, bodies[n, DIRECTION]
        direction[n] = bodies[n, DIRECTION]
