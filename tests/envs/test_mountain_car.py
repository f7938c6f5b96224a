"""Sparse MountainCar: Gymnasium's own steps, bit for bit; a reward at the goal only; cells, oracle, saving, faces."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import vector
from envs.mountain_car import IDS, MountainCar, cells_of, reachable_cells

GYMNASIUM = {"SparseMountainCar-v0": "MountainCar-v0", "SparseMountainCarContinuous-v0": "MountainCarContinuous-v0"}


def make(env_id: str, n: int, **kwargs: Any) -> Any:
    return vector.make(env_id, n, emit_labels=True, **kwargs)


def draw(world: Any, rng: np.random.Generator) -> np.ndarray:
    """Actions that swing: mostly the oracle's, else random ones, also beyond the bounds of the continuous form."""
    n = world.num_envs
    if not world.continuous:
        return np.where(rng.random(n) < 0.6, world.oracle(), rng.integers(0, 3, n))
    noise = rng.choice([-2.0, -1.0, 0.0, 1.0, 1.5], (n, 1)) * np.where(rng.random((n, 1)) < 0.5, 1, rng.random((n, 1)))
    return np.where(rng.random((n, 1)) < 0.6, world.oracle() * rng.random((n, 1)), noise).astype(np.float32)


@pytest.mark.parametrize("env_id", IDS)
def test_every_step_is_gymnasiums(env_id: str) -> None:
    world, rng = make(env_id, 8), np.random.default_rng(0)
    copies: list[Any] = [gym.make(GYMNASIUM[env_id]) for _ in range(8)]
    obs, _ = world.reset(seed=0)

    def follow(n: int) -> None:
        copies[n].reset(seed=0)
        start = (world.position[n], world.velocity[n])
        copies[n].unwrapped.state = np.array(start) if world.continuous else start

    for n in range(8):
        follow(n)
    ends = []
    for _ in range(2500):
        actions = draw(world, rng)
        obs, rewards, terminated, truncated, infos = world.step(actions)
        reached = infos.get("final_obs", obs)
        for n in range(8):
            theirs, _, done, cut, _ = copies[n].step(actions[n])
            np.testing.assert_array_equal(reached[n], theirs)
            assert (terminated[n], truncated[n]) == (done, cut)
            assert rewards[n] == float(done)
            if done or cut:
                ends.append(done)
                follow(n)
    assert True in ends
    assert env_id == "SparseMountainCarContinuous-v0" or False in ends


@pytest.mark.parametrize("env_id", IDS)
def test_walls_and_fastest_are_met(env_id: str) -> None:
    """The rare branches, from states set by hand."""
    states = [(-1.2, -0.07), (-1.19, -0.07), (-1.2, 0.0), (0.44, 0.07), (0.499, -0.001), (0.59, 0.07), (-0.5, 0.07)]
    for position, velocity in np.array(states, np.float32).astype(np.float64).tolist():
        for push in (-1, 0, 1):
            world, env = make(env_id, 1), gym.make(GYMNASIUM[env_id]).unwrapped
            world.reset(seed=0)
            env.reset(seed=0)
            world.position[:], world.velocity[:], world.episode_lengths[:] = position, velocity, 3
            state: Any = (position, velocity)
            env.state = np.array(state, np.float32) if world.continuous else state  # type: ignore[attr-defined]
            action: Any = np.array([push], np.float32) if world.continuous else push + 1
            ours, theirs = world.advance(np.array([action])), env.step(action)
            np.testing.assert_array_equal(ours[0][0], theirs[0])
            assert ours[2][0] == theirs[2]


@pytest.mark.parametrize(("env_id", "limit"), [("SparseMountainCar-v0", 200), ("SparseMountainCarContinuous-v0", 999)])
def test_time_limit_and_no_other_reward(env_id: str, limit: int) -> None:
    world = make(env_id, 2)
    world.reset(seed=0)
    idle = np.zeros((2, 1), np.float32) if world.continuous else np.ones(2, int)
    for t in range(1, limit + 1):
        _, rewards, terminated, truncated, infos = world.step(idle)
        assert not rewards.any() and not terminated.any() and truncated.all() == (t == limit)
    assert infos["episode"]["l"].tolist() == [limit] * 2
    assert not infos["is_success"].any()


