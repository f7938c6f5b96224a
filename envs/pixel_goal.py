"""PixelGoal: find the goal in a picture of which every factor is known, a distractor and a noise video among them.

What moves in the picture is of three kinds, as in the distractor benchmarks (Stone et al. 2021, "The Distracting
Control Suite"; Zhang et al. 2021, "Learning Invariant Representations"): the agent, which actions move; the goal, which
the reward depends on and no action moves; and a distractor that neither touches. A probe of the three tells what an
objective keeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.batched import BatchedWorld, SingleCopy

IDS = ("PixelGoal-v0", "PixelGoal-Noise-v0")
MOVES = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # right, down, left, up
RED, GREEN, BLUE = range(3)
BRIGHTEST_NOISE = 96  # of 255: objects stay visible in each picture


class PixelGoal(BatchedWorld):
    """
    ## Description
    A square room of `size` x `size` cells seen from above. The agent (green) must come to the goal (red). A distractor
    (blue) moves diagonally by one cell a step and bounces off the walls, whatever the agent does; things may overlap.
    With `noise`, each pixel of the floor is a new random grey at every step.

    ## Action Space
    `Discrete(4)`: one cell to the right, down, left, up; at a wall the agent stays.

    ## Observation Space
    `Box` (3, size * pixels, size * pixels) uint8: a picture, channels first.

    ## Rewards
    1 - 0.9 * steps / max_steps on reaching the goal, else 0.

    ## Starting State
    Agent, goal and distractor at random cells, the agent's not the goal's; the distractor in a random diagonal.

    ## Termination
    The goal is reached. Truncated after `max_steps` steps.

    ## Labels
    `position`, `goal`, `distractor` (classes): (x, y) of each.

    ## Cells
    The agent's position: all size^2 cells are within reach.

    ## Oracle
    Goes to the goal, along x first: as short as any way.

    Args:
        num_envs: number of copies.
        size: cells of a side, 3 to 64.
        pixels: of a cell's side, 1 to 16; a convolutional encoder needs size * pixels >= 36.
        noise: see above.
        max_steps: time limit.
        emit_labels: see `BatchedWorld`.
    """

    has_oracle = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        size: int = 8,
        pixels: int = 5,
        noise: bool = False,
        max_steps: int = 64,
        emit_labels: bool = False,
    ) -> None:
        for name, value, low, high in (
            ("size", size, 3, 64),
            ("pixels", pixels, 1, 16),
            ("max_steps", max_steps, 1, 10**6),
        ):
            if not low <= value <= high:
                raise ValueError(f"PixelGoal's {name} must lie in {low}..{high}, got {value}")
        self.size, self.pixels, self.noise, self.max_steps = size, pixels, noise, max_steps
        self.cell_shape, self.has_one_level = (size, size), True  # whichever cell the goal is in
        self.position, self.goal, self.distractor, self.heading = np.zeros((4, num_envs, 2), np.int64)
        two = spaces.MultiDiscrete([size, size])
        self.label_spaces = {"position": two, "goal": two, "distractor": two}
        picture = spaces.Box(0, 255, (3, size * pixels, size * pixels), np.uint8)
        super().__init__(num_envs, picture, spaces.Discrete(4), emit_labels=emit_labels)

    def _begin(self, copies: np.ndarray) -> None:
        draw, k = self.np_random, len(copies)
        place = draw.integers(self.size**2, size=k)
        elsewhere = (place + draw.integers(1, self.size**2, size=k)) % self.size**2
        for array, cells in ((self.position, place), (self.goal, elsewhere)):
            array[copies] = np.stack([cells % self.size, cells // self.size], 1)
        self.distractor[copies] = draw.integers(self.size, size=(k, 2))
        self.heading[copies] = 2 * draw.integers(2, size=(k, 2)) - 1

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if (actions < 0).any() or (actions > 3).any():
            raise ValueError(f"actions must lie in 0..3, got {actions.min()}..{actions.max()}")
        self.position = np.clip(self.position + MOVES[actions], 0, self.size - 1)
        there = self.distractor + self.heading
        self.heading = np.where((there < 0) | (there >= self.size), -self.heading, self.heading)
        self.distractor = self.distractor + self.heading
        reached, steps = self.is_success(), self.episode_lengths + 1
        rewards = np.where(reached, 1 - 0.9 * (steps / self.max_steps), 0.0)
        return rewards, reached, steps >= self.max_steps

    def _observe(self) -> np.ndarray:
        n, side = self.num_envs, self.size * self.pixels
        cells = np.zeros((n, 3, self.size, self.size), np.uint8)
        for colour, place in ((RED, self.goal), (GREEN, self.position), (BLUE, self.distractor)):
            cells[np.arange(n), colour, place[:, 1], place[:, 0]] = 255
        picture = cells.repeat(self.pixels, 2).repeat(self.pixels, 3)
        if not self.noise:
            return picture
        grey = self.np_random.integers(BRIGHTEST_NOISE, size=(n, 1, side, side), dtype=np.uint8)
        return np.where(picture.any(1, keepdims=True), picture, grey)

    def is_success(self) -> np.ndarray:
        return (self.position == self.goal).all(1)

    def labels(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name).copy() for name in self.label_spaces}

    def oracle(self) -> np.ndarray:
        dx, dy = (self.goal - self.position).T
        return np.where(dx > 0, 0, np.where(dx < 0, 2, np.where(dy > 0, 1, 3)))

    def cells(self) -> np.ndarray:
        return self.position[:, 1] * self.size + self.position[:, 0]

    def reachable(self) -> np.ndarray:
        return np.full(self.num_envs, self.size**2)

    def state_dict(self) -> dict[str, np.ndarray]:
        return super().state_dict() | self.labels() | {"heading": self.heading.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """ValueError if it belongs to another number of copies, or has something outside the room."""
        for name in self.label_spaces:
            places = state[name]
            if places.shape != self.position.shape or (places < 0).any() or (places >= self.size).any():
                raise ValueError(f"the saved {name} does not fit {self.num_envs} rooms of {self.size} x {self.size}")
        super().load_state_dict(state)
        for name in (*self.label_spaces, "heading"):
            setattr(self, name, state[name].copy())


def make_single(**kwargs: Any) -> SingleCopy:
    """The one-copy environment (Gymnasium's entry point)."""
    return SingleCopy(PixelGoal(1, **kwargs))
