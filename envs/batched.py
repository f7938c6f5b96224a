"""A world simulated N copies at a time: its physics is written once, on arrays.

A subclass is a Gymnasium `VectorEnv` in SAME_STEP autoreset; `SingleCopy` is its ordinary one-copy
`gymnasium.Env`. Axes: `N` copies. Ground truth (`labels`, `oracle`) stands beside the observation, never in it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

Observation = Any  # an array [N, ...], or a dict of such arrays


class BatchedWorld(VectorEnv):
    """The contract of a world of ours.

    A subclass calls `super().__init__` with its single-copy spaces and then implements `_begin`, `_advance` and
    `_observe`; where it can, also `is_success`, `labels` (+ `label_spaces`), `oracle`, `state_dict`, `load_state_dict`.

    Args:
        num_envs: number of copies N, at least 1.
        observation_space: space of one copy.
        action_space: space of one copy.
        emit_labels: put `labels()` of the state just reached (before an automatic reset) into `infos["labels"]`.
    """

    label_spaces: dict[str, spaces.Space] = {}  # name -> Discrete or MultiDiscrete (classes), or Box (numbers)
    has_oracle: bool = False
    levels_note: str | None = None  # e.g. "held-out (512)": which levels this world draws from

    def __init__(
        self,
        num_envs: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        emit_labels: bool = False,
    ) -> None:
        super().__init__()
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # a copy: it is class-level
        self.emit_labels = emit_labels
        self.episode_returns = np.zeros(num_envs)
        self.episode_lengths = np.zeros(num_envs, np.int64)

    # ------------------------------------------------------------------ what a world writes

    @abstractmethod
    def _begin(self, copies: np.ndarray) -> None:
        """Start a new episode in `copies` (indices), drawing from `self.np_random` only."""

    @abstractmethod
    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Move every copy by one step: rewards [N] float64, terminated [N] bool, truncated [N] bool. No reset."""

    @abstractmethod
    def _observe(self) -> Observation:
        """What every copy sees now, as fresh arrays [N, ...]."""

    def is_success(self) -> np.ndarray | None:
        """[N] bool: did the step just taken reach the goal; None where the world knows no success."""
        return None

    def labels(self) -> dict[str, np.ndarray]:
        """Ground truth of the present state, name -> [N, ...] (int64 for classes, float32 for numbers)."""
        return {}

    def oracle(self) -> np.ndarray:
        """[N] the action that a perfect supervisor would label now."""
        raise NotImplementedError(f"{type(self).__name__} has no oracle")

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that decides the future but the random generator (which a boundary re-seeds)."""
        return {"episode_returns": self.episode_returns.copy(), "episode_lengths": self.episode_lengths.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.episode_returns[:] = state["episode_returns"]
        self.episode_lengths[:] = state["episode_lengths"]

    # ------------------------------------------------------------------ Gymnasium's face

    def reseed(self, seed: int | np.random.SeedSequence) -> None:
        """A new random stream, without touching the episodes in progress."""
        self.np_random = np.random.Generator(np.random.PCG64(seed))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        """Begin an episode in every copy. One integer seeds the whole batch. Returns (obs [N, ...], {})."""
        if seed is not None and not isinstance(seed, (int, np.integer)):
            raise TypeError(f"seed must be one integer for the whole batch, got {type(seed).__name__}")
        if seed is not None:
            self.reseed(int(seed))
        self.episode_returns[:], self.episode_lengths[:] = 0.0, 0
        self._begin(np.arange(self.num_envs))
        return self._observe(), {}

    def advance(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """`step` without the automatic reset: (obs, rewards, terminated, truncated, infos) of the state reached."""
        rewards, terminated, truncated = self._advance(np.asarray(actions))
        self.episode_returns += rewards
        self.episode_lengths += 1
        infos: dict[str, Any] = {}
        success = self.is_success()
        if success is not None:
            infos["is_success"] = success
        if self.emit_labels:
            infos["labels"] = self.labels()
        return self._observe(), rewards, terminated, truncated, infos

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every copy; copies that ended begin anew at once, their last view is in `infos["final_obs"]`.

        Returns obs [N, ...], rewards [N], terminated [N], truncated [N], infos with `is_success` [N], `labels`
        (of the state before a reset) and, where an episode ended, `final_obs`, `episode` {"r", "l"} and their masks.
        """
        obs, rewards, terminated, truncated, infos = self.advance(actions)
        done = terminated | truncated
        if done.any():
            infos |= {"final_obs": obs, "_final_obs": done, "_episode": done}
            infos["episode"] = {"r": self.episode_returns.copy(), "l": self.episode_lengths.copy()}
            self.episode_returns[done], self.episode_lengths[done] = 0.0, 0
            self._begin(np.flatnonzero(done))
            obs = self._observe()
        return obs, rewards, terminated, truncated, infos


class SingleCopy(gym.Env):
    """The one-copy face of a `BatchedWorld`: an ordinary `gymnasium.Env` (no automatic reset)."""

    metadata = {"render_modes": []}

    def __init__(self, world: BatchedWorld) -> None:
        if world.num_envs != 1:
            raise ValueError(f"a single copy needs num_envs=1, got {world.num_envs}")
        self.world = world
        self.observation_space, self.action_space = world.single_observation_space, world.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        super().reset(seed=seed)
        if seed is None and self.world._np_random is None:
            self.world.reseed(int(self.np_random.integers(2**63)))
        obs, infos = self.world.reset(seed=seed)
        return self._first(obs), infos

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        obs, rewards, terminated, truncated, infos = self.world.advance(np.asarray([action]))
        info = {name: self._first(value) for name, value in infos.items()}
        return self._first(obs), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def labels(self) -> dict[str, Any]:
        return self._first(self.world.labels())

    def oracle(self) -> Any:
        return self.world.oracle()[0]

    @staticmethod
    def _first(batched: Any) -> Any:
        if isinstance(batched, dict):
            return {name: value[0] for name, value in batched.items()}
        return batched[0]
