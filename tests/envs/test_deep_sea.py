"""DeepSea against a literal one-copy account of bsuite's rules, its noise by statistics, and both its faces."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import envs  # noqa: F401  (registers the ids)
from envs.deep_sea import DeepSea


class Slow:
    """One submarine, one `if` per rule of bsuite's deep sea; `draw` says whether a move to the right succeeds."""

    def __init__(self, size: int, mapping_seed: int = 42) -> None:
        self.size = size
        self.mapping = np.random.RandomState(mapping_seed).binomial(1, 0.5, [size, size])
        self.start()

    def start(self) -> None:
        self.row = self.column = 0
        self.wrong = False

    def step(self, action: int) -> tuple[float, bool]:
        reward = 0.0
        if action == self.mapping[self.row][self.column]:
            if self.column == self.size - 1:
                reward += 1.0
            reward -= 0.01 / self.size
            self.column = min(self.column + 1, self.size - 1)
        else:
            if self.column == self.row:
                self.wrong = True
            self.column = max(self.column - 1, 0)
        self.row += 1
        return reward, self.row == self.size

    def view(self) -> np.ndarray:
        view = np.zeros((self.size, self.size), np.float32)
        if self.row < self.size:
            view[self.row, self.column] = 1.0
        return view


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(0, 5), st.integers(0, 2**31), st.floats(0, 1))
def test_equals_the_literal_rules(size: int, mapping_seed: int, seed: int, luck: float) -> None:
    n, rng = 3, np.random.default_rng(seed)
    world, slow = (
        DeepSea(n, size=size, mapping_seed=mapping_seed, emit_labels=True),
        [Slow(size, mapping_seed) for _ in range(n)],
    )
    obs, _ = world.reset(seed=0)
    for _ in range(4 * size):
        np.testing.assert_array_equal(obs, [s.view() for s in slow])
        actions = np.where(rng.random(n) < luck, world.oracle(), rng.integers(2, size=n))
        obs, rewards, terminated, truncated, infos = world.step(actions)
        results = [s.step(int(a)) for s, a in zip(slow, actions, strict=True)]
        np.testing.assert_allclose(rewards, [r for r, _ in results], rtol=0, atol=1e-12)
        assert terminated.tolist() == [done for _, done in results]
        assert not truncated.any()
        reached = infos["labels"]["on_path"].tolist()
        assert reached == [not s.wrong for s in slow]
        assert infos["is_success"].tolist() == [r > 0.5 for r, _ in results]
        for i, one in enumerate(slow):
            if terminated[i]:
                np.testing.assert_array_equal(infos["final_obs"][i], one.view())
                one.start()


@pytest.mark.parametrize("size", [2, 10, 30])
def test_the_oracle_earns_the_best_return(size: int) -> None:
    world = DeepSea(3, size=size)
    world.reset(seed=0)
    for t in range(size):
        assert world.labels()["on_path"].tolist() == [1, 1, 1]
        _, _, terminated, _, infos = world.step(world.oracle())
        assert terminated.all() == (t == size - 1)
    assert infos["episode"]["r"] == pytest.approx(0.99)
    assert infos["episode"]["l"].tolist() == [size] * 3
    assert infos["is_success"].all()


def test_no_other_path_finds_the_treasure() -> None:
    size = 4
    returns = []
    for code in range(2**size):
        world = DeepSea(1, size=size)
        world.reset(seed=0)
        for t in range(size):
            right = bool(code >> t & 1)
            _, _, _, _, infos = world.step(np.where(right, world.oracle(), 1 - world.oracle()))
        returns.append(float(infos["episode"]["r"][0]))
    assert sum(r > 0.5 for r in returns) == 1
    assert returns[-1] == pytest.approx(0.99)
    assert returns[0] == 0.0
    assert sorted(returns)[0] == pytest.approx(-0.01 * 3 / 4)


