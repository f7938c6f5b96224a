"""Ground truth: the names fit their spaces in every task, and say what Minigrid's own attributes say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.minigrid import IDS, make, mirror
from envs.minigrid.levels import new_env
from envs.minigrid.mirroring import SameDraws
from envs.minigrid.physics import STEPS

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("key", "ball", "box")


def code(kind: str, colour: str) -> int:
    return 1 + 6 * KINDS.index(kind) + COLOURS.index(colour)


@pytest.mark.parametrize("env_id", IDS)
def test_labels_fit_their_spaces_in_every_task(env_id: str) -> None:
    world, rng = make(env_id, 4, emit_labels=True, levels=30, eval_levels=2), np.random.default_rng(0)
    world.reset(seed=0)
    assert {"position", "direction", "carrying"} <= world.label_spaces.keys()
    assert ("distance_to_goal" in world.label_spaces) is world.has_oracle
    for _ in range(12):
        labels = world.step(rng.integers(0, world.task.actions, 4))[4]["labels"]
        assert labels.keys() == world.label_spaces.keys()
        for name, space in world.label_spaces.items():
            assert all(np.asarray(value, space.dtype) in space for value in labels[name]), name


def labels_of(env: Any) -> dict[str, Any]:
    return {name: value[0].tolist() for name, value in mirror(env).labels().items()}


TARGETS = {
    "MiniGrid-GoToDoor-8x8-v0": lambda env: env.target_pos,
    "MiniGrid-GoToObject-8x8-N2-v0": lambda env: env.target_pos,
    "MiniGrid-PutNear-8x8-N3-v0": lambda env: env.target_pos,
    "MiniGrid-MemoryS13Random-v0": lambda env: env.success_pos,
    "MiniGrid-RedBlueDoors-6x6-v0": lambda env: divmod(env.grid.grid.index(env.red_door), env.width)[::-1],
}


@pytest.mark.parametrize("env_id", TARGETS)
def test_the_target_is_minigrids(env_id: str) -> None:
    env = new_env(env_id, {})
    for seed in range(10):
        env.reset(seed=seed)
        assert tuple(labels_of(env)["target"]) == tuple(TARGETS[env_id](env))


def test_what_is_wanted_is_what_the_mission_names() -> None:
    fetch, put = new_env("MiniGrid-Fetch-8x8-N3-v0", {}), new_env("MiniGrid-PutNear-6x6-N2-v0", {})
    for seed in range(10):
        fetch.reset(seed=seed)
        assert labels_of(fetch)["wanted"] == code(fetch.targetType, fetch.targetColor)
        put.reset(seed=seed)
        assert labels_of(put)["wanted"] == code(put.move_type, put.moveColor)
        cell = put.move_pos[1] * put.width + put.move_pos[0]
        put.carrying, put.grid.grid[cell] = put.grid.grid[cell], None
        assert labels_of(put)["wanted"] == labels_of(put)["carrying"] == code(put.move_type, put.moveColor)


def test_obstacles_are_where_minigrids_are_also_after_they_moved() -> None:
    env = new_env("MiniGrid-Dynamic-Obstacles-8x8-v0", {})
    env.reset(seed=0)
    world = mirror(env)
    env.np_random = draws = SameDraws(world, 0)
    for _ in range(10):
        places = [int(part) for ball in env.obstacles for part in ball.cur_pos]
        assert world.labels()["obstacles"][0].tolist() == places
        draws.next_step()
        env.step(0)
        world.advance(np.array([0]))


def test_playground_has_neither_oracle_nor_distance() -> None:
    world = make("MiniGrid-Playground-v0", 2, levels=30, eval_levels=2)
    world.reset(seed=0)
    assert not world.has_oracle
    with pytest.raises(NotImplementedError, match="no oracle"):
        world.oracle()


def test_states_with_targets_or_obstacles_elsewhere_are_refused() -> None:
    for env_id, name, column in (("GoToDoor-5x5", "bodies", 4), ("Dynamic-Obstacles-5x5", "obstacles", 0)):
        world = make(f"MiniGrid-{env_id}-v0", 2, levels=30, eval_levels=2)
        world.reset(seed=0)
        state = world.state_dict()
        state[name][0, column] = 10**6
        with pytest.raises(ValueError, match="outside"):
            world.load_state_dict(state)


@pytest.mark.parametrize("task", ["MultiRoom-N4-S5", "KeyCorridorS3R1", "PutNear-6x6-N2", "Dynamic-Obstacles-5x5"])
def test_equal_keys_mean_equal_grids_and_bodies(task: str) -> None:
    world, rng = make(f"MiniGrid-{task}-v0", 16, levels=8, eval_levels=2), np.random.default_rng(0)
    world.emit_state = True
    world.reset(seed=0)
    state_of: dict[int, bytes] = {}
    met = 0
    for _ in range(400):
        world.step(rng.integers(0, world.task.actions, 16))
        bodies = np.delete(world.bodies, STEPS, axis=1)
        for key, grid, body in zip(world.state_key().tolist(), world.grids, bodies, strict=True):
            met += key in state_of
            state = grid.tobytes() + body.tobytes()
            assert key >= 0
            assert state_of.setdefault(key, state) == state
    assert len(set(state_of.values())) == len(state_of)  # and equal states have equal keys
    assert met > 100 and len(state_of) > 100


def test_a_key_tells_what_lies_where_and_what_is_carried() -> None:
    world = make("MiniGrid-DoorKey-5x5-v0", 1, levels=30, eval_levels=2)
    world.reset(seed=0)
    before = world.state_dict()
    keys = set()
    for name, row, column in (("grids", 0, 9 * 17 + 7), ("bodies", 0, 2), ("bodies", 0, 1)):
        world.load_state_dict(before)
        getattr(world, name)[row, column] ^= 1
        keys |= set(world.state_key().tolist())
    world.load_state_dict(before)
    assert len(keys | set(world.state_key().tolist())) == 4


def test_a_bonus_that_asks_for_states_is_told_nothing_else_also_at_an_end() -> None:
    shown, full = (make("MiniGrid-Empty-5x5-v0", 8, levels=30, eval_levels=2) for _ in range(2))
    shown.emit_state = True
    rng, ends = np.random.default_rng(0), 0
    for world in (shown, full):
        world.reset(seed=0)
    for _ in range(150):
        actions = rng.integers(0, 3, 8)
        told = shown.step(actions)[4]["labels"]
        assert list(told) == ["state"]
        _, terminated, truncated, _ = full._move(actions)
        np.testing.assert_array_equal(told["state"], full.state_key())  # before the reset
        done = np.flatnonzero(terminated | truncated)
        ends += len(done)
        full._begin(done)
    assert ends > 5
