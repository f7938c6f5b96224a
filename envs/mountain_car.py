"""Sparse MountainCar: a car too weak for its hill must swing up first, and nothing but the top pays.

Gymnasium's physics step by step, discrete and continuous, but for the reward: Gymnasium's own tells at each step that
time passes (-1) or force costs, which steers a learner before it has ever seen the goal.

Source: Moore 1990; gymnasium 1.4, `MountainCarEnv` and `Continuous_MountainCarEnv`. The latter keeps its state in
float32 from the first step on, and computes in it; so do we.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.batched import BatchedWorld, SingleCopy
from envs.compiled import njit

IDS = ("SparseMountainCar-v0", "SparseMountainCarContinuous-v0")
LEFT_END, RIGHT_END, FASTEST = -1.2, 0.6, 0.07
START = (-0.6, -0.4)
GOAL, CONTINUOUS_GOAL = 0.5, 0.45
FORCE, CONTINUOUS_FORCE, GRAVITY = 0.001, 0.0015, 0.0025
BINS = 20  # of position and of velocity
FINER = 64  # times so many, for the search of what can be reached


class MountainCar(BatchedWorld):
    """
    ## Description
    A car stands in a valley and must reach the top of the right hill; its engine is too weak to drive up directly, so
    it must swing. With position p, velocity v and push u, v <- v + force * u - 0.0025 cos(3p), p <- p + v, both
    clipped, and v = 0 at the left end: Gymnasium's MountainCar, force 0.001, or MountainCarContinuous, force 0.0015.

    ## Action Space
    `Discrete(3)`: push left, not, right; with `continuous=True` the push itself, `Box(-1, 1, (1,), float32)`.

    ## Observation Space
    `Box((2,), float32)`: position in [-1.2, 0.6], velocity in [-0.07, 0.07].

    ## Rewards
    +1 for reaching the goal, else 0.

    ## Starting State
    Position uniform in [-0.6, -0.4], velocity 0.

    ## Termination
    At position 0.5 (continuous: 0.45) with a velocity of at least 0. Truncated after `max_steps` steps; both can be
    true at once.

    ## Labels
    `position`, `velocity` (numbers).

    ## Cells
    20 bins of velocity (rows) x 20 of position (columns). Those within reach are found by a search over a grid 64 times
    finer each way, from many starts, with time limit, keeping the first true state that falls into each fine bin.

    ## Oracle
    Pushes the way the car moves, right when it stands: it gains energy at every step and reaches the goal from any
    start.

    Args:
        num_envs: number of copies.
        continuous: the push is a number.
        max_steps: time limit; 200 in Gymnasium's discrete form, 999 in its continuous one.
        emit_labels: see `BatchedWorld`.
    """

    has_oracle = True
    cell_shape = (BINS, BINS)
    has_one_level = True

    def __init__(
        self, num_envs: int = 1, *, continuous: bool = False, max_steps: int = 200, emit_labels: bool = False
    ) -> None:
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        self.continuous, self.max_steps = continuous, max_steps
        self.position, self.velocity = np.zeros(num_envs), np.zeros(num_envs)
        self.arrived = np.zeros(num_envs, bool)
        number = spaces.Box(-np.inf, np.inf, (), np.float32)
        self.label_spaces = {"position": number, "velocity": number}
        high = np.array([RIGHT_END, FASTEST], np.float32)
        space = spaces.Box(np.array([LEFT_END, -FASTEST], np.float32), high, dtype=np.float32)
        actions = spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else spaces.Discrete(3)
        super().__init__(num_envs, space, actions, emit_labels=emit_labels)

    def _begin(self, copies: np.ndarray) -> None:
        self.position[copies], self.velocity[copies] = self.np_random.uniform(*START, len(copies)), 0.0

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pushes = np.ascontiguousarray(actions.reshape(self.num_envs), np.float32)
        if not self.continuous:
            if not np.isin(actions, (0, 1, 2)).all():
                raise ValueError(f"actions must lie in 0..2, got {actions.min()}..{actions.max()}")
            pushes -= 1
        push_all(self.position, self.velocity, pushes, self.continuous, self.episode_lengths == 0)
        self.arrived = is_goal(self.position, self.velocity, self.continuous)
        return self.arrived.astype(np.float64), self.arrived, self.episode_lengths + 1 >= self.max_steps

    def _observe(self) -> np.ndarray:
        return np.stack([self.position, self.velocity], axis=1).astype(np.float32)

    def is_success(self) -> np.ndarray:
        return self.arrived

    def labels(self) -> dict[str, np.ndarray]:
        return {"position": self.position.astype(np.float32), "velocity": self.velocity.astype(np.float32)}

    def oracle(self) -> np.ndarray:
        right = self.velocity >= 0
        return np.where(right, 1, -1).astype(np.float32)[:, None] if self.continuous else np.where(right, 2, 0)

    def cells(self) -> np.ndarray:
        return cells_of(self.position, self.velocity)

    def reachable(self) -> np.ndarray:
        return np.full(self.num_envs, reachable_cells(self.continuous, self.max_steps))

    def state_dict(self) -> dict[str, np.ndarray]:
        own = {"position": self.position, "velocity": self.velocity, "arrived": self.arrived}
        return super().state_dict() | {name: value.copy() for name, value in own.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        super().load_state_dict(state)
        self.position[:], self.velocity[:] = state["position"], state["velocity"]
        self.arrived = state["arrived"].copy()


def make_single(**kwargs: Any) -> SingleCopy:
    """The one-copy environment (Gymnasium's entry point)."""
    return SingleCopy(MountainCar(1, **kwargs))


# ---------------------------------------------------------------------- physics


@njit(cache=True)
def pushed(position, velocity, push):  # type: ignore[no-untyped-def]
    """(position, velocity) after a push of -1, 0 or 1, in float64."""
    velocity += push * FORCE + math.cos(3 * position) * -GRAVITY
    velocity = min(max(velocity, -FASTEST), FASTEST)
    position = min(max(position + velocity, LEFT_END), RIGHT_END)
    return position, 0.0 if position == LEFT_END and velocity < 0 else velocity


@njit(cache=True)
def pushed_continuously(position, velocity, push, is_first):  # type: ignore[no-untyped-def]
    """(position, velocity) after a float32 push, with each rounding of Gymnasium: the first step computes on float64,
    every later one on float32; and of a push beyond the bounds the bound is a float64."""
    angle = 3 * position if is_first else np.float64(np.float32(3) * np.float32(position))
    gravity = GRAVITY * math.cos(angle)
    if abs(push) > 1:
        change = (CONTINUOUS_FORCE if push > 0 else -CONTINUOUS_FORCE) - gravity
    else:
        change = float(push * np.float32(CONTINUOUS_FORCE) - np.float32(gravity))
    if is_first:
        velocity += change
        return np.float64(np.float32(position + velocity)), np.float64(np.float32(velocity))
    v = np.float32(velocity) + np.float32(change)
    v = min(max(v, np.float32(-FASTEST)), np.float32(FASTEST))
    p = min(max(np.float32(position) + v, np.float32(LEFT_END)), np.float32(RIGHT_END))
    return np.float64(p), 0.0 if p == np.float32(LEFT_END) and v < 0 else np.float64(v)


@njit(cache=True)
def push_all(position, velocity, pushes, continuous, is_first):  # type: ignore[no-untyped-def]
    """Move every copy by its push [N] float32; `position` and `velocity` [N] float64 change in place."""
    for n in range(len(position)):
        if continuous:
            position[n], velocity[n] = pushed_continuously(position[n], velocity[n], pushes[n], is_first[n])
        else:
            position[n], velocity[n] = pushed(position[n], velocity[n], pushes[n])


@njit(cache=True)
def is_goal(position, velocity, continuous):  # type: ignore[no-untyped-def]
    """Of numbers or arrays. What is compared was rounded to float32 in the continuous form, and so is the bound."""
    goal = np.float64(np.float32(CONTINUOUS_GOAL)) if continuous else GOAL
    return (position >= goal) & (velocity >= 0)


# ---------------------------------------------------------------------- cells


@njit(cache=True)
def cell_of(position, velocity, bins):  # type: ignore[no-untyped-def]
    """velocity's bin * bins + position's bin."""
    column = int((position - LEFT_END) / (RIGHT_END - LEFT_END) * bins)
    row = int((velocity + FASTEST) / (2 * FASTEST) * bins)
    return min(max(row, 0), bins - 1) * bins + min(max(column, 0), bins - 1)


@njit(cache=True)
def cells_of(position, velocity):  # type: ignore[no-untyped-def]
    """[N] int64: the cell of each copy."""
    cells = np.empty(len(position), np.int64)
    for n in range(len(position)):
        cells[n] = cell_of(position[n], velocity[n], BINS)
    return cells


@functools.lru_cache(maxsize=8)
def reachable_cells(continuous: bool, max_steps: int, finer: int = FINER) -> int:
    """The number of cells that a search finds within `max_steps` steps; it may miss one, never add one."""
    starts, pushes = np.linspace(*START, 2 * BINS * finer), np.linspace(-1, 1, 5 if continuous else 3)
    found = np.zeros(BINS * BINS, bool)
    search(starts, pushes.astype(np.float32), continuous, max_steps, finer, found)
    return int(found.sum())


@njit(cache=True)
def search(starts, pushes, continuous, max_steps, finer, found):  # type: ignore[no-untyped-def]
    """Mark in `found` the cells of all states that are reached, going on from the first of each fine bin."""
    known = np.zeros((BINS * finer) ** 2, np.bool_)
    position, velocity = np.empty(len(starts) + len(known)), np.empty(len(starts) + len(known))
    position[: len(starts)], velocity[: len(starts)] = starts, 0.0
    begin, end, tail = 0, len(starts), len(starts)
    for step in range(max_steps):
        for k in range(begin, end):
            p, v = position[k], velocity[k]
            found[cell_of(p, v, BINS)] = True
            if is_goal(p, v, continuous):
                continue
            for push in pushes:
                p_next, v_next = pushed_continuously(p, v, push, step == 0) if continuous else pushed(p, v, push)
                found[cell_of(p_next, v_next, BINS)] = True
                fine = cell_of(p_next, v_next, BINS * finer)
                if not known[fine]:
                    known[fine] = True
                    position[tail], velocity[tail] = p_next, v_next
                    tail += 1
        begin, end = end, tail
