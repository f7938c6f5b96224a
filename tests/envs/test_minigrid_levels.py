"""Pools of levels: Minigrid's own, disjoint, cached safely."""

import ast
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import envs.minigrid
from envs.minigrid import IDS, NOT_BATCHED, levels, make
from envs.minigrid.codes import DOOR_LOCKED, KEY, MARK, WALL
from envs.minigrid.levels import level_of, load_pool, new_env, state_of
from envs.minigrid.rooms import quicken

DOOR_KEY = "MiniGrid-DoorKey-6x6-v0"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SANDBOX_CACHE", str(tmp_path))
    return tmp_path / "levels"


def contents(some):
    return {grid.tobytes() + body.tobytes() for grid, body in zip(some.grids, some.bodies, strict=True)}


def same(pool, other):
    return all(
        np.array_equal(getattr(getattr(pool, half), name), getattr(getattr(other, half), name))
        for half in ("train", "evaluation")
        for name in ("grids", "bodies", "missions", "obstacles")
    )


def test_ids_are_a_literal_and_cover_minigrids_registry():
    tree = ast.parse(Path(envs.minigrid.__file__).read_text())
    literal = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "IDS"
    )
    assert literal == IDS
    import minigrid  # noqa: F401

    registered = {name for name in gym.registry if name.startswith("MiniGrid-")}
    others = [name for names in NOT_BATCHED.values() for name in names]
    assert {*IDS, *others} == registered
    assert all("WFC" in name for name in others)
    assert len(IDS) == len(set(IDS))


def test_mirror_stays_a_function_whatever_is_imported():
    import envs.minigrid.mirroring

    assert callable(envs.minigrid.mirror)


def test_importing_the_package_loads_nothing_heavy():
    code = "import envs.minigrid, sys; print(sorted({'numba', 'minigrid', 'pygame', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "env_id", ["MiniGrid-MultiRoom-N4-S5-v0", "MiniGrid-KeyCorridorS4R3-v0", "MiniGrid-LavaGapS7-v0"]
)
def test_levels_are_those_of_a_seeded_reset(env_id):
    """Generated without the first view, in one environment: still what a fresh environment gives."""
    task, found = levels.generate(env_id, {}, 8)
    expected = set()
    for seed in np.random.SeedSequence(levels.SEED).generate_state(40):
        env = gym.make(env_id).unwrapped
        env.reset(seed=int(seed))
        grid, body = state_of(env, task.rule)
        expected.add(grid.tobytes() + body.tobytes())
        if len(expected) == 8:
            break
    assert contents(found) == expected


@pytest.mark.parametrize(("count", "size", "seeds"), [(2, 4, 40), (6, 10, 40), (10, 10, 25), (12, 10, 8)])
def test_rooms_found_quickly_are_minigrids_and_so_is_what_is_drawn_next(count, size, seeds, monkeypatch):
    monkeypatch.setattr("envs.minigrid.rooms.MANY", 1)
    kwargs = {"minNumRooms": count, "maxNumRooms": count, "maxRoomSize": size}
    plain, quick = (new_env("MiniGrid-MultiRoom-N6-v0", kwargs) for _ in range(2))
    quicken(quick)
    assert "_placeRoom" in vars(quick)
    for seed in range(seeds):
        for first in (seed, None):  # None: with the generator as the level before left it
            for env in (plain, quick):
                env.reset(seed=first)
            one, other = level_of(plain, 0), level_of(quick, 0)
            np.testing.assert_array_equal(one.grids, other.grids)
            np.testing.assert_array_equal(one.bodies, other.bodies)
    assert plain.np_random.integers(2**40) == quick.np_random.integers(2**40)


def test_training_and_evaluation_levels_are_disjoint():
    pool = load_pool(DOOR_KEY, {}, 200, 50)
    assert (len(pool.train), len(pool.evaluation), pool.note) == (200, 50, "held-out (50)")
    assert len(contents(pool.train)) == 200
    assert len(contents(pool.evaluation)) == 50
    assert not contents(pool.train) & contents(pool.evaluation)


@pytest.mark.parametrize(("env_id", "count"), [("MiniGrid-Empty-8x8-v0", 1), ("MiniGrid-LavaGapS5-v0", 3)])
def test_ids_with_few_levels_share_them(env_id, count):
    pool = load_pool(env_id, {}, 100, 50)
    assert pool.note == f"shared ({count})"
    assert make(env_id, 2).levels_note == f"shared ({count})"
    assert contents(pool.train) == contents(pool.evaluation)
    assert len(pool.train) == count


def test_split_gives_evaluation_at_most_half_and_only_if_that_is_enough():
    task, all_levels = levels.generate(DOOR_KEY, {}, 100)
    assert levels.split(task, all_levels[:63], 500, 500).note == "shared (63)"
    assert levels.split(task, all_levels[:65], 500, 500).note == "held-out (32)"
    assert levels.split(task, all_levels[:20], 500, 8).note == "held-out (8)"


def test_levels_that_were_all_found_are_never_shared():
    task, all_levels = levels.generate(DOOR_KEY, {}, 100)
    for train, evaluation in ((20, 40), (4, 8), (1, 32), (31, 32), (1, 99)):
        pool = levels.split(task, all_levels[: train + evaluation], train, evaluation)
        assert pool.note == f"held-out ({evaluation})" and len(pool.train) == train
        assert not contents(pool.train) & contents(pool.evaluation)
    pool = levels.split(task, all_levels[:20], 5, 500)  # twenty are all that there are
    assert pool.note == "shared (20)" and len(pool.train) == 5 and len(pool.evaluation) == 20


