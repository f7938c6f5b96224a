"""One way to N copies of any id: what is batched and what is not, readable dicts, seeds that share nothing."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs import vector
from envs.batched import BatchedWorld
from envs.deep_sea import DeepSea

WORLDS = """
    import gymnasium as gym
    import numpy as np
    from gymnasium import spaces

    class Talk(gym.Env):
        observation_space = spaces.Dict({
            "place": spaces.Box(-1, 1, (3,), np.float32),
            "mission": spaces.Text(10),
            "heading": spaces.Discrete(4),
            "doors": spaces.MultiBinary(2),
        })
        action_space = spaces.Discrete(2)

        def __init__(self, length=4):
            self.length = length

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t = 0
            return self.observation_space.sample(), {}

        def step(self, action):
            self.t += 1
            return self.observation_space.sample(), 1.0, self.t == self.length, False, {}

        def oracle(self):
            return self.t % 2

        def labels(self):
            return {"t": self.t}

    class Mute(Talk):
        observation_space = spaces.Dict({"mission": spaces.Text(10)})

    gym.register("Talk-v0", Talk)
    gym.register("Mute-v0", Mute)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's own module on the path; returns its name."""
    (tmp_path / "own_worlds_for_test.py").write_text(textwrap.dedent(WORLDS), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_worlds_for_test"


@pytest.mark.parametrize("env_id", ["CartPole-v1", "MountainCar-v0"])
def test_foreign_ids_run_copy_by_copy_in_same_step(env_id: str) -> None:
    env = vector.make(env_id, 3)
    assert isinstance(env, SyncVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert not vector.is_batched(env_id)
    obs = vector.reset(env, 0)
    assert env.observation_space.contains(obs)
    # An end must be the true one: never a step that only resets, as CartPole's own vector entry point makes.
    for _ in range(250):
        before = obs
        obs, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
        assert (rewards != 0).all()
        for i in np.flatnonzero(terminated | truncated):
            assert not np.array_equal(infos["final_obs"][i], obs[i])
            assert not np.array_equal(infos["final_obs"][i], before[i])
    env.close()


def test_a_time_limit_truncates_and_arguments_reach_the_environment() -> None:
    env: Any = vector.make("MountainCar-v0", 2, max_episode_steps=5, goal_velocity=0.01)
    vector.reset(env, 0)
    for t in range(5):
        *_, terminated, truncated, _ = env.step(np.ones(2, int))
        assert truncated.all() == (t == 4)
    assert not terminated.any()
    assert env.envs[0].unwrapped.goal_velocity == 0.01


@pytest.mark.parametrize("env_id", ["DeepSea-v0", "envs:DeepSea-v0"])
def test_our_own_worlds_run_batched(env_id: str) -> None:
    assert vector.is_batched(env_id)
    env = vector.make(env_id, 4, size=3, emit_labels=True)
    assert isinstance(env, DeepSea)
    assert (env.num_envs, env.size, env.emit_labels) == (4, 3, True)


def test_own_ids_are_ours_and_exist() -> None:
    ids = vector.own_ids()
    assert "DeepSea-v0" in ids
    assert "CartPole-v1" not in ids
    assert all(isinstance(vector.make(i, 2, levels=40, eval_levels=10), BatchedWorld) for i in ids)


def test_a_users_own_module_is_found_by_its_name(module: str) -> None:
    env = vector.make(f"{module}:Talk-v0", 2, length=3)
    vector.reset(env, 0)
    ends = [env.step(np.zeros(2, int))[2].tolist() for _ in range(6)]
    assert ends == [[False, False], [False, False], [True, True]] * 2


def test_text_is_dropped_and_the_rest_of_a_dict_is_kept(module: str) -> None:
    env: Any = vector.make(f"{module}:Talk-v0", 2)
    assert set(env.single_observation_space.spaces) == {"place", "heading", "doors"}
    obs = vector.reset(env, 0)
    assert set(obs) == {"place", "heading", "doors"}
    for _ in range(4):
        obs, *_, infos = env.step(np.zeros(2, int))
    assert env.observation_space.contains(obs)
    assert all(set(final) == {"place", "heading", "doors"} for final in infos["final_obs"])


def test_a_dict_without_any_number_is_refused(module: str) -> None:
    with pytest.raises(ValueError, match="numeric"):
        vector.make(f"{module}:Mute-v0", 1)


def test_truth_of_foreign_copies_is_stacked(module: str) -> None:
    env = vector.told(vector.make(f"{module}:Talk-v0", 3))
    vector.reset(env, 0)
    env.step(np.zeros(3, int))
    assert env.oracle().tolist() == [1, 1, 1]
    assert {k: v.tolist() for k, v in env.labels().items()} == {"t": [1, 1, 1]}
    world = DeepSea(2)
    assert vector.told(world) is world


def test_discrete_observations_pass_through() -> None:
    env = vector.make("FrozenLake-v1", 3)
    obs = vector.reset(env, 0)
    assert isinstance(env.single_observation_space, spaces.Discrete)
    assert obs.shape == (3,)
    assert np.issubdtype(obs.dtype, np.integer)


def test_a_minigrid_view_is_no_picture_and_has_no_text() -> None:
    env = vector.single("MiniGrid-Empty-5x5-v0")
    assert set(env.observation_space.spaces) == {"image", "direction"}  # type: ignore[attr-defined]
    assert int(env.observation_space["image"].high.max()) == 10  # type: ignore[index]
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)


@pytest.mark.parametrize("prefix", ["", "envs:"])
def test_larger_multirooms_have_ids_of_ours(prefix: str) -> None:
    for rooms, size in ((7, 8), (10, 10), (12, 10)):
        env_id = f"{prefix}MiniGrid-MultiRoom-N{rooms}-S{size}-v0"
        assert vector.is_batched(env_id)
        for env in (gym.make(env_id, disable_env_checker=True), vector.single(env_id)):
            bare: Any = env.unwrapped
            assert (bare.minNumRooms, bare.maxNumRooms, bare.maxRoomSize) == (rooms, rooms, size)
            assert bare.max_steps == 20 * rooms
    world = vector.make(f"{prefix}MiniGrid-MultiRoom-N7-S8-v0", 2, levels=40, eval_levels=10)
    assert isinstance(world, BatchedWorld)


def test_what_is_not_batched_runs_through_minigrid_with_the_same_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an id of `NOT_BATCHED` would, if Minigrid could draw its levels."""
    monkeypatch.setattr(vector, "MINIGRID_IDS", ())
    for view, shape in (("partial", (7, 7, 3)), ("full", (8, 8, 3)), ("rgb", (3, 56, 56))):
        env = vector.make("MiniGrid-Fetch-8x8-N3-v0", 2, view=view)
        assert isinstance(env, SyncVectorEnv)
        obs = vector.reset(env, 0)
        assert env.observation_space.contains(obs)
        assert obs["image"].shape == (2, *shape)
        assert obs["mission"].shape == (2, 6)


def test_an_unknown_id_is_gymnasiums_error() -> None:
    with pytest.raises(gym.error.Error):
        vector.make("NoSuchWorld-v0", 1)


def first_observations(env_id: str, seed: Any, n: int = 16, **kwargs: Any) -> list[tuple]:
    env = vector.make(env_id, n, **kwargs)
    obs = vector.reset(env, seed)
    env.close()
    return [tuple(row.ravel().tolist()) for row in obs]


def test_same_seed_same_beginnings_and_neighbours_share_none() -> None:
    beginnings = {seed: first_observations("CartPole-v1", seed) for seed in (0, 1, 2)}
    assert first_observations("CartPole-v1", 1) == beginnings[1]
    every = [start for starts in beginnings.values() for start in starts]
    assert len(set(every)) == 3 * 16


def test_a_seed_sequence_is_taken_as_it_is() -> None:
    assert first_observations("CartPole-v1", np.random.SeedSequence(7)) == first_observations("CartPole-v1", 7)
    spawned = first_observations("CartPole-v1", np.random.SeedSequence([7, 1]))
    assert not set(spawned) & set(first_observations("CartPole-v1", 7))


def test_a_batched_worlds_noise_follows_its_seed() -> None:
    def noise(seed: int) -> list[float]:
        env: Any = vector.make("DeepSea-v0", 8, size=2, stochastic=True)
        vector.reset(env, seed)
        return [float(r) for _ in range(2) for r in env.step(env.oracle())[1]]

    assert noise(1) == noise(1)
    assert not set(noise(1)[8:]) & set(noise(2)[8:])


class Picture(gym.Env):
    observation_space = spaces.Box(0, 255, (40, 48, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((40, 48, 3), np.uint8), {}

    def step(self, action):
        view = np.zeros((40, 48, 3), np.uint8)
        view[1, 2] = (7, 8, 9)
        return view, 0.0, False, False, {}


def test_a_picture_comes_channel_first():
    gym.register("Picture-v0", entry_point=Picture, max_episode_steps=5)
    env = vector.make("Picture-v0", 2)
    assert env.single_observation_space.shape == (3, 40, 48)
    vector.reset(env, 0)
    obs, *_ = env.step(np.zeros(2, np.int64))
    assert obs.shape == (2, 3, 40, 48)
    assert obs[1, :, 1, 2].tolist() == [7, 8, 9]


@pytest.mark.parametrize("prefix", ["", "envs:"])
def test_who_can_be_asked_for_the_right_action(prefix: str) -> None:
    for name, offers in [("DeepSea-v0", True), ("MiniGrid-Empty-5x5-v0", True), ("MiniGrid-Playground-v0", False)]:
        assert vector.offers_oracle(prefix + name, vector.single(prefix + name)) is offers
    assert not vector.offers_oracle("CartPole-v1", vector.single("CartPole-v1"))