@pytest.mark.parametrize("env_id", IDS)
def test_the_oracle_succeeds_from_everywhere(env_id: str) -> None:
    world = make(env_id, 4001)
    world.reset(seed=0)
    world.position[:] = np.linspace(-0.6, -0.4, 4001)
    arrived, longest = np.zeros(4001, bool), 0
    for t in range(200):
        success = world.advance(world.oracle())[4]["is_success"]
        longest = t + 1 if (success & ~arrived).any() else longest
        arrived |= success
    assert arrived.all()
    assert longest < 200


@pytest.mark.parametrize("continuous", [False, True])
def test_no_visited_cell_lies_outside_the_counted_ones(continuous: bool) -> None:
    world = MountainCar(256, continuous=continuous)
    world.reset(seed=0)
    rng = np.random.default_rng(0)
    push = rng.integers(0, 3, 256)
    for _ in range(3000):
        push = np.where(rng.random(256) < rng.random(256) ** 3, rng.integers(0, 3, 256), push)
        swing = np.where(np.arange(256) < 128, push, np.where(rng.random(256) < 0.9, 1 + np.sign(world.velocity), push))
        world.step((swing - 1)[:, None].astype(np.float32) if continuous else swing.astype(int))
    assert world.coverage is not None
    assert 0.8 * world.reachable()[0] < world.coverage.distinct() <= world.reachable()[0]


@pytest.mark.parametrize("continuous", [False, True])
def test_the_search_has_converged(continuous: bool) -> None:
    assert reachable_cells(continuous, 200) == reachable_cells(continuous, 200, 100)
    assert reachable_cells(continuous, 200, 8) < reachable_cells(continuous, 200) < 400
    assert reachable_cells(continuous, 1) < reachable_cells(continuous, 50) < reachable_cells(continuous, 200)


def test_cells_by_hand() -> None:
    position, velocity = np.array([-1.2, 0.6, -0.3001, -0.2999]), np.array([-0.07, 0.07, -0.0001, 0.0001])
    assert cells_of(position, velocity).tolist() == [0, 399, 9 * 20 + 9, 10 * 20 + 10]
    assert cells_of(np.array([np.nan]), np.array([np.nan]))[0] in range(400)


@pytest.mark.parametrize("env_id", IDS)
def test_state_dict_continues_identically(env_id: str) -> None:
    world, other, rng = make(env_id, 4), make(env_id, 4), np.random.default_rng(1)
    world.reset(seed=1)
    other.reset(seed=2)
    for _ in range(77):
        world.step(draw(world, rng))
    other.load_state_dict(world.state_dict())
    world.reseed(3)
    other.reseed(3)
    for _ in range(1100):
        actions = draw(world, rng)
        for a, b in zip(world.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(a, b)
    for name, value in world.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


@pytest.mark.parametrize("env_id", IDS)
def test_labels_and_observations_fit_their_spaces(env_id: str) -> None:
    world, rng = make(env_id, 3), np.random.default_rng(0)
    obs, _ = world.reset(seed=0)
    for _ in range(300):
        assert world.observation_space.contains(obs)
        obs, *_, infos = world.step(draw(world, rng))
        for name, values in infos["labels"].items():
            assert all(world.label_spaces[name].contains(np.asarray(v)) for v in values)
    np.testing.assert_array_equal(world.labels()["position"], obs[:, 0])
    np.testing.assert_array_equal(world.labels()["velocity"], obs[:, 1])


@pytest.mark.parametrize("env_id", IDS)
def test_the_one_copy_face(env_id: str) -> None:
    env: Any = vector.single(f"envs:{env_id}")
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    for _ in range(200):
        action = env.unwrapped.oracle()
        assert env.action_space.contains(action if isinstance(action, np.ndarray) else int(action))
        *_, terminated, _, info = env.step(action)
        if terminated:
            break
    assert info["is_success"]
    assert vector.offers_oracle(env_id, env)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="max_steps"):
        MountainCar(1, max_steps=0)
    world = MountainCar(2)
    world.reset(seed=0)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        world.step(np.array([0, 3]))
