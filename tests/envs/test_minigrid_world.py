"""The batched world's contract: steps, splits, labels, oracle, saving."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.batched import BatchedWorld, SingleCopy
from envs.minigrid import make, mirror
from envs.minigrid.levels import new_env

SMALL = {"levels": 100, "eval_levels": 40}
LABEL_NAMES = {"position", "direction", "carrying", "door_states", "distance_to_goal"}


def assert_equal(left, right, where="step"):
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for name in left:
            assert_equal(left[name], right[name], f"{where}/{name}")
    elif isinstance(left, tuple):
        for k, pair in enumerate(zip(left, right, strict=True)):
            assert_equal(*pair, f"{where}/{k}")
    else:
        np.testing.assert_array_equal(left, right, where)
        assert left.dtype == right.dtype, where


def test_worlds_of_one_pool_share_its_levels():
    first, other = (make("MiniGrid-UnlockPickup-v0", n, max_steps=17, **SMALL) for n in (2, 3))
    assert first.levels is other.levels
    assert make("MiniGrid-UnlockPickup-v0", 2, max_steps=18, **SMALL).levels is not first.levels


@pytest.mark.parametrize("env_id", ["MiniGrid-LavaCrossingS9N3-v0", "MiniGrid-UnlockPickup-v0"])
@pytest.mark.parametrize("split", ["train", "eval"])
def test_fast_step_equals_the_generic_one(env_id, split):
    fast, generic = (make(env_id, 5, split=split, max_steps=17, **SMALL) for _ in range(2))
    assert_equal(fast.reset(seed=3), generic.reset(seed=3))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(100):
        actions = np.where(rng.random(5) < 0.5, fast.oracle(), rng.integers(0, 7, 5))
        ours = fast.step(actions)
        assert_equal(ours, BatchedWorld.step(generic, actions))
        ends += (ours[2] | ours[3]).sum()
    assert ends > 20


def test_returned_arrays_stay_as_they_are():
    world = make("MiniGrid-Empty-Random-5x5-v0", 3)
    obs, _ = world.reset(seed=0)
    kept = [obs, *world.step(np.array([0, 1, 2]))]
    copies = [obs["image"].copy(), kept[1]["image"].copy(), kept[2].copy(), kept[5]["is_success"].copy()]
    for _ in range(20):
        world.step(world.oracle())
    for left, right in zip((obs["image"], kept[1]["image"], kept[2], kept[5]["is_success"]), copies, strict=True):
        np.testing.assert_array_equal(left, right)


def test_what_an_ended_step_reports():
    world = make("MiniGrid-Empty-5x5-v0", 2)
    world.reset(seed=0)
    for action in (2, 2, 1, 2):
        world.step(np.array([action, 6]))
    obs, rewards, terminated, truncated, infos = world.step(np.array([2, 6]))
    assert rewards[0] == 1 - 0.9 * (5 / 100)  # five of a hundred steps
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert infos["is_success"].tolist() == infos["_final_obs"].tolist() == [True, False]
    assert infos["episode"]["l"].tolist() == [5, 5]
    assert infos["episode"]["r"][0] == rewards[0]
    assert infos["final_obs"]["direction"].tolist() == [1, 0]
    assert obs["direction"].tolist() == [0, 0]


def test_spaces_hold_what_is_returned():
    world = make("MiniGrid-KeyCorridorS3R2-v0", 4, emit_labels=True, **SMALL)
    obs, _ = world.reset(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert obs in world.observation_space
        obs, _, _, _, infos = world.step(np.where(rng.random(4) < 0.5, world.oracle(), rng.integers(0, 7, 4)))
        assert infos["labels"].keys() == world.label_spaces.keys() == LABEL_NAMES
        for name, space in world.label_spaces.items():
            for value in infos["labels"][name]:
                assert np.asarray(value, space.dtype) in space, name


def test_single_copy_is_a_gymnasium_environment():
    check_env(SingleCopy(make("MiniGrid-DoorKey-5x5-v0", 1)), skip_render_check=True)


@pytest.mark.parametrize("actions", [[0], [0, 7], [-1, 0], [[0, 1]], [0.5, 1.0]])
def test_wrong_actions_are_refused_and_change_nothing(actions):
    world = make("MiniGrid-Empty-5x5-v0", 2)
    world.reset(seed=0)
    before = world.state_dict()
    with pytest.raises(ValueError, match="actions"):
        world.step(np.array(actions))
    assert_equal(before, world.state_dict())


# ---------------------------------------------------------------------- which levels


def levels_played(world, steps=40):
    played = [world.drawn.copy()]
    for _ in range(steps):
        _, _, terminated, truncated, _ = world.step(np.full(world.num_envs, 6))
        if (terminated | truncated).any():
            played.append(world.drawn.copy())
    return np.array(played)


def test_training_levels_depend_on_the_seed_only():
    runs = []
    for seed in (1, 1, 2):
        world = make("MiniGrid-DoorKey-6x6-v0", 6, max_steps=4, **SMALL)
        world.reset(seed=seed)
        runs.append(levels_played(world))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).mean() > 0.8
    assert len(np.unique(runs[0])) > 30


def test_evaluation_levels_come_in_order_without_chance():
    world = make("MiniGrid-DoorKey-6x6-v0", 6, split="eval", max_steps=4, **SMALL)
    assert len(world.levels) == 40
    for seed in (5, 6):
        world.reset(seed=seed)
        expected = (np.arange(11)[:, None] * 6 + np.arange(6)) % 40
        np.testing.assert_array_equal(levels_played(world), expected)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_restored_world_continues_equally(split):
    def fresh():
        return make("MiniGrid-UnlockPickup-v0", 4, split=split, max_steps=30, **SMALL)

    world, other, rng = fresh(), fresh(), np.random.default_rng(0)
    world.reset(seed=0)
    for _ in range(37):
        world.step(np.where(rng.random(4) < 0.7, world.oracle(), rng.integers(0, 7, 4)))
    other.reset(seed=9)
    other.load_state_dict(world.state_dict())
    assert_equal(world._observe(), other._observe())
    np.testing.assert_array_equal(world.is_success(), other.is_success())
    world.reseed(5)
    other.reseed(5)
    for _ in range(80):
        actions = rng.integers(0, 7, 4)
        assert_equal(world.step(actions), other.step(actions))
    assert_equal(world.state_dict(), other.state_dict())


def test_foreign_states_are_refused():
    world = make("MiniGrid-Empty-5x5-v0", 2)
    world.reset(seed=0)
    with pytest.raises(ValueError, match="shape"):
        make("MiniGrid-Empty-6x6-v0", 2).load_state_dict(world.state_dict())
    state = world.state_dict()
    state["bodies"][0, 0] = 10**9
    with pytest.raises(ValueError, match="outside"):
        world.load_state_dict(state)


# ---------------------------------------------------------------------- ground truth


def test_labels_by_hand_along_an_episode():
    world = make("MiniGrid-Empty-5x5-v0", 1, emit_labels=True)
    world.reset(seed=0)
    assert "door_states" not in world.label_spaces
    assert world.labels()["position"].tolist() == [[1, 1]]
    expected = [([2, 1], 0, 4), ([3, 1], 0, 3), ([3, 1], 1, 2), ([3, 2], 1, 1), ([3, 3], 1, 0)]
    for action, (position, direction, distance) in zip((2, 2, 1, 2, 2), expected, strict=True):
        labels = world.step(np.array([action]))[4]["labels"]
        assert labels["position"].tolist() == [position]
        assert labels["direction"].tolist() == [direction]
        assert labels["distance_to_goal"].tolist() == [distance]
        assert labels["carrying"].tolist() == [0]


def test_labels_of_doors_and_hands_equal_minigrids():
    env, rng = new_env("MiniGrid-KeyCorridorS3R3-v0", {"max_steps": 10_000}), np.random.default_rng(2)
    env.reset(seed=1)
    seen = set()
    for _ in range(150):
        labels = mirror(env).labels()
        doors = [thing for thing in env.grid.grid if thing is not None and thing.type == "door"]
        states = [0 if door.is_open else 2 if door.is_locked else 1 for door in doors]
        held = env.carrying
        code = 0 if held is None else 1 + 6 * ("key", "ball", "box").index(held.type) + held.encode()[1]
        assert labels["door_states"].tolist() == [states]
        assert labels["carrying"].tolist() == [code]
        assert tuple(labels["position"][0]) == tuple(env.agent_pos)
        seen |= {*states, ("held", code > 0)}
        action = mirror(env).oracle()[0] if rng.random() < 0.5 else rng.integers(0, 7)
        if env.step(int(action))[2]:
            break
    assert {0, 1, 2, ("held", True), ("held", False)} <= seen


def test_levels_with_fewer_doors_say_so():
    world = make("MiniGrid-KeyCorridorS3R3-v0", 64, **SMALL)
    world.reset(seed=0)
    states = world.labels()["door_states"]
    assert states.shape == (64, world.doors)
    absent = states == 3
    assert absent.any()
    assert not absent.all(1).any()
    assert (np.diff(absent.astype(int), axis=1) >= 0).all()  # absent doors come last
