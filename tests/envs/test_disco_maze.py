"""DiscoMaze: its steps and colours against a literal version, its mazes by what makes them mazes, its faces."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import vector
from envs.disco_maze import DiscoMaze

MOVES = [(1, 0), (0, 1), (-1, 0), (0, -1)]


def colours(word: int, count: int) -> list[int]:
    """Numbers 0 to 4 of the SplitMix64 stream from `word`, in Python's own integers."""
    drawn, state = [], word % 2**64
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        drawn.append(((z ^ z >> 31) >> 32) * 5 >> 32)
    return drawn


def picture(walls: np.ndarray, place: tuple[int, int], word: int) -> np.ndarray:
    """What a copy sees, cell by cell; walls [y, x]."""
    size = len(walls)
    image = np.zeros((size, size, 3), np.uint8)
    shades = iter(colours(word, int(walls.sum())))
    for x in range(size):
        for y in range(size):
            if walls[y, x]:
                image[x, y] = 4, next(shades), 1
    image[place] = 10, 0, 0
    return image


def grids(world: DiscoMaze) -> np.ndarray:
    return world.walls.reshape(world.num_envs, world.size, world.size).copy()


@pytest.mark.parametrize("size", [5, 21])
def test_equals_the_literal_rules(size: int) -> None:
    n, rng, ends = 6, np.random.default_rng(0), []
    world = DiscoMaze(n, size=size, max_steps=7, emit_labels=True)
    obs, _ = world.reset(seed=0)
    places, ages = [tuple(p) for p in world.labels()["position"]], [0] * n
    for _ in range(150):
        walls = grids(world)
        for k in range(n):
            np.testing.assert_array_equal(obs["image"][k], picture(walls[k], places[k], int(world.paint[k])))
        careful = rng.random(n) < 0.9
        actions = np.where(careful, world.oracle(), rng.integers(0, 4, n))
        obs, rewards, terminated, truncated, infos = world.step(actions)
        assert not rewards.any()
        for k in range(n):
            x, y = places[k][0] + MOVES[actions[k]][0], places[k][1] + MOVES[actions[k]][1]
            dead, ages[k] = bool(walls[k][y, x]), ages[k] + 1
            places[k] = places[k] if dead else (x, y)
            assert (terminated[k], truncated[k]) == (dead, ages[k] == 7)
            assert tuple(infos["labels"]["position"][k]) == places[k]
            if dead or ages[k] == 7:
                seen = infos["final_obs"]["image"][k]
                assert seen[places[k]].tolist() == [10, 0, 0]
                np.testing.assert_array_equal(seen[..., 0] == 4, walls[k].T)
                places[k], ages[k] = tuple(world.labels()["position"][k]), 0
                ends.append(dead)
    assert True in ends
    assert False in ends


def reach(walls: np.ndarray, start: tuple[int, int]) -> int:
    found, todo = {start}, deque([start])
    while todo:
        x, y = todo.popleft()
        for dx, dy in MOVES:
            if not walls[y + dy, x + dx] and (x + dx, y + dy) not in found:
                found.add((x + dx, y + dy))
                todo.append((x + dx, y + dy))
    return len(found)


