"""PixelGoal: rules and picture against a literal version, the oracle's ways, and what is drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import vector
from envs.pixel_goal import PixelGoal, make_single

MOVES = [(1, 0), (0, 1), (-1, 0), (0, -1)]


def picture(size: int, pixels: int, places: dict[str, tuple[int, int]]) -> np.ndarray:
    """What a copy sees without noise, pixel by pixel."""
    image = np.zeros((3, size * pixels, size * pixels), np.uint8)
    for y in range(size * pixels):
        for x in range(size * pixels):
            for colour, name in enumerate(("goal", "position", "distractor")):
                image[colour, y, x] = 255 * ((x // pixels, y // pixels) == places[name])
    return image


def places(world: PixelGoal, k: int) -> dict[str, tuple[int, int]]:
    return {name: (int(value[k][0]), int(value[k][1])) for name, value in world.labels().items()}


def test_equals_the_literal_rules() -> None:
    n, size, rng, ends = 5, 4, np.random.default_rng(0), []
    world = PixelGoal(n, size=size, pixels=2, max_steps=9)
    obs, _ = world.reset(seed=0)
    ages = [0] * n
    for _ in range(80):
        before, heading = [places(world, k) for k in range(n)], world.heading.copy()
        for k in range(n):
            np.testing.assert_array_equal(obs[k], picture(size, 2, before[k]))
            assert before[k]["position"] != before[k]["goal"]
        actions = rng.integers(0, 4, n)
        _, rewards, terminated, truncated, _ = world.advance(actions)
        for k in range(n):
            ages[k] += 1
            after = places(world, k)
            wanted = tuple(
                min(max(p + d, 0), size - 1) for p, d in zip(before[k]["position"], MOVES[actions[k]], strict=True)
            )
            assert after["position"] == wanted
            assert after["goal"] == before[k]["goal"]
            for axis in range(2):
                there = before[k]["distractor"][axis] + heading[k, axis]
                bounced = before[k]["distractor"][axis] - heading[k, axis]
                assert after["distractor"][axis] == (there if 0 <= there < size else bounced)
            won = after["position"] == after["goal"]
            assert (terminated[k], truncated[k]) == (won, ages[k] == 9)
            assert rewards[k] == pytest.approx(1 - 0.9 * ages[k] / 9 if won else 0)
            ends.append((won, ages[k] == 9))
        done = terminated | truncated
        world.episode_lengths[done] = 0
        world._begin(np.flatnonzero(done))
        ages = [0 if over else age for age, over in zip(ages, done, strict=True)]
        obs = world._observe()
    assert {(True, False), (False, True)} <= set(ends)


def test_the_oracle_goes_the_shortest_way() -> None:
    world = PixelGoal(64)
    world.reset(seed=1)
    distance = np.abs(world.goal - world.position).sum(1)
    assert set(distance) > {1, 5, 9}
    lengths: dict[int, int] = {}
    for _ in range(distance.max()):
        _, _, terminated, _, infos = world.step(world.oracle())
        for k in np.flatnonzero(terminated):
            lengths.setdefault(int(k), int(infos["episode"]["l"][k]))
    assert [lengths[k] for k in range(64)] == distance.tolist()


def test_noise_is_new_at_each_step_and_leaves_what_matters_visible() -> None:
    loud, plain = PixelGoal(3, noise=True), PixelGoal(3)
    loud.reset(seed=2)
    plain.reset(seed=2)
    one, two, clean = loud._observe(), loud._observe(), plain._observe()
    things = clean.any(1, keepdims=True).repeat(3, 1)
    np.testing.assert_array_equal(one[things], clean[things])
    assert (one[~things] != two[~things]).mean() > 0.9
    assert one[~things].max() < 100


def test_factors_are_drawn_evenly_and_the_distractor_follows_no_action() -> None:
    still, moved = PixelGoal(2000), PixelGoal(2000)
    still.reset(seed=3)
    moved.reset(seed=3)
    for array in (still.position, still.goal, still.distractor):
        counts = np.bincount(array[:, 1] * 8 + array[:, 0], minlength=64)
        assert counts.min() > 10
        assert counts.max() < 60
    for _ in range(20):
        still.advance(np.zeros(2000, np.int64))
        moved.advance(np.ones(2000, np.int64))
        np.testing.assert_array_equal(still.distractor, moved.distractor)
    assert not np.array_equal(still.position, moved.position)


def test_state_goes_on_where_it_was() -> None:
    world, other = PixelGoal(4), PixelGoal(4)
    world.reset(seed=4)
    other.reset(seed=5)
    other.load_state_dict({name: value.copy() for name, value in world.state_dict().items()})
    for _ in range(10):
        a, b = (one.advance(np.full(4, 1)) for one in (world, other))
        np.testing.assert_array_equal(a[0], b[0])
    state = world.state_dict()
    state["goal"][0, 0] = 8
    with pytest.raises(ValueError, match="goal"):
        other.load_state_dict(state)


@pytest.mark.parametrize("wrong", [{"size": 2}, {"pixels": 0}, {"max_steps": 0}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PixelGoal(1, **wrong)
    world = PixelGoal(1)
    world.reset(seed=0)
    with pytest.raises(ValueError, match="actions"):
        world.step(np.array([4]))


def test_faces() -> None:
    check_env(make_single(), skip_render_check=True)
    assert vector.make("PixelGoal-Noise-v0", 2).single_observation_space.shape == (3, 40, 40)
