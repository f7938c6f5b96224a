"""The batched world's contract, on the smallest world: resets in the same step, sums, labels, seeds, one-copy face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv

from envs.batched import BatchedWorld, SingleCopy


class Fuse(BatchedWorld):
    """Copy n burns for a number of steps drawn at its start, then goes out: terminated when odd, else truncated."""

    def __init__(self, num_envs: int = 3, **kwargs: Any) -> None:
        self.left, self.drawn = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self.label_spaces = {"left": spaces.Discrete(9)}
        super().__init__(
            num_envs, spaces.Dict({"left": spaces.Box(0, 9, (1,), np.float32)}), spaces.Discrete(3), **kwargs
        )

    def _begin(self, copies: np.ndarray) -> None:
        self.drawn[copies] = self.np_random.integers(2, 8, len(copies))
        self.left[copies] = self.drawn[copies]

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.left -= 1
        out, odd = self.left == 0, self.drawn % 2 == 1
        return actions.astype(np.float64), out & odd, out & ~odd

    def _observe(self) -> dict[str, np.ndarray]:
        return {"left": self.left[:, None].astype(np.float32)}

    def labels(self) -> dict[str, np.ndarray]:
        return {"left": self.left.copy()}

    def state_dict(self) -> dict[str, np.ndarray]:
        return super().state_dict() | {"left": self.left.copy(), "drawn": self.drawn.copy()}


def test_it_is_a_vector_environment_that_resets_in_the_same_step() -> None:
    env: Any = Fuse()
    other = Fuse(2)
    assert issubclass(Fuse, VectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.metadata is not other.metadata
    assert env.observation_space["left"].shape == (3, 1)
    assert env.action_space.shape == (3,)
    assert env.single_action_space == spaces.Discrete(3)


def test_an_end_and_the_next_beginning_are_one_step() -> None:
    env = Fuse(emit_labels=True)
    obs, infos = env.reset(seed=0)
    assert infos == {}
    ends, sums, steps = 0, np.zeros(3), np.zeros(3, int)
    for t in range(40):
        before = obs["left"][:, 0]
        actions = np.array([t % 3, 1, 2])
        obs, rewards, terminated, truncated, infos = env.step(actions)
        sums, steps = sums + actions, steps + 1
        done = before == 1
        assert (terminated | truncated).tolist() == done.tolist()
        assert not (terminated & truncated).any()
        assert rewards.tolist() == actions.tolist()
        assert infos["labels"]["left"].tolist() == (before - 1).tolist()  # of the state reached, not of the reset one
        assert ("final_obs" in infos) == ("episode" in infos) == bool(done.any())
        if done.any():
            ends += done.sum()
            assert infos["_final_obs"].tolist() == infos["_episode"].tolist() == done.tolist()
            assert (infos["final_obs"]["left"][done] == 0).all()
            assert (obs["left"][done] >= 2).all()
            assert infos["episode"]["r"][done].tolist() == sums[done].tolist()
            assert infos["episode"]["l"][done].tolist() == steps[done].tolist()
            sums[done], steps[done] = 0, 0
        assert obs["left"][~done, 0].tolist() == (before - 1)[~done].tolist()
    assert ends > 10


def test_advance_does_not_reset() -> None:
    env = Fuse()
    env.reset(seed=0)
    env.left[:] = 1
    obs, _, terminated, truncated, infos = env.advance(np.zeros(3, int))
    assert (terminated | truncated).all()
    assert (obs["left"] == 0).all()
    assert "final_obs" not in infos
    assert "labels" not in infos  # only where asked for


def test_equal_seeds_give_equal_worlds_and_others_do_not() -> None:
    def lengths(seed: int) -> list[float]:
        env = Fuse(20)
        return env.reset(seed=seed)[0]["left"][:, 0].tolist()

    assert lengths(1) == lengths(1)
    assert lengths(1) != lengths(2)


def test_reset_without_a_seed_goes_on_with_the_stream() -> None:
    env = Fuse(20)
    first = env.reset(seed=1)[0]["left"]
    assert not np.array_equal(first, env.reset()[0]["left"])
    assert np.array_equal(first, env.reset(seed=1)[0]["left"])


def test_reset_begins_the_sums_anew() -> None:
    env = Fuse()
    env.reset(seed=0)
    env.step(np.ones(3, int))
    env.reset()
    assert env.episode_returns.tolist() == env.episode_lengths.tolist() == [0, 0, 0]


def test_reseed_leaves_the_episodes_in_progress() -> None:
    env = Fuse()
    env.reset(seed=0)
    env.step(np.ones(3, int))
    left = env.labels()["left"]
    env.reseed(np.random.SeedSequence([1, 2]))
    assert env.labels()["left"].tolist() == left.tolist()
    assert env.episode_lengths.tolist() == [1, 1, 1]


def test_base_state_holds_copies_of_the_sums() -> None:
    env, other = Fuse(), Fuse()
    env.reset(seed=0)
    env.step(np.array([1, 2, 0]))
    state = env.state_dict()
    env.step(np.array([1, 2, 0]))
    assert state["episode_returns"].tolist() == [1, 2, 0]
    other.load_state_dict(state)
    assert other.episode_returns.tolist() == [1, 2, 0]
    assert other.episode_lengths.tolist() == [1, 1, 1]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Fuse(0)
    with pytest.raises(TypeError, match="one integer"):
        Fuse().reset(seed=[1, 2, 3])  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="Fuse has no oracle"):
        Fuse().oracle()
    with pytest.raises(ValueError, match="num_envs=1, got 2"):
        SingleCopy(Fuse(2))


def test_the_one_copy_face_is_an_ordinary_environment() -> None:
    env = SingleCopy(Fuse(1, emit_labels=True))
    check_env(env, skip_render_check=True)
    obs, _ = env.reset(seed=5)
    length = int(obs["left"][0])
    for t in range(1, length + 1):
        obs, reward, terminated, truncated, info = env.step(2)
        assert obs["left"].tolist() == [length - t]  # the last one is the end, not the next beginning
        assert type(reward) is float
        assert type(terminated) is type(truncated) is bool
        assert info["labels"]["left"] == env.labels()["left"] == length - t
    assert (terminated, truncated) == (length % 2 == 1, length % 2 == 0)


def test_the_one_copy_face_and_the_batch_of_one_see_the_same_world() -> None:
    env, batch = SingleCopy(Fuse(1)), Fuse(1)
    assert env.reset(seed=9)[0]["left"] == batch.reset(seed=9)[0]["left"][0]


def test_one_copy_without_a_seed_works_and_is_seeded_by_the_first_reset() -> None:
    assert SingleCopy(Fuse(1)).reset()[0]["left"][0] >= 2
    env, other = SingleCopy(Fuse(1)), SingleCopy(Fuse(1))
    env.reset(seed=3)
    other.reset(seed=3)
    assert [env.reset()[0]["left"][0] for _ in range(8)] == [other.reset()[0]["left"][0] for _ in range(8)]
