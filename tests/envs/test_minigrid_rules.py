"""The end rules of Minigrid's tasks against Minigrid itself, from states in which they matter, and obstacles' moves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from minigrid.core.world_object import Ball, Door, Key, Wall

from envs.minigrid import make, mirror
from envs.minigrid.levels import new_env
from envs.minigrid.mirroring import SameDraws
from envs.minigrid.physics import OTHER, POSITION, TARGET

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SANDBOX_CACHE", str(tmp_path))


def outcome(env: Any, action: int) -> tuple[float, bool]:
    """Reward and end of one step, which must be the mirror's, too."""
    world = mirror(env)
    theirs, reward, terminated, truncated, _ = env.step(action)
    seen, rewards, ended, cut, _ = world.advance(np.array([action]))
    np.testing.assert_array_equal(seen["image"][0], theirs["image"])
    assert (rewards[0], ended[0], cut[0]) == (reward, terminated, truncated)
    return reward, terminated


def stand_anywhere(env: Any, rng: np.random.Generator) -> None:
    empty = [cell for cell, thing in enumerate(env.grid.grid) if thing is None]
    y, x = divmod(int(rng.choice(empty)), env.width)
    env.agent_pos, env.agent_dir = (x, y), int(rng.integers(4))


def carry_something(env: Any, rng: np.random.Generator) -> None:
    """Often the thing to move, sometimes another."""
    here = [cell for cell, thing in enumerate(env.grid.grid) if thing is not None and thing.can_pickup()]
    cell = int(rng.choice(here))
    env.carrying, env.grid.grid[cell] = env.grid.grid[cell], None