def test_a_move_to_the_right_slips_once_in_n() -> None:
    n, size = 20_000, 4
    world = DeepSea(n, size=size, stochastic=True)
    world.reset(seed=1)
    before = world.labels()["column"]
    assert (before == 0).all()
    _, rewards, _, _, _ = world.step(world.oracle())
    slipped = world.labels()["column"] == 0
    assert set(world.labels()["column"].tolist()) == {0, 1}
    assert slipped.mean() == pytest.approx(1 / size, abs=4 * np.sqrt(0.25 * 0.75 / n))
    assert (rewards == -0.01 / size).all()  # a slip costs as much, and only the last row is noisy


def test_only_the_two_ends_of_the_last_row_are_noisy() -> None:
    n, size = 20_000, 3
    world = DeepSea(n, size=size, stochastic=True)
    world.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(size - 1):
        world.step(rng.integers(2, size=n))
    column, right = world.labels()["column"], rng.random(n) < 0.5
    _, rewards, terminated, _, _ = world.step(np.where(right, world.oracle(), 1 - world.oracle()))
    assert terminated.all()
    noise = rewards + right * (0.01 / size) - (right & (column == size - 1))
    np.testing.assert_allclose(noise[column == 1], 0, atol=1e-12)
    for end in (0, size - 1):
        drawn = noise[column == end]
        assert len(drawn) > 1000
        assert abs(drawn.mean()) < 4 / np.sqrt(len(drawn))
        assert drawn.std() == pytest.approx(1, abs=0.1)


def test_a_move_to_the_left_never_slips() -> None:
    world = DeepSea(2000, size=4, stochastic=True)
    world.reset(seed=0)
    for _ in range(2):
        world.step(world.oracle())
    there = world.labels()["column"]
    world.step(1 - world.oracle())
    np.testing.assert_array_equal(world.labels()["column"], np.maximum(there - 1, 0))


def test_the_one_copy_face_passes_gymnasiums_checks() -> None:
    env: Any = gym.make("envs:DeepSea-v0", size=5)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space.shape == (5, 5)
    env.reset(seed=0)
    done, total = False, 0.0
    while not done:
        _, reward, done, _, info = env.step(env.unwrapped.oracle())
        total += float(reward)
    assert total == pytest.approx(0.99)
    assert info["is_success"]


def test_vector_contract() -> None:
    env = gym.make_vec("DeepSea-v0", 3, vectorization_mode="vector_entry_point", size=2, emit_labels=True).unwrapped
    assert isinstance(env, DeepSea)
    assert env.metadata["autoreset_mode"] is gym.vector.AutoresetMode.SAME_STEP
    obs, infos = env.reset(seed=4)
    assert env.observation_space.contains(obs)
    assert infos == {}
    infos = env.step(env.action_space.sample())[4]
    assert "final_obs" not in infos
    obs, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
    assert env.observation_space.contains(obs)
    assert (obs[:, 0, 0] == 1).all()  # already the next episode
    assert infos["final_obs"].shape == obs.shape
    assert (infos["final_obs"] == 0).all()
    assert infos["_final_obs"].tolist() == infos["_episode"].tolist() == [True] * 3
    assert infos["labels"]["row"].tolist() == [2, 2, 2]
    assert env.labels()["row"].tolist() == [0, 0, 0]
    assert (rewards.shape, terminated.dtype, truncated.dtype) == ((3,), bool, bool)


def test_labels_are_the_true_state_and_fit_their_spaces() -> None:
    world = DeepSea(2, size=4)
    world.reset(seed=0)
    oracle = world.oracle()
    world.step(np.array([oracle[0], 1 - oracle[1]]))
    world.step(world.oracle())
    assert {k: v.tolist() for k, v in world.labels().items()} == {"row": [2, 2], "column": [2, 1], "on_path": [1, 0]}
    for name, values in world.labels().items():
        assert values.dtype == np.int64
        assert all(world.label_spaces[name].contains(v) for v in values)
    world.labels()["row"][:] = 99  # a copy: editing it changes nothing
    assert world.labels()["row"].tolist() == [2, 2]


