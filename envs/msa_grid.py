"""MarkovGrid: an empty room seen through a noisy picture, in which the goal is not.

x = G(one-hot(floor(3 (s + 0.5 + 0.05 e_1)))) + 0.01 e_2,  G a Gaussian of sigma 0.6 pixels cut at one, e ~ N(0, I)

Source: Allen et al. 2021, "Learning Markov state abstractions for deep reinforcement learning", the visual gridworld.
Code: camall3n/markov-state-abstractions with its submodule visgrid (`sensors.py`, `gridworld/gridworld.py`). Different
here: a step's next picture is that of the following step, where theirs is drawn twice; and by default all copies have
one goal, since nothing tells a learner which one its copy has.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from envs.batched import BatchedWorld, Observation, SingleCopy

IDS = ("MarkovGrid-v0",)
SIZE, PIXELS = 6, 3
SIDE = SIZE * PIXELS
MOVES = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)])  # left, right, up, down as (row, column)
JITTER, BLUR, NOISE = 0.05, 0.6, 0.01  # cells, pixels, brightness
EDGE = float(np.exp(-0.5 / BLUR**2))
KERNEL = np.array([EDGE, 1.0, EDGE]) / (1 + 2 * EDGE)  # the Gaussian, cut at one pixel
SPREAD = sum(KERNEL[1 + k] * np.eye(SIDE)[np.clip(np.arange(SIDE) + k, 0, SIDE - 1)] for k in (-1, 0, 1)).T
# SPREAD[p]: one bright pixel p of a line, blurred; beyond an end the last pixel goes on.


def move(position: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """(row, column) [..., 2] after `actions` [...]; at a wall it stays."""
    return np.clip(position + MOVES[actions], 0, SIZE - 1)


def picture(position: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(row, column) [N, 2] -> [N, 18, 18] float32: jittered, drawn and blurred; without the noise of the pixels."""
    jittered = position + 0.5 + JITTER * rng.standard_normal(position.shape)
    pixel = np.clip(np.floor(PIXELS * jittered).astype(np.int64), 0, SIDE - 1)
    down, across = SPREAD.astype(np.float32)[pixel].swapaxes(0, 1)
    return down[:, :, None] * across[:, None, :]


def noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """What is added to each pixel, float32."""
    return np.float32(NOISE) * rng.standard_normal(shape, np.float32)


class MarkovGrid(BatchedWorld):
    """
    ## Description
    A room of 6 x 6 cells without inner walls. The agent is a blurred spot in a noisy picture; the goal is not in it.

    ## Action Space
    `Discrete(4)`: one cell to the left, right, up, down; at a wall the agent stays.

    ## Observation Space
    `Box(-1, 2, (18, 18), float32)`: 3 pixels a cell. The position is jittered by N(0, 0.05^2) of a cell, its pixel
    set to one, the picture blurred (sigma 0.6 pixels, cut at one) and N(0, 0.01^2) added to each pixel.
    With `view="state"`: `Box(0, 5, (2,), float32)`, the true row and column.

    ## Rewards
    -1 a step, 0 for the step that reaches the goal.

    ## Starting State
    A random cell other than the goal. The goal is the same in all episodes.

    ## Termination
    The goal is reached. Truncated after `max_steps` steps.

    ## Labels
    `position` (classes): (x, y), the column and the row of the agent.

    ## Cells
    The position: all 36 are within reach.

    ## Oracle
    Goes to the goal, along the row first: as short as any way.

    Args:
        num_envs: number of copies.
        goal_seed: the goal of all copies is drawn from it; None: each copy draws its own at `reset`, and keeps it (so
            that N learners can be trained at once, each on one copy).
        view: see above.
        max_steps: time limit.
        emit_labels: see `BatchedWorld`.
    """

    has_oracle = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        goal_seed: int | None = 0,
        view: Literal["picture", "state"] = "picture",
        max_steps: int = 1000,
        emit_labels: bool = False,
    ) -> None:
        if goal_seed is not None and goal_seed < 0:
            raise ValueError(f"MarkovGrid's goal_seed must be at least 0, got {goal_seed}")
        if view not in ("picture", "state"):
            raise ValueError(f"MarkovGrid's view must be picture or state, got {view!r}")
        if max_steps < 1:
            raise ValueError(f"MarkovGrid's max_steps must be at least 1, got {max_steps}")
        self.goal_seed, self.view, self.max_steps = goal_seed, view, max_steps
        self.cell_shape, self.has_one_level = (SIZE, SIZE), True
        self.label_spaces = {"position": spaces.MultiDiscrete([SIZE, SIZE])}
        self.position, self.goal = np.zeros((2, num_envs, 2), np.int64)
        self.draw_goals = True
        if goal_seed is not None:
            self.goal[:] = np.random.default_rng(goal_seed).integers(SIZE, size=2)
        picture = spaces.Box(-1.0, 2.0, (SIDE, SIDE), np.float32)
        space = picture if view == "picture" else spaces.Box(0.0, SIZE - 1.0, (2,), np.float32)
        super().__init__(num_envs, space, spaces.Discrete(4), emit_labels=emit_labels)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        self.draw_goals = self.goal_seed is None
        return super().reset(seed=seed, options=options)

    def _begin(self, copies: np.ndarray) -> None:
        if self.draw_goals:
            self.goal[:] = self.np_random.integers(SIZE, size=(self.num_envs, 2))
            self.draw_goals = False
        goal = self.goal[copies] @ (SIZE, 1)
        elsewhere = (goal + self.np_random.integers(1, SIZE**2, size=len(copies))) % SIZE**2
        self.position[copies] = np.stack(np.divmod(elsewhere, SIZE), 1)

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if (actions < 0).any() or (actions > 3).any():
            raise ValueError(f"actions must lie in 0..3, got {actions.min()}..{actions.max()}")
        self.position = move(self.position, actions)
        reached = self.is_success()
        return reached - 1.0, reached, self.episode_lengths + 1 >= self.max_steps

    def _observe(self) -> np.ndarray:
        if self.view == "state":
            return self.position.astype(np.float32)
        clean = picture(self.position, self.np_random)
        return clean + noise(clean.shape, self.np_random)

    def is_success(self) -> np.ndarray:
        return (self.position == self.goal).all(1)

    def labels(self) -> dict[str, np.ndarray]:
        return {"position": self.position[:, ::-1].copy()}

    def oracle(self) -> np.ndarray:
        down, right = (self.goal - self.position).T
        return np.where(right < 0, 0, np.where(right > 0, 1, np.where(down < 0, 2, 3)))

    def cells(self) -> np.ndarray:
        return self.position @ (SIZE, 1)

    def reachable(self) -> np.ndarray:
        return np.full(self.num_envs, SIZE**2)

    def state_dict(self) -> dict[str, np.ndarray]:
        return super().state_dict() | {"position": self.position.copy(), "goal": self.goal.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """ValueError if it belongs to another number of copies, or has something outside the room."""
        for name in ("position", "goal"):
            places = state[name]
            if places.shape != self.position.shape or (places < 0).any() or (places >= SIZE).any():
                raise ValueError(f"the saved {name} does not fit {self.num_envs} rooms of {SIZE} x {SIZE}")
        super().load_state_dict(state)
        self.position, self.goal, self.draw_goals = state["position"].copy(), state["goal"].copy(), False


def make_single(**kwargs: Any) -> SingleCopy:
    """The one-copy environment (Gymnasium's entry point)."""
    return SingleCopy(MarkovGrid(1, **kwargs))
