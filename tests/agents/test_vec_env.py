"""The adapter from Gymnasium's vector environments to SB3's: ends, time limits, labels, seeds, and every fault."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from agents.faults import EnvironmentFault
from agents.vec_env import GymnasiumVecEnv
from envs.deep_sea import DeepSea


class Counter(gym.Env):
    """Shows (seed, steps of this episode); the last step of an episode is `length`. Labels only where it stepped."""

    def __init__(self, length: int = 3, ends: tuple[bool, bool] = (True, False), faults: dict[int, str] | None = None):
        self.length, self.ends, self.faults = length, ends, faults or {}
        self.observation_space: spaces.Space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Discrete(2)
        self.seeds: list[int | None] = []
        self.total = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.t = 0
        if self.faults.get(-1) == "reset":
            raise OSError("no such level")
        return self.view(), {}

    def view(self) -> Any:
        return np.array([len(self.seeds), self.t], np.float64)

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        self.t += 1
        self.total += 1
        fault = self.faults.get(self.total)
        if fault == "raise":
            raise KeyError("lost")
        obs = self.view()
        if fault == "observation":
            obs = obs * np.nan
        done = self.t == self.length
        info = {"labels": {"t": self.t, "place": np.array([self.t, 0.5], np.float32)}, "is_success": self.t == 3}
        return obs, np.inf if fault == "reward" else 1.5, done and self.ends[0], done and self.ends[1], info


class Named(Counter):
    """The same with a dict observation, a discrete part among it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.observation_space = spaces.Dict({"k": spaces.Discrete(99), "v": spaces.Box(-9, 9, (1,), np.float32)})

    def view(self) -> Any:
        return {"k": self.t, "v": np.array([-self.t], np.float32)}


def vec(*copies: gym.Env) -> GymnasiumVecEnv:
    return GymnasiumVecEnv(
        SyncVectorEnv([lambda c=c: c for c in copies], autoreset_mode=AutoresetMode.SAME_STEP)  # type: ignore[misc]
    )


def walk(env: GymnasiumVecEnv, steps: int) -> list[tuple]:
    env.reset()
    return [env.step(np.zeros(env.num_envs, np.int64)) for _ in range(steps)]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_other_reset_modes_are_refused(mode: AutoresetMode) -> None:
    with pytest.raises(ValueError, match="SAME_STEP"):
        GymnasiumVecEnv(SyncVectorEnv([Counter], autoreset_mode=mode))


def test_an_environment_that_does_not_say_how_it_resets_is_refused() -> None:
    env = DeepSea(1)
    env.metadata = {}
    with pytest.raises(ValueError, match="None"):
        GymnasiumVecEnv(env)


def test_only_copies_that_ended_carry_anything_and_it_is_their_own_last_observation() -> None:
    (first, second, third) = walk(vec(Counter(length=2), Counter(length=3)), 3)
    assert first[3] == [{}, {}]
    assert second[2].tolist() == [True, False]
    assert second[0].tolist() == [[2, 0], [1, 2]]  # the first copy begins its second episode
    assert second[3][0]["terminal_observation"].tolist() == [1, 2]
    assert second[3][1] == {}
    assert third[3][1]["terminal_observation"].tolist() == [1, 3]
    assert second[3][0]["episode"] == {"r": 3.0, "l": 2, "t": 0.0}
    assert third[3][1]["episode"] == {"r": 4.5, "l": 3, "t": 0.0}
    assert second[1].dtype == np.float32


@pytest.mark.parametrize(("ends", "time_limit"), [((True, False), False), ((False, True), True), ((True, True), False)])
def test_time_limit_means_truncated_and_not_terminated(ends: tuple[bool, bool], time_limit: bool) -> None:
    infos = walk(vec(Counter(ends=ends)), 3)[-1][3]
    assert infos[0]["TimeLimit.truncated"] is time_limit


def test_a_second_episode_counts_from_zero() -> None:
    infos = walk(vec(Counter(length=2), Counter(length=9)), 4)[-1][3]
    assert infos[0]["episode"] == {"r": 3.0, "l": 2, "t": 0.0}


def test_success_is_that_of_the_last_step() -> None:
    assert walk(vec(Counter(length=3)), 3)[-1][3][0]["is_success"] is True
    assert walk(vec(Counter(length=2)), 2)[-1][3][0]["is_success"] is False


def test_last_observations_of_a_dict_space() -> None:
    obs, _, _, infos = walk(vec(Named(length=2), Named(length=5)), 2)[-1]
    assert infos[0]["terminal_observation"] == {"k": 2, "v": np.array([-2.0], np.float32)}
    assert obs["k"].tolist() == [0, 2]