def can_be_solved(grid, body, width):
    """As if all that can be carried were out of the way: False is certain, True nearly so."""
    keys, found = set(), None
    while found != len(keys):
        found, reached = len(keys), {int(body[1]) * width + int(body[0])}
        ahead = list(reached)
        while ahead:
            cell = ahead.pop()
            for near in {cell - 1, cell + 1, cell - width, cell + width} - reached:
                kind, colour = grid[near] >> 3 & 15, grid[near] & 7
                if kind != WALL and (kind != DOOR_LOCKED or colour in keys):
                    reached.add(near)
                    ahead.append(near)
        words = [grid[cell] >> shift for cell in reached for shift in (0, 8, 16)]
        keys |= {word & 7 for word in words if word >> 3 & 15 == KEY}
    return any(grid[cell] & MARK for cell in reached)


@pytest.mark.parametrize(
    ("name", "hopeless"), [("2Dlhb-v0", 30), ("1Q-v0", 30), ("2Q-v0", 15), ("1Dlhb-v0", 0), ("2Dlhb-v1", 0)]
)
def test_levels_that_cannot_be_solved_are_kept_and_counted(name, hopeless):
    """In version 0 of these mazes a ball may be put where the box with a key was: so it is in Minigrid."""
    pool = load_pool(f"MiniGrid-ObstructedMaze-{name}", {}, 4096, 512)
    levels = zip(pool.evaluation.grids.tolist(), pool.evaluation.bodies.tolist(), strict=True)
    assert sum(not can_be_solved(grid, body, pool.task.width) for grid, body in levels) == hopeless


def test_arguments_reach_minigrid_and_are_part_of_the_key(cache):
    world = make("MiniGrid-Empty-5x5-v0", 1, size=7, max_steps=11)
    assert (world.task.width, world.task.max_steps) == (7, 11)
    assert make("MiniGrid-Empty-5x5-v0", 1).task.width == 5
    assert len(list(cache.glob("*.npz"))) == 2


@pytest.mark.parametrize("env_id", ["MiniGrid-PutNear-8x8-N3-v0", "MiniGrid-Dynamic-Obstacles-6x6-v0"])
def test_missions_and_obstacles_are_cached_with_their_levels(env_id, monkeypatch):
    pool = load_pool(env_id, {}, 80, 40)
    monkeypatch.setattr(levels, "generate", lambda *_: pytest.fail("generated again"))
    assert same(load_pool(env_id, {}, 80, 40), pool)
    assert pool.train.missions.shape[1] + pool.train.obstacles.shape[1] > 0
    assert not contents(pool.train) & contents(pool.evaluation)


def test_cached_pool_is_the_generated_one_and_nothing_is_generated_twice(cache, monkeypatch):
    pool = load_pool(DOOR_KEY, {}, 100, 40)
    assert [file.suffix for file in cache.iterdir()] == [".npz"]
    monkeypatch.setattr(levels, "generate", lambda *_: pytest.fail("generated again"))
    again = load_pool(DOOR_KEY, {}, 100, 40)
    assert same(pool, again)
    assert again.task == pool.task


def damage_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def damage_all(path):
    path.write_bytes(b"")


def damage_position(path):
    with np.load(path) as file:
        arrays = dict(file)
    arrays["bodies"][0, 0] = 10**6
    np.savez(path, **arrays)


def damage_target(path):
    with np.load(path) as file:
        arrays = dict(file)
    arrays["bodies"][0, 4] = 10**6
    np.savez(path, **arrays)


def damage_obstacles(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "obstacles": np.full((100, 2), -1)})


def damage_missions(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "missions": np.full((100, 5), 3)})


def damage_pickle(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "grids": np.array([object()])})


def damage_key(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "key": arrays["key"][:-1], "bodies": arrays["bodies"][::-1]})


DAMAGES = [damage_half, damage_byte, damage_all, damage_position, damage_pickle, damage_key]
DAMAGES += [damage_target, damage_obstacles, damage_missions]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(cache, damage):
    pool = load_pool(DOOR_KEY, {}, 60, 40)
    (path,) = cache.glob("*.npz")
    damage(path)
    assert same(load_pool(DOOR_KEY, {}, 60, 40), pool)
    with np.load(path) as file:
        assert len(file["grids"]) == 100


def test_an_unwritable_folder_means_no_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SANDBOX_CACHE", str(tmp_path / "file"))
    assert len(load_pool(DOOR_KEY, {}, 60, 40).train) == 60


def test_processes_that_start_together_agree(cache):
    code = (
        "from envs.minigrid.levels import load_pool; p = load_pool('MiniGrid-DoorKey-6x6-v0', {}, 60, 40);"
        "print(p.train.grids.sum(), p.evaluation.grids.sum())"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate()[0] for process in started}
    assert len(answers) == 1
    assert [file.suffix for file in cache.iterdir()] == [".npz"]


def test_bad_requests_are_explained():
    with pytest.raises(ValueError, match="MiniGrid-DoorKey-8x8-v0"):
        make("MiniGrid-DoorKey-8x8", 1)
    with pytest.raises(ValueError, match="at least 1"):
        make(DOOR_KEY, 1, levels=0)
    with pytest.raises(ValueError, match="split"):
        make(DOOR_KEY, 1, levels=10, eval_levels=2, split="test")


def test_states_with_too_much_nesting_are_refused():
    from minigrid.core.world_object import Box

    env = new_env("MiniGrid-Empty-5x5-v0", {})
    env.reset(seed=0)
    env.grid.set(2, 2, Box("red", Box("red", Box("red", Box("red")))))
    with pytest.raises(ValueError, match="nested"):
        state_of(env, 0)