def test_only_a_move_to_the_left_from_the_diagonal_leaves_the_path() -> None:
    world = DeepSea(2, size=4, stochastic=True)
    world.reset(seed=0)
    world.row[:], world.column[:] = 2, [2, 1]  # the second copy slipped once: it is not on the diagonal
    world.step(1 - world.oracle())
    assert world.labels()["on_path"].tolist() == [0, 1]


@pytest.mark.parametrize("stochastic", [False, True])
def test_state_dict_continues_identically(stochastic: bool) -> None:
    rng = np.random.default_rng(0)
    world, other = (DeepSea(5, size=6, stochastic=stochastic) for _ in range(2))
    world.reset(seed=1)
    other.reset(seed=2)
    for _ in range(8):
        world.step(rng.integers(2, size=5))
    saved = {name: value.copy() for name, value in world.state_dict().items()}
    other.load_state_dict(world.state_dict())
    world.reseed(7)
    other.reseed(7)

    def future(w: DeepSea) -> list[Any]:
        actions, out = np.random.default_rng(3), []
        for _ in range(20):
            obs, rewards, terminated, _, infos = w.step(actions.integers(2, size=5))
            out += [
                obs,
                rewards,
                terminated,
                infos.get("episode", {}).get("r", 0),
                infos.get("episode", {}).get("l", 0),
            ]
            out += list(w.labels().values())
        return out

    for a, b in zip(future(world), future(other), strict=True):
        np.testing.assert_array_equal(a, b)
    other.load_state_dict(saved)
    assert all((saved[name] == value).all() for name, value in other.state_dict().items())


@pytest.mark.parametrize("size", [1, 0, 501])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"2\.\.500"):
        DeepSea(1, size=size)


class Judge:
    """bsuite's account, one episode after the other: bad ones, and the first at which fewer than 90 % were bad.

    Stochastic: 80 %, and not before episode 100 (deep_sea_stochastic/analysis.py).
    """

    def __init__(self, stochastic: bool) -> None:
        self.share, self.least = (0.8, 100) if stochastic else (0.9, 0)
        self.episodes = self.bad = self.solved_after = 0

    def hear(self, wrong: bool) -> None:
        self.episodes += 1
        self.bad += wrong
        if self.bad / self.episodes < self.share and self.episodes >= self.least and not self.solved_after:
            self.solved_after = self.episodes


@pytest.mark.parametrize("stochastic", [False, True])
def test_the_score_is_bsuites(stochastic: bool) -> None:
    world, rng, judge = DeepSea(5, size=3, stochastic=stochastic), np.random.default_rng(0), Judge(stochastic)
    world.reset(seed=0)
    for t in range(300):
        knows = rng.random(5) < t / 300
        world.advance(np.where(knows, world.oracle(), rng.integers(2, size=5)))
        if t % 3 == 2:
            for one in world.on_path:
                judge.hear(not one)
            world._begin(np.arange(5))
        told = world.exploration()
        assert [told[name] for name in ("episodes", "bad_episodes", "solved_after")] == [
            judge.episodes,
            judge.bad,
            judge.solved_after,
        ]
    assert judge.solved_after > (99 if stochastic else 5)


def test_whoever_finds_nothing_is_never_called_solved() -> None:
    world, other = DeepSea(2, size=10), DeepSea(2, size=10)
    world.reset(seed=0)
    for _ in range(100):
        world.step(1 - world.oracle())
    assert world.exploration() | {"bad_episodes": 20, "solved_after": 0, "episodes": 20} == world.exploration()
    other.load_state_dict(world.state_dict())
    assert other.exploration() == world.exploration()
    world.reset()
    assert world.exploration()["episodes"] == 0


@pytest.mark.parametrize("size", range(10, 51, 10))
def test_the_best_return_of_both_forms(size: int) -> None:
    assert DeepSea(1, size=size).best_return == 0.99
    n = 4000
    world = DeepSea(n, size=size, stochastic=True)
    world.reset(seed=size)
    for _ in range(size):
        *_, infos = world.step(world.oracle())
    returns = infos["episode"]["r"]
    assert returns.mean() == pytest.approx(world.best_return, abs=4 * returns.std() / np.sqrt(n))
