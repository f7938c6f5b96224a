"""MarkovGrid: rules against a literal loop, the picture against one drawn pixel by pixel, and the oracle's ways."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy.ndimage import gaussian_filter

from envs import msa_grid, vector
from envs.msa_grid import MarkovGrid, make_single

STEPS = {0: (0, -1), 1: (0, 1), 2: (-1, 0), 3: (1, 0)}  # (row, column)


class Draws:
    """A generator whose normal numbers are given."""

    def __init__(self, value: float) -> None:
        self.value = value

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = float) -> np.ndarray:
        return np.full(shape, self.value, dtype)


def literal_picture(row: float, column: float) -> np.ndarray:
    """One bright pixel of 18 x 18 and the Gaussian of sigma 0.6 around it, in float64."""
    weights = [math.exp(-0.5 * (k / 0.6) ** 2) for k in (-1, 0, 1)]
    image, (p, q) = np.zeros((18, 18)), (math.floor(3 * (row + 0.5)), math.floor(3 * (column + 0.5)))
    for y in range(18):
        for x in range(18):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):  # beyond an edge the outermost pixel goes on
                    there = (min(max(y + dy, 0), 17), min(max(x + dx, 0), 17))
                    image[y, x] += weights[1 + dy] * weights[1 + dx] / sum(weights) ** 2 * (there == (p, q))
    return image


@pytest.mark.parametrize("place", [(0, 0), (5, 5), (2, 4)])
@pytest.mark.parametrize("jitter", [0.0, -0.5, 0.4])
def test_picture_equals_the_one_drawn_pixel_by_pixel(place: tuple[int, int], jitter: float) -> None:
    drawn = msa_grid.picture(np.array([place]), Draws(jitter / 0.05))[0]  # type: ignore[arg-type]
    wanted = literal_picture(place[0] + jitter, place[1] + jitter)
    np.testing.assert_allclose(drawn, wanted, atol=1e-6)
    bright = np.zeros((18, 18))
    bright[math.floor(3 * (place[0] + jitter + 0.5)), math.floor(3 * (place[1] + jitter + 0.5))] = 1
    np.testing.assert_allclose(drawn, gaussian_filter(bright, 0.6, truncate=1.0, mode="nearest"), atol=1e-6)


def test_noise_is_that_of_the_sensor() -> None:
    n = 4000
    world = MarkovGrid(n)
    obs, _ = world.reset(seed=0)
    clean = msa_grid.picture(world.position, Draws(0.0))  # type: ignore[arg-type]
    apart = obs - clean
    moved = np.abs(apart).max((1, 2)) > 0.1  # a jitter of 1/6 of a cell, 3.3 sigma on either of two axes
    assert 0 < moved.mean() < 0.006
    assert apart[~moved].std() == pytest.approx(0.01, rel=0.01)
    assert abs(apart[~moved].mean()) < 1e-4


def test_equals_the_literal_rules() -> None:
    n, rng, ends = 6, np.random.default_rng(0), []
    world = MarkovGrid(n, max_steps=30, goal_seed=None, view="state")
    obs, _ = world.reset(seed=0)
    goals, ages = world.goal.copy(), [0] * n
    for _ in range(200):
        before = [tuple(int(v) for v in place) for place in obs]
        actions = rng.integers(0, 4, n)
        obs, rewards, terminated, truncated, infos = world.step(actions)
        reached = infos.get("final_obs", obs)
        for k in range(n):
            ages[k] += 1
            there = (before[k][0] + STEPS[actions[k]][0], before[k][1] + STEPS[actions[k]][1])
            wanted = there if 0 <= there[0] < 6 and 0 <= there[1] < 6 else before[k]
            won = wanted == tuple(goals[k])
            assert tuple(reached[k]) == wanted
            assert (rewards[k], terminated[k], truncated[k]) == (0 if won else -1, won, ages[k] == 30)
            if won or ages[k] == 30:
                ages[k] = 0
                assert tuple(obs[k]) != tuple(goals[k])
                ends.append(won)
        np.testing.assert_array_equal(world.goal, goals)
    assert any(ends) and not all(ends)


def test_a_goal_is_one_for_all_copies_or_each_ones_own_and_new_at_reset() -> None:
    one = MarkovGrid(50, goal_seed=3)
    one.reset(seed=0)
    assert (one.goal == one.goal[0]).all()
    own = MarkovGrid(3000, goal_seed=None)
    own.reset(seed=0)
    first = own.goal.copy()
    for goals in (own.goal, own.position):
        counts = np.bincount(goals @ (6, 1), minlength=36)
        assert counts.min() > 45 and counts.max() < 125  # 83 expected
    assert not (own.goal == own.position).all(1).any()
    own.reset()
    assert (own.goal != first).any()


def steps_to(goal: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Breadth first from the goal."""
    found, queue = {goal: 0}, deque([goal])
    while queue:
        row, column = queue.popleft()
        for down, right in STEPS.values():
            there = (row + down, column + right)
            if there not in found and 0 <= there[0] < 6 and 0 <= there[1] < 6:
                found[there] = found[row, column] + 1
                queue.append(there)
    return found


def test_the_oracle_takes_as_many_steps_as_the_shortest_way() -> None:
    world = MarkovGrid(300, goal_seed=None, emit_labels=True)
    world.reset(seed=1)
    wanted = [steps_to(tuple(goal))[tuple(place)] for goal, place in zip(world.goal, world.position, strict=True)]
    taken, ended = np.zeros(300, int), np.zeros(300, bool)
    for _ in range(10):
        _, _, terminated, _, infos = world.advance(world.oracle())
        taken += ~ended
        ended |= terminated
        np.testing.assert_array_equal(infos["labels"]["position"], world.position[:, ::-1])
        world.position[ended] = world.goal[ended]
    np.testing.assert_array_equal(taken, wanted)


def test_state_goes_on_where_it_was() -> None:
    world, other = MarkovGrid(4, goal_seed=None), MarkovGrid(4, goal_seed=None)
    world.reset(seed=4)
    other.reset(seed=5)
    goal, ends = world.goal.copy(), 0
    assert (other.goal != goal).any()
    other.load_state_dict({name: value.copy() for name, value in world.state_dict().items()})
    for one in (world, other):
        one.reseed(6)
    for _ in range(40):
        actions = world.oracle()
        a, b = (one.step(actions) for one in (world, other))
        for ours, theirs in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        ends += a[2].sum()
    assert ends > 4
    np.testing.assert_array_equal(world.goal, goal)
    np.testing.assert_array_equal(other.goal, goal)
    state = world.state_dict()
    state["goal"][0, 0] = 6
    with pytest.raises(ValueError, match="goal"):
        other.load_state_dict(state)


@pytest.mark.parametrize("wrong", [{"goal_seed": -1}, {"view": "pictures"}, {"max_steps": 0}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MarkovGrid(1, **wrong)
    world = MarkovGrid(1)
    world.reset(seed=0)
    with pytest.raises(ValueError, match="actions"):
        world.step(np.array([4]))


def test_faces() -> None:
    check_env(make_single(), skip_render_check=True)
    assert vector.make("MarkovGrid-v0", 2).single_observation_space.shape == (18, 18)
