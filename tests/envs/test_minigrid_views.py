"""Other views against Minigrid's own wrappers, number for number and pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from minigrid.wrappers import FullyObsWrapper, RGBImgPartialObsWrapper

from envs import vector
from envs.batched import SingleCopy
from envs.minigrid import make, mirror, views
from envs.minigrid.levels import new_env
from envs.minigrid.mirroring import SameDraws

VARIED = (
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-MultiRoom-N6-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-ObstructedMaze-Full-v1",
    "MiniGrid-DistShift1-v0",
    "MiniGrid-Playground-v0",
    "MiniGrid-Fetch-8x8-N3-v0",
    "MiniGrid-RedBlueDoors-6x6-v0",
    "MiniGrid-Dynamic-Obstacles-6x6-v0",
)
SMALL = {"levels": 60, "eval_levels": 32}


def wrapped(env, view, tile_size):
    return FullyObsWrapper(env) if view == "full" else RGBImgPartialObsWrapper(env, tile_size)


def theirs_of(obs, view):
    return np.moveaxis(obs["image"], -1, 0) if view == "rgb" else obs["image"]


@pytest.mark.parametrize(("view", "tile_size"), [("full", 8), ("rgb", 8), ("rgb", 5)])
@pytest.mark.parametrize("env_id", VARIED)
def test_views_equal_minigrids_wrappers(env_id, view, tile_size):
    env, rng, held = wrapped(new_env(env_id, {}), view, tile_size), np.random.default_rng(0), False
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        world = mirror(env, view=view, tile_size=tile_size)
        bare = env.unwrapped
        draws = SameDraws(world, seed) if "Dynamic" in env_id else None
        bare.np_random = draws or bare.np_random
        ours = world._observe()
        for _ in range(25):
            np.testing.assert_array_equal(ours["image"][0], theirs_of(obs, view))
            assert ours["direction"][0] == obs["direction"]
            front = bare.grid.get(*bare.front_pos)
            useful = 3 if front is not None and front.can_pickup() else 5 if front is not None else 2
            action = int(useful if rng.random() < 0.5 else rng.integers(3)) % world.task.actions
            if draws:
                draws.next_step()
            obs, _, terminated, truncated, _ = env.step(action)
            ours = world.advance(np.array([action]))[0]
            held |= bare.carrying is not None
            if terminated or truncated:
                break
    assert held or "Fetch" not in env_id  # what is carried was drawn, too


def test_a_picture_shows_every_thing_that_can_be_seen():
    """Each kind and colour, in a grid of its own, beside the agent and in its hands."""
    from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall

    env = RGBImgPartialObsWrapper(new_env("MiniGrid-Empty-8x8-v0", {}), 8)
    env.reset(seed=0)
    bare = env.unwrapped
    for colour in ("red", "green", "blue", "purple", "yellow", "grey"):
        doors = [Door(colour, True), Door(colour), Door(colour, is_locked=True)]
        things = [Key(colour), Ball(colour), Box(colour), Floor(colour), Wall(colour), Goal(), Lava(), *doors]
        for thing in things:
            bare.grid.set(2, 1, thing)
            bare.carrying = thing if thing.can_pickup() else None
            ours = mirror(env, view="rgb")._observe()["image"][0]
            np.testing.assert_array_equal(ours, np.moveaxis(env.observation(bare.gen_obs())["image"], -1, 0))


@pytest.mark.parametrize("view", ["partial", "full", "rgb"])
@pytest.mark.parametrize("env_id", ["MiniGrid-MultiRoom-N4-S5-v1", "MiniGrid-PutNear-6x6-N2-v0", VARIED[-1]])
def test_batches_and_single_copies_have_the_same_spaces(env_id, view):
    how = {} if view == "partial" else {"view": view, "tile_size": 9}
    world, one = vector.make(env_id, 3, **SMALL, **how), vector.single(env_id, **how)
    assert world.single_observation_space == one.observation_space
    assert world.single_action_space == one.action_space
    obs = vector.reset(world, 0)
    assert obs in world.observation_space
    assert one.observation_space.contains(one.reset(seed=0)[0])
    if view == "rgb":
        assert obs["image"].shape == (3, 3, 63, 63)


@pytest.mark.parametrize("view", ["partial", "full", "rgb"])
@pytest.mark.parametrize("env_id", ["MiniGrid-PutNear-6x6-N2-v0", "MiniGrid-Dynamic-Obstacles-5x5-v0"])
def test_single_copies_are_gymnasium_environments(env_id, view):
    check_env(SingleCopy(make(env_id, 1, view=view, **SMALL)), skip_render_check=True)


@pytest.mark.parametrize("view", ["full", "rgb"])
def test_a_step_shows_what_a_fresh_look_shows(view):
    """Also after automatic resets, where only some copies look again; and arrays once returned never change."""
    world, rng = make("MiniGrid-LavaGapS6-v0", 6, view=view, max_steps=9), np.random.default_rng(0)
    obs, _ = world.reset(seed=0)
    ends = 0
    for _ in range(60):
        kept, copy = obs["image"], obs["image"].copy()
        obs, _, terminated, truncated, _ = world.step(rng.integers(0, 7, 6))
        np.testing.assert_array_equal(obs["image"], world._observe()["image"])
        np.testing.assert_array_equal(kept, copy)
        ends += (terminated | truncated).sum()
    assert ends > 10


def test_wrong_views_are_refused():
    for make_one in (lambda **how: make("MiniGrid-Empty-5x5-v0", 1, **how), vector.single):
        first = () if make_one is not vector.single else ("MiniGrid-Empty-5x5-v0",)
        with pytest.raises(ValueError, match="partial, full, rgb"):
            make_one(*first, view="whole")
        with pytest.raises(ValueError, match="pixel"):
            make_one(*first, view="rgb", tile_size=0)


def test_unseen_cells_are_dark_and_the_agent_is_red():
    tiles = views.tiles(8)
    seen_empty, unseen = tiles[0, 1 << 5], tiles[0, 0]
    assert (seen_empty.astype(int) > unseen).all()  # highlighted
    assert tiles[1, 1 << 5][0].max() > 200
