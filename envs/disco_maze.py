"""DiscoMaze: a maze whose walls change colour at every step; to see it is noise, to leave it is death.

Each view is one of 5^242 that differ in nothing an agent can influence: novelty of views is everywhere and says
nothing about where one is. There is no reward at all; the share of the maze visited before the episode ends is the
score (`infos["episode"]["coverage"]`).

Source: Puigdomenech Badia et al. 2020, "Never Give Up", section 4.1 (Random Disco Maze). What it leaves open is
ours: mazes without loops from a depth-first walk, a start at a random cell, a time limit of 500 steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.batched import BatchedWorld, SingleCopy
from envs.compiled import njit
from envs.splitmix import GOLDEN, below, words

IDS = ("DiscoMaze-v0",)
COLOURS = 5
# Minigrid's codes. A wall is coded as its closed door, the one barrier whose colour every encoder sees: its own walls
# are grey, and `symbolic` does not tell their colours apart. Open floor is coded as "nothing", which costs no time.
DOOR, CLOSED, AGENT = 4, 1, 10
MOVES = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # right, down, left, up


class DiscoMaze(BatchedWorld):
    """
    ## Description
    A maze of `size` x `size` cells without loops, drawn anew for each episode: rooms at the odd coordinates, and the
    walls between them of which a random depth-first walk takes down one for each further room. At every step each wall
    cell takes one of five colours at random. Stepping into a wall ends the episode.

    ## Action Space
    `Discrete(4)`: one cell to the right, down, left, up.

    ## Observation Space
    Dict of `image` (size, size, 3) uint8: type, colour and state of each cell [x, y] of the whole maze, in Minigrid's
    code: open floor (0, 0, 0), the agent (10, 0, 0), and walls (4, colour, 1), as Minigrid's closed doors.

    ## Rewards
    None.

    ## Starting State
    A random open cell.

    ## Termination
    Stepping into a wall, where the agent stays before it. Truncated after `max_steps` steps.

    ## Labels
    `position` (classes): (x, y) of the agent.

    ## Cells
    The position. All open cells are within reach: with k = (size - 1) / 2 rooms a side these are 2 k^2 - 1.

    ## Oracle
    Goes the shortest way to the nearest cell that the episode has not visited: a depth-first walk, which has seen all
    after at most twice as many steps as there are open cells.

    Args:
        num_envs: number of copies.
        size: side of the maze, odd, 5 to 99.
        max_steps: time limit.
        emit_labels: see `BatchedWorld`.
    """

    has_oracle = True

    def __init__(self, num_envs: int = 1, *, size: int = 21, max_steps: int = 500, emit_labels: bool = False) -> None:
        if not (5 <= size <= 99 and size % 2):
            raise ValueError(f"DiscoMaze's size must be odd and lie in 5..99, got {size}")
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        self.size, self.max_steps, self.cell_shape = size, max_steps, (size, size)
        self.steps = np.array([x + size * y for x, y in MOVES])  # of each action, in cells y * size + x
        self.walls = np.ones((num_envs, size * size), bool)
        self.position = np.zeros(num_envs, np.int64)
        self.paint = np.zeros(num_envs, np.int64)  # the word that the present colours follow from
        self.label_spaces = {"position": spaces.MultiDiscrete([size, size])}
        image = spaces.Box(0, AGENT, (size, size, 3), np.uint8)
        super().__init__(num_envs, spaces.Dict({"image": image}), spaces.Discrete(4), emit_labels=emit_labels)

    def _begin(self, copies: np.ndarray) -> None:
        draw_mazes(self.walls, self.position, copies, words(self.np_random, len(copies)), self.size)
        self.paint[copies] = words(self.np_random, len(copies))

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if (actions < 0).any() or (actions > 3).any():
            raise ValueError(f"actions must lie in 0..3, got {actions.min()}..{actions.max()}")
        there = self.position + self.steps[actions]
        hit = self.walls[np.arange(self.num_envs), there]
        self.position = np.where(hit, self.position, there)
        self.paint = words(self.np_random, self.num_envs)
        return np.zeros(self.num_envs), hit, self.episode_lengths + 1 >= self.max_steps

    def _observe(self) -> dict[str, np.ndarray]:
        image = np.zeros((self.num_envs, self.size, self.size, 3), np.uint8)
        look(self.walls, self.position, self.paint, image)
        return {"image": image}

    def labels(self) -> dict[str, np.ndarray]:
        y, x = np.divmod(self.position, self.size)
        return {"position": np.stack([x, y], axis=1)}

    def oracle(self) -> np.ndarray:
        assert self.coverage is not None
        actions = np.zeros(self.num_envs, np.int64)
        seen = self.coverage.has_seen(np.arange(self.n_cells))
        go_on(self.walls, self.position, seen, self.steps, actions)
        return actions

    def cells(self) -> np.ndarray:
        return self.position.copy()

    def reachable(self) -> np.ndarray:
        return np.full(self.num_envs, 2 * (self.size // 2) ** 2 - 1)

    def state_dict(self) -> dict[str, np.ndarray]:
        own = {"walls": self.walls, "position": self.position, "paint": self.paint}
        return super().state_dict() | {name: value.copy() for name, value in own.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """ValueError if it belongs to another size or number of copies, or has an agent outside."""
        size, position, walls = self.size, state["position"], state["walls"].reshape(len(self.walls), -1)
        if walls.shape != self.walls.shape or position.shape != self.position.shape:
            raise ValueError(f"the saved walls have shape {walls.shape}, this world needs {self.walls.shape}")
        y, x = np.divmod(position, size)
        border = np.ones((size, size), bool)
        border[1:-1, 1:-1] = False
        if (np.minimum(x, y) < 1).any() or (np.maximum(x, y) > size - 2).any() or not walls[:, border.ravel()].all():
            raise ValueError("the saved state has an agent outside the maze, or a maze that is not closed")
        super().load_state_dict(state)
        self.walls[:], self.position, self.paint = walls, position.copy(), state["paint"].copy()


def make_single(**kwargs: Any) -> SingleCopy:
    """The one-copy environment (Gymnasium's entry point)."""
    return SingleCopy(DiscoMaze(1, **kwargs))


# ---------------------------------------------------------------------- compiled


@njit(cache=True)
def draw_mazes(walls, position, copies, words, size):  # type: ignore[no-untyped-def]
    """A new maze and place for each of `copies`, all from its word."""
    rooms = size // 2
    stack, ways = np.empty(rooms * rooms, np.int64), np.empty(4, np.int64)
    steps = (1, size, -1, -size)
    for k in range(len(copies)):
        n, state = copies[k], np.uint64(words[k])
        for cell in range(size * size):
            walls[n, cell] = True
        state += GOLDEN
        room = below(state, rooms * rooms)
        stack[0], top = (2 * (room // rooms) + 1) * size + 2 * (room % rooms) + 1, 1
        walls[n, stack[0]] = False
        while top:
            cell, count = stack[top - 1], 0
            x, y = cell % size, cell // size
            for way in range(4):
                inside = (x < size - 2, y < size - 2, x > 1, y > 1)[way]
                if inside and walls[n, cell + 2 * steps[way]]:
                    ways[count] = steps[way]
                    count += 1
            if count == 0:
                top -= 1
                continue
            state += GOLDEN
            step = ways[below(state, count)]
            walls[n, cell + step], walls[n, cell + 2 * step] = False, False
            stack[top] = cell + 2 * step
            top += 1
        state += GOLDEN
        left = below(state, 2 * rooms * rooms - 1)
        for cell in range(size * size):
            if not walls[n, cell]:
                if left == 0:
                    position[n] = cell
                left -= 1


@njit(cache=True)
def look(walls, position, paint, image):  # type: ignore[no-untyped-def]
    """Write image [N, x, y, 3], which must be zero; walls take the draws that follow from each copy's word, in turn."""
    size = image.shape[1]
    for n in range(len(position)):
        state = np.uint64(paint[n])
        for x in range(size):
            for y in range(size):
                if walls[n, y * size + x]:
                    state += GOLDEN
                    image[n, x, y, 0], image[n, x, y, 1], image[n, x, y, 2] = DOOR, below(state, COLOURS), CLOSED
        image[n, position[n] % size, position[n] // size, 0] = AGENT


@njit(cache=True)
def go_on(walls, position, seen, steps, actions):  # type: ignore[no-untyped-def]
    """Fill actions [N]: the first of the shortest way to an open cell that is not in `seen`, or of any once all are."""
    cells = walls.shape[1]
    queue, first = np.empty(cells, np.int64), np.empty(cells, np.int64)
    for n in range(len(position)):
        first[:] = -1
        queue[0], first[position[n]] = position[n], 4
        head, tail, found = 0, 1, -1
        actions[n] = -1
        while head < tail and found < 0:
            cell = queue[head]
            head += 1
            for action in range(4):
                there = cell + steps[action]
                if walls[n, there] or first[there] >= 0:
                    continue
                first[there] = action if cell == position[n] else first[cell]
                if actions[n] < 0:
                    actions[n] = first[there]
                if not seen[n, there]:
                    found = there
                    break
                queue[tail] = there
                tail += 1
        if found >= 0:
            actions[n] = first[found]