@pytest.mark.parametrize("size", [5, 7, 21, 31])
def test_mazes_are_connected_closed_and_without_loops(size: int) -> None:
    world = DiscoMaze(20, size=size)
    world.reset(seed=1)
    rooms = (size // 2) ** 2
    for walls, place, reachable in zip(grids(world), world.labels()["position"], world.reachable(), strict=True):
        assert walls[0].all() and walls[-1].all() and walls[:, 0].all() and walls[:, -1].all()
        assert not walls[1::2, 1::2].any()
        assert walls[::2, ::2].all()
        opened = (~walls).sum()
        assert opened == 2 * rooms - 1  # rooms and one opening less than rooms: connected, hence a tree
        assert reach(walls, tuple(place)) == opened == reachable
    assert world.reachable()[0] == {5: 7, 7: 17, 21: 199, 31: 449}[size]


def test_mazes_starts_and_colours_are_drawn_evenly() -> None:
    world = DiscoMaze(4000, size=5)
    world.reset(seed=0)
    # Four rooms in a square: the missing one of the four openings is each as likely, over all starting rooms.
    missing = grids(world)[:, [1, 2, 2, 3], [2, 1, 3, 2]].mean(0)
    np.testing.assert_allclose(missing, 0.25, atol=0.03)
    starts = np.bincount(world.position, minlength=25) / 4000
    assert (starts[[6, 8, 16, 18]] > 0.12).all()  # 1/7 each
    image = world._observe()["image"]
    shades = np.bincount(image[..., 1][image[..., 0] == 4], minlength=6)
    np.testing.assert_allclose(shades / shades.sum(), [0.2] * 5 + [0], atol=0.01)


def test_every_wall_changes_at_every_step_and_nothing_else_does() -> None:
    world = DiscoMaze(50)
    before, _ = world.reset(seed=0)
    after, *_ = world.step(world.oracle())
    walls = before["image"][..., 0] == 4
    np.testing.assert_array_equal(walls, after["image"][..., 0] == 4)
    changed = (before["image"][..., 1] != after["image"][..., 1])[walls]
    assert changed.mean() == pytest.approx(0.8, abs=0.02)
    assert len({after["image"][k].tobytes() for k in range(50)}) == 50


def test_a_look_twice_is_the_same_look() -> None:
    world = DiscoMaze(3)
    obs, _ = world.reset(seed=0)
    np.testing.assert_array_equal(obs["image"], world._observe()["image"])


def test_the_oracle_visits_everything_and_a_random_walk_dies_at_once() -> None:
    world: Any = vector.make("DiscoMaze-v0", 16, max_steps=400)
    world.reset(seed=3)
    for _ in range(400):
        *_, terminated, truncated, infos = world.step(world.oracle())
        assert not terminated.any()
    assert truncated.all()
    assert infos["episode"]["coverage"].tolist() == [1.0] * 16
    assert "is_success" not in infos
    rng, lengths = np.random.default_rng(0), []
    for _ in range(200):
        *_, terminated, _, infos = world.step(rng.integers(0, 4, 16))
        if terminated.any():
            lengths += infos["episode"]["l"][terminated].tolist()
    assert np.mean(lengths) < 4


def test_state_dict_continues_identically() -> None:
    world, other, rng = DiscoMaze(4, size=9, max_steps=30), DiscoMaze(4, size=9, max_steps=30), np.random.default_rng(0)
    world.reset(seed=1)
    other.reset(seed=2)

    def act() -> np.ndarray:
        return np.where(rng.random(4) < 0.95, world.oracle(), rng.integers(0, 4, 4))

    for _ in range(50):
        world.step(act())
    other.load_state_dict(world.state_dict())
    np.testing.assert_array_equal(world._observe()["image"], other._observe()["image"])
    world.reseed(3)
    other.reseed(3)
    for _ in range(100):
        np.testing.assert_array_equal(world.oracle(), other.oracle())
        actions = act()
        ours, theirs = world.step(actions), other.step(actions)
        np.testing.assert_array_equal(ours[0]["image"], theirs[0]["image"])
        np.testing.assert_array_equal(ours[2], theirs[2])
    for name, value in world.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


def test_foreign_states_are_refused() -> None:
    world = DiscoMaze(2, size=7)
    world.reset(seed=0)
    with pytest.raises(ValueError, match="shape"):
        DiscoMaze(2, size=9).load_state_dict(world.state_dict())
    outside, open_border = world.state_dict(), world.state_dict()
    outside["position"][0] = 10**9
    open_border["walls"][0, 3] = False
    for state in (outside, open_border):
        with pytest.raises(ValueError, match="outside"):
            world.load_state_dict(state)


def test_the_one_copy_face_and_the_spaces() -> None:
    env: Any = vector.single("envs:DiscoMaze-v0", size=9)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space["image"].shape == (9, 9, 3)
    world = DiscoMaze(3, emit_labels=True)
    obs, _ = world.reset(seed=0)
    assert world.observation_space.contains(obs)
    labels = world.step(world.oracle())[4]["labels"]
    assert all(world.label_spaces["position"].contains(place) for place in labels["position"])


def test_wrong_arguments_are_refused() -> None:
    for size in (4, 8, 3, 101):
        with pytest.raises(ValueError, match="odd"):
            DiscoMaze(1, size=size)
    with pytest.raises(ValueError, match="max_steps"):
        DiscoMaze(1, max_steps=0)
    world = DiscoMaze(2)
    world.reset(seed=0)
    for wrong in ([0, 4], [-1, 0]):
        with pytest.raises(ValueError, match=r"0\.\.3"):
            world.step(np.array(wrong))