def open_a_door(env: Any, rng: np.random.Generator) -> None:
    """Before one of the two doors, each of them open or not."""
    env.red_door.is_open, env.blue_door.is_open = (bool(rng.random() < share) for share in (0.5, 0.2))
    door = env.grid.grid.index([env.red_door, env.blue_door][rng.integers(2)])
    inside = 1 if door % env.width < env.width // 2 else -1
    env.agent_pos, env.agent_dir = (door % env.width + inside, door // env.width), 2 if inside == 1 else 0


PREPARE = {
    "MiniGrid-Fetch-5x5-N2-v0": (stand_anywhere,),
    "MiniGrid-GoToDoor-5x5-v0": (stand_anywhere,),
    "MiniGrid-GoToObject-6x6-N2-v0": (stand_anywhere,),
    "MiniGrid-PutNear-6x6-N2-v0": (carry_something, stand_anywhere),
    "MiniGrid-PutNear-8x8-N3-v0": (stand_anywhere,),
    "MiniGrid-RedBlueDoors-6x6-v0": (open_a_door,),
    "MiniGrid-MemoryS7-v0": (stand_anywhere,),
}


@pytest.mark.parametrize("env_id", PREPARE)
def test_ends_from_anywhere_are_minigrids(env_id: str) -> None:
    env, rng, ends = new_env(env_id, {}), np.random.default_rng(0), Counter()
    for seed in range(120):
        env.reset(seed=seed)
        for prepare in PREPARE[env_id]:
            prepare(env, rng)
        for _ in range(6):
            reward, terminated = outcome(env, int(rng.integers(7)))
            if terminated:
                ends[bool(reward)] += 1
                break
    assert ends[False] > 0
    assert ends[True] > 0 or env_id == "MiniGrid-PutNear-8x8-N3-v0"


def test_playground_ends_by_time_only() -> None:
    env, rng = new_env("MiniGrid-Playground-v0", {}), np.random.default_rng(0)
    for seed in range(8):
        env.reset(seed=seed)
        for _ in range(99):
            assert outcome(env, int(rng.integers(7))) == (0, False)
        world = mirror(env)
        assert world.advance(np.array([DONE]))[3][0]


# ---------------------------------------------------------------------- by hand


def before(env: Any, place: tuple[int, int], direction: int = 0) -> None:
    """Stand left of `place`, facing it or turned away."""
    env.agent_pos, env.agent_dir = (place[0] - 1, place[1]), direction


@pytest.mark.parametrize("turned", range(4))
def test_done_counts_beside_the_target_whatever_the_agent_faces(turned: int) -> None:
    env = new_env("MiniGrid-GoToObject-6x6-N2-v0", {})
    env.reset(seed=0)
    env.target_pos = (3, 3)
    for place, rewarded in (((2, 3), True), ((3, 4), True), ((2, 2), False), ((3, 1), False), ((3, 3), False)):
        env.agent_pos, env.agent_dir, env.step_count = place, turned, 0
        reward, terminated = outcome(env, DONE)
        assert (reward > 0, terminated) == (rewarded, True)


def test_an_object_that_was_carried_away_leaves_its_place_as_the_target() -> None:
    env = new_env("MiniGrid-GoToObject-8x8-N2-v0", {})
    for seed in range(20):
        env.reset(seed=seed)
        x, y = env.target_pos
        if x < 2 or env.grid.get(x - 1, y) is not None:
            continue
        before(env, (x, y))
        assert outcome(env, PICKUP) == (0, False)
        assert env.carrying is not None
        assert outcome(env, DONE)[0] > 0
        return
    pytest.fail("no level with room before the target")


def test_put_near_ends_at_a_drop_that_fails() -> None:
    env = new_env("MiniGrid-PutNear-6x6-N2-v0", {})
    env.reset(seed=0)
    env.carrying = Key("red")
    env.agent_pos, env.agent_dir = (1, 1), 3  # before a wall
    assert outcome(env, DROP) == (0, True)
    env.carrying = None
    assert outcome(env, DROP) == (0, False)


def test_fetch_takes_any_object_that_looks_right() -> None:
    env = new_env("MiniGrid-Fetch-8x8-N3-v0", {})
    env.reset(seed=0)
    env.targetType, env.targetColor = "ball", "red"
    for thing, rewarded in ((Ball("red"), True), (Ball("blue"), False), (Key("red"), False)):
        env.carrying = None
        env.agent_pos, env.agent_dir = (3, 3), 0
        env.grid.set(4, 3, thing)
        reward, terminated = outcome(env, PICKUP)
        assert (reward > 0, terminated) == (rewarded, True)


def test_the_red_door_comes_first() -> None:
    env = new_env("MiniGrid-RedBlueDoors-8x8-v0", {})
    for red_first in (True, False):
        env.reset(seed=1)
        red, blue = (env.grid.grid.index(door) for door in (env.red_door, env.blue_door))
        world = mirror(env)
        pitch = env.width + 12
        padded = [(cell // env.width + 6) * pitch + cell % env.width + 6 for cell in (red, blue)]
        assert world.bodies[0, [TARGET, OTHER]].tolist() == padded
        if red_first:
            env.agent_pos, env.agent_dir = (red % env.width + 1, red // env.width), 2
            assert outcome(env, TOGGLE) == (0, False)
        env.agent_pos, env.agent_dir = (blue % env.width - 1, blue // env.width), 0
        reward, terminated = outcome(env, TOGGLE)
        assert (reward > 0, terminated) == (red_first, True)


def test_memory_has_a_right_and_a_wrong_end_and_nothing_can_be_picked_up() -> None:
    env = new_env("MiniGrid-MemoryS9-v0", {})
    env.reset(seed=0)
    env.agent_pos, env.agent_dir = (1, env.height // 2), 3  # before the object to remember
    assert outcome(env, PICKUP) == (0, False)
    assert env.carrying is None
    for (x, y), rewarded in ((env.success_pos, True), (env.failure_pos, False)):
        env.agent_pos, env.agent_dir = (x, env.height // 2), 1 if y > env.height // 2 else 3
        reward, terminated = outcome(env, FORWARD)
        assert (reward > 0, terminated) == (rewarded, True)


# ---------------------------------------------------------------------- obstacles

OBSTACLES = ("5x5", "Random-5x5", "6x6", "Random-6x6", "8x8", "16x16")


@pytest.mark.parametrize("name", OBSTACLES)
def test_obstacles_move_as_minigrids_given_the_same_draws(name: str) -> None:
    env, rng, ends = new_env(f"MiniGrid-Dynamic-Obstacles-{name}-v0", {}), np.random.default_rng(0), Counter()
    for seed in range(60):
        env.reset(seed=seed)
        if seed % 3 == 0:
            env.agent_pos = (env.width - 3, env.height - 2)  # one step from the goal
            env.grid.set(*env.agent_pos, None)
            env.obstacles = [ball for ball in env.obstacles if ball in env.grid.grid]
        if seed % 4 == 0:  # an obstacle that cannot move
            x, y = env.obstacles[0].cur_pos
            for cell in range(9):
                place = (x - 1 + cell // 3, y - 1 + cell % 3)
                if env.grid.get(*place) is None and place != tuple(env.agent_pos):
                    env.grid.set(*place, Wall())
        world = mirror(env)
        env.np_random = draws = SameDraws(world, seed)
        for _ in range(60):
            action = int(rng.choice(3, p=[0.1, 0.2, 0.7]))
            draws.next_step()
            theirs, reward, terminated, truncated, _ = env.step(action)
            seen, rewards, ended, cut, _ = world.advance(np.array([action]))
            np.testing.assert_array_equal(seen["image"][0], theirs["image"])
            places = [(y + 6) * (env.width + 12) + x + 6 for x, y in (ball.cur_pos for ball in env.obstacles)]
            assert world.obstacles[0].tolist() == places
            assert (rewards[0], ended[0], cut[0]) == (reward, terminated, truncated)
            if terminated or truncated:
                ends[np.sign(reward)] += 1
                break
    assert ends[-1] > 0
    assert ends[1] > 0


def test_an_obstacle_goes_to_each_free_neighbour_equally_often() -> None:
    world = make("MiniGrid-Dynamic-Obstacles-5x5-v0", 4096, n_obstacles=1, levels=20, eval_levels=1)
    world.reset(seed=0)
    world.grids[:], world.bodies[:], world.obstacles[:] = world.grids[0], world.bodies[0], world.obstacles[0]
    start = int(world.obstacles[0, 0])
    pitch = world.task.width + 12
    around = [start + dy * pitch + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    free = [cell for cell in around if world.grids[0, cell] == 0 and cell != world.bodies[0, POSITION]]
    world.step(np.zeros(4096, int))
    cells, counts = np.unique(world.obstacles[:, 0], return_counts=True)
    assert cells.tolist() == sorted(free)
    expected = 4096 / len(free)
    assert ((counts - expected) ** 2 / expected).sum() < 30  # chi-square, at most 7 degrees of freedom: p = 1e-4


def test_obstacles_depend_on_the_seed_only_and_go_on_after_loading() -> None:
    runs = []
    for seed in (1, 1, 2):
        world = make("MiniGrid-Dynamic-Obstacles-8x8-v0", 8, levels=50, eval_levels=10)
        world.reset(seed=seed)
        turns = np.arange(30) % 2
        runs.append(np.stack([world.step(np.full(8, turn))[0]["image"] for turn in turns]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()
    other = make("MiniGrid-Dynamic-Obstacles-8x8-v0", 8, levels=50, eval_levels=10)
    other.reset(seed=9)
    other.load_state_dict(world.state_dict())
    for one in (world, other):
        one.reseed(3)
    for _ in range(20):
        np.testing.assert_array_equal(world.step(np.full(8, 2))[0]["image"], other.step(np.full(8, 2))[0]["image"])


def test_only_three_actions_avoid_obstacles() -> None:
    world = make("MiniGrid-Dynamic-Obstacles-5x5-v0", 2)
    world.reset(seed=0)
    before_it = world.grids.copy()
    with pytest.raises(ValueError, match=r"0\.\.2"):
        world.step(np.array([0, 3]))
    np.testing.assert_array_equal(world.grids, before_it)


def test_a_door_is_a_place_that_cannot_be_lost() -> None:
    """`RedBlueDoors` without its doors is no state that could be mirrored."""
    env = new_env("MiniGrid-RedBlueDoors-6x6-v0", {})
    env.reset(seed=0)
    env.red_door = Door("red")
    with pytest.raises(ValueError, match="not in list"):
        mirror(env)