def test_last_observations_of_a_batched_world_are_dense() -> None:
    env: Any = GymnasiumVecEnv(DeepSea(2, size=2))
    env.reset()
    env.env.row[1] = 1  # the second copy is one row ahead: it ends first
    obs, _, dones, infos = env.step(np.zeros(2, np.int64))
    assert dones.tolist() == [False, True]
    assert infos[0] == {}
    assert infos[1]["terminal_observation"].sum() == 0
    assert infos[1]["is_success"] is False
    assert obs[1, 0, 0] == 1


def test_labels_are_those_of_the_state_reached_also_at_an_end() -> None:
    env = vec(Counter(length=2), Counter(length=3))
    env.reset()
    seen = []
    for _ in range(6):
        env.step(np.zeros(2, np.int64))
        assert set(env.last_labels) == {"t", "place"}
        assert env.last_labels["place"][:, 0].tolist() == env.last_labels["t"].tolist()
        seen.append(env.last_labels["t"].tolist())
    assert seen == [[1, 1], [2, 2], [1, 3], [2, 1], [1, 2], [2, 3]]  # the last: both ended at once


def test_labels_of_a_batched_world_are_those_before_the_reset() -> None:
    env = GymnasiumVecEnv(DeepSea(2, size=3, emit_labels=True))
    env.reset()
    rows = []
    for _ in range(4):
        env.step(np.zeros(2, np.int64))
        rows.append(env.last_labels["row"].tolist())
    assert rows == [[1, 1], [2, 2], [3, 3], [1, 1]]


def test_an_environment_without_labels_has_none() -> None:
    env = GymnasiumVecEnv(DeepSea(1))
    walk(env, 1)
    assert env.last_labels == {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("reward", "step 2: copy 1 returned the reward inf"),
        ("observation", "step 2: the observation holds NaN"),
        ("raise", r"step 2 raised KeyError: 'lost'"),
    ],
)
@pytest.mark.parametrize("length", [2, 3])  # the fault lies at the end of an episode, or within
def test_faults_are_told_with_their_place(fault: str, message: str, length: int) -> None:
    env = vec(Counter(length=length), Counter(length=length, faults={2: fault}))
    with pytest.raises(EnvironmentFault, match=message):
        walk(env, 3)


def test_a_fault_keeps_its_cause_and_a_reset_can_fail_too() -> None:
    with pytest.raises(EnvironmentFault, match="reset raised OSError: no such level") as caught:
        vec(Counter(faults={-1: "reset"})).reset()
    assert isinstance(caught.value.__cause__, OSError)


def test_nan_in_a_part_of_a_dict_is_found_and_named() -> None:
    class Bad(Named):
        def view(self) -> Any:
            return {"k": self.t, "v": np.array([np.nan if self.t == 2 else 0.0], np.float32)}

    with pytest.raises(EnvironmentFault, match="in 'v'"):
        walk(vec(Bad(length=2), Bad(length=3)), 2)


def test_seeds_of_neighbours_share_nothing() -> None:
    def seeds(seed: int) -> list[int]:
        copies = [Counter() for _ in range(8)]
        env = vec(*copies)
        env.seed(seed)
        env.reset()
        env.reset()  # SB3's contract: seeds are used once
        assert all(copy.seeds[1] is None for copy in copies)
        return [int(copy.seeds[0]) for copy in copies]  # type: ignore[arg-type]

    assert seeds(3) == seeds(3)
    assert len({*seeds(3), *seeds(4), *seeds(5)}) == 24


def test_a_batched_world_is_seeded_by_one_number() -> None:
    def rewards(seed: int) -> list[float]:
        env = GymnasiumVecEnv(DeepSea(4, size=3, stochastic=True))
        env.seed(seed)
        return [float(r) for step in walk(env, 12) for r in step[1]]

    assert rewards(1) == rewards(1)
    assert rewards(1) != rewards(2)


def test_running_sums_resume() -> None:
    env, resumed = vec(Counter(length=3)), vec(Counter(length=3))
    walk(env, 2)
    walk(resumed, 2)
    resumed._returns[:], resumed._lengths[:] = 0, 0
    resumed.load_state_dict(env.state_dict())
    infos = resumed.step(np.zeros(1, np.int64))[3]
    assert infos[0]["episode"] == {"r": 4.5, "l": 3, "t": 0.0}


def test_begin_forgets_the_episodes_in_progress() -> None:
    env = vec(Counter(length=3))
    walk(env, 2)
    env.begin(env.env.reset()[0])
    infos = [env.step(np.zeros(1, np.int64))[3] for _ in range(3)][-1]
    assert infos[0]["episode"]["l"] == 3
    assert infos[0]["episode"]["r"] == 4.5


def test_what_sb3_asks_of_a_vec_env() -> None:
    env: Any = GymnasiumVecEnv(DeepSea(3, size=4))
    env.reset()
    assert env.get_attr("size") == [4, 4, 4]
    assert env.get_attr("size", indices=[1]) == [4]
    env.set_attr("emit_labels", True)
    assert env.env.emit_labels is True
    assert len(env.env_method("oracle")) == 3
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3
    assert not hasattr(env, "no_such_thing")
