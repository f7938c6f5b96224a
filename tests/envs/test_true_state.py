"""The true state as the observation: equal to the labels at every step, at an episode's end the state it ended in."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from envs import vector
from envs.batched import BatchedWorld

SMALL: dict[str, Any] = {"levels": 20, "eval_levels": 5}


class Lamp(gym.Env):
    """Ends after four steps; a number and two classes are its labels."""

    observation_space, action_space = spaces.Box(0, 0, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        return np.zeros(1, np.float32), 0.0, self.time == 4, False, {}

    def labels(self) -> dict[str, Any]:
        return {"time": np.float32(self.time), "digits": np.array([self.time % 2, self.time // 2])}


@pytest.mark.parametrize(
    "env_id", ["DeepSea-v0", "MiniGrid-DoorKey-5x5-v0", "SparseMountainCar-v0", "NoisyTV-MultiRoom-N6-v0"]
)
def test_a_world_of_ours_shows_its_labels(env_id: str) -> None:
    shown, twin = (vector.make(env_id, 3, true_state=flag, emit_labels=not flag, **SMALL) for flag in (True, False))
    assert isinstance(twin, BatchedWorld)
    obs, _ = vector.reset(shown, 3), vector.reset(twin, 3)
    rng, ends = np.random.default_rng(0), 0
    for _ in range(400):
        equal(obs, twin.labels(), shown.observation_space)
        actions = rng.integers(3 if "Car" in env_id else 2, size=3)
        obs, rewards, *_, infos = shown.step(actions)
        _, theirs, *_, twins = twin.step(actions)
        assert rewards.tolist() == theirs.tolist()
        if "final_obs" in infos:
            ends += 1
            equal(infos["final_obs"], twins["labels"], shown.observation_space)
    assert ends or "Car" in env_id
    assert "labels" not in infos  # it is told nothing beside what it sees


def equal(obs: Any, labels: dict[str, np.ndarray], space: spaces.Space) -> None:
    assert space.contains(obs)
    assert obs.keys() == labels.keys()
    assert all(np.array_equal(obs[name], labels[name].reshape(obs[name].shape)) for name in labels)


def test_a_foreign_environment_shows_its_labels_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        gym.registry, "Lamp-v0", gym.envs.registration.EnvSpec("Lamp-v0", entry_point=lambda **_: Lamp())
    )
    env = vector.make("Lamp-v0", 2, true_state=True)
    obs, times = vector.reset(env, 0), []
    for _ in range(6):
        assert env.observation_space.contains(obs)
        times.append(obs["time"][:, 0].tolist())
        obs, _, _, _, infos = env.step(np.zeros(2, int))
        if "final_obs" in infos:
            assert infos["final_obs"][0]["time"] == 4
            assert infos["final_obs"][0]["digits"].tolist() == [0, 2]
    assert times == [[float(t)] * 2 for t in (0, 1, 2, 3, 0, 1)]


def test_a_world_without_labels_cannot_be_revealed() -> None:
    class Bare(BatchedWorld):
        def _begin(self, copies: np.ndarray) -> None: ...
        def _advance(self, actions: np.ndarray) -> Any: ...
        def _observe(self) -> np.ndarray: ...  # type: ignore[empty-body]

    with pytest.raises(ValueError, match="Bare has no labels"):
        Bare(1, spaces.Box(0, 1, (1,)), spaces.Discrete(2)).reveal()
