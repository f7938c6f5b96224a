"""Ground truth: the names fit their spaces in every task, and say what Minigrid's own attributes say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.minigrid import IDS, make, mirror
from envs.minigrid.levels import new_env
from envs.minigrid.mirroring import SameDraws

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
