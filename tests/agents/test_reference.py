"""Floor and ceiling: their contract, their seeds, and what they earn."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import agents.reference
from agents.reference import Reference
from agents.reference.oracle import Oracle
from agents.reference.random import Random
from envs import vector
from envs.deep_sea import DeepSea


def classes() -> dict[str, type[Reference]]:
    found: dict[str, type[Reference]] = {}
    for path in Path(agents.reference.__path__[0]).glob("[!_]*.py"):
        module = importlib.import_module(f"agents.reference.{path.stem}")
        own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
        (found[path.stem],) = [c for c in own if issubclass(c, Reference)]
    return found


@pytest.mark.parametrize("name", classes())
def test_every_reference_acts_within_its_space_and_keeps_its_state(name: str) -> None:
    world = DeepSea(6, size=4)
    obs = vector.reset(world, 0)
    policy = classes()[name](world.single_action_space, seed=1)
    policy.bind(world)
    for deterministic in (True, False):
        actions, state = policy.predict(obs, state="kept", episode_start=np.ones(6, bool), deterministic=deterministic)
        assert world.action_space.contains(np.asarray(actions))
        assert state == "kept"


def test_the_names_are_the_files() -> None:
    assert {"random", "oracle"} <= set(classes())


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Discrete(4), (400,)),
        (spaces.MultiDiscrete([2, 3]), (400, 2)),
        (spaces.Box(-1, 1, (2,), np.float32), (400, 2)),
    ],
)
def test_random_is_uniform_and_follows_its_own_seed(space: spaces.Space, shape: tuple[int, ...]) -> None:
    def draw(seed: int) -> np.ndarray:
        np.random.seed(0)  # noqa: NPY002 - the global generator decides nothing
        return Random(space, seed=seed).predict(np.zeros((400, 3)))[0]

    actions = draw(5)
    assert actions.shape == shape
    assert np.array_equal(actions, draw(5))
    assert not np.array_equal(actions, draw(6))
    middle = np.asarray(actions, float).mean(0)
    wanted: Any = {"Discrete": 1.5, "MultiDiscrete": [0.5, 1.0], "Box": [0.0, 0.0]}[type(space).__name__]
    np.testing.assert_allclose(middle, wanted, atol=0.2)


def test_random_counts_the_copies_of_a_dict_observation() -> None:
    assert Random(spaces.Discrete(2)).predict({"a": np.zeros((7, 2)), "k": np.zeros(7)})[0].shape == (7,)


def returns(policy: Reference, world: Any, episodes: int) -> np.ndarray:
    obs, out = vector.reset(world, 3), []
    policy.bind(world)
    for _ in range(episodes * world.size):
        obs, *_, infos = world.step(policy.predict(obs)[0])
        out += [infos["episode"]["r"]] if "episode" in infos else []
    return np.concatenate(out)


def test_the_oracle_earns_the_ceiling_and_random_the_floor() -> None:
    world = DeepSea(64, size=3)
    assert returns(Oracle(world.single_action_space), world, 2) == pytest.approx(np.full(128, 0.99))
    floor = returns(Random(world.single_action_space), world, 20)
    # one of 2^3 episodes finds the treasure, and half of the moves cost .01 / 3
    assert floor.mean() == pytest.approx(1 / 8 - 3 / 2 * 0.01 / 3, abs=4 * floor.std() / np.sqrt(len(floor)))


def test_the_oracle_reads_the_world_it_is_bound_to() -> None:
    first, second = DeepSea(1, size=4), DeepSea(1, size=4, mapping_seed=1)
    oracle = Oracle(first.single_action_space)
    for world in (first, second):
        world.reset(seed=0)
        oracle.bind(world)
        assert oracle.predict(np.zeros((1, 4, 4)))[0] == world.oracle()
