"""A world simulated N copies at a time: its physics is written once, on arrays.

A subclass is a Gymnasium `VectorEnv` in SAME_STEP autoreset; `SingleCopy` is its ordinary one-copy
`gymnasium.Env`. Axes: `N` copies. Ground truth (`labels`, `oracle`, `cells`) stands beside the observation, never in
it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.coverage import Coverage

Observation = Any  # an array [N, ...], or a dict of such arrays


class BatchedWorld(VectorEnv):
    """The contract of a world of ours.

    A subclass calls `super().__init__` with its single-copy spaces and then implements `_begin`, `_advance` and
    `_observe`; where it can, also `is_success`, `labels` (+ `label_spaces`), `oracle`, `state_dict`, `load_state_dict`,
    and, for its coverage to be measured, `cells` and `reachable` with `cell_shape` (set before `super().__init__`).

    Args:
        num_envs: number of copies N, at least 1.
        observation_space: space of one copy.
        action_space: space of one copy.
        emit_labels: put `labels()` of the state just reached (before an automatic reset) into `infos["labels"]`.

    With the attribute `emit_state` set, `infos["labels"]` is `{"state": state_key()}` instead: all that a count of true
    states needs, for less.
    """

    label_spaces: dict[str, spaces.Space] = {}  # name -> Discrete or MultiDiscrete (classes), or Box (numbers)
    has_oracle: bool = False
    levels_note: str | None = None  # e.g. "held-out (512)": which levels this world draws from
    cell_shape: tuple[int, int] | None = None  # rows, columns of the map of all cells; None: coverage is not measured
    emit_state: bool = False  # see above; only where `state_key` knows one
    has_one_level: bool = False  # every episode has the same cells within reach
    revealed: bool = False  # see `reveal`

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
        self.coverage = Coverage(num_envs, self.n_cells) if self.cell_shape else None

    @property
    def n_cells(self) -> int:
        """Number of cells; 0 where coverage is not measured."""
        return math.prod(self.cell_shape) if self.cell_shape else 0

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

    def state_key(self) -> np.ndarray | None:
        """[N] int64: a hash of the present true state but for the time, equal for equal states; None where the world
        has no more to say than `labels`."""
        return None

    def oracle(self) -> np.ndarray:
        """[N] the action that a perfect supervisor would label now."""
        raise NotImplementedError(f"{type(self).__name__} has no oracle")

    def cells(self) -> np.ndarray:
        """[N] int64: the cell of the present true state, row * columns + column in a map of `cell_shape`."""
        raise NotImplementedError(f"{type(self).__name__} has a `cell_shape` and no `cells`")

    def reachable(self) -> np.ndarray:
        """[N] int64: how many cells an episode can reach in the present level, its first one included."""
        raise NotImplementedError(f"{type(self).__name__} has a `cell_shape` and no `reachable`")

    def exploration(self) -> dict[str, float]:
        """Of all steps since `reset`: `entropy` of the visits in [0, 1], in units of that of equally many visits of
        every cell (where all episodes have one level: of every cell within reach); there also `coverage`, the share of
        the cells within reach that were visited. Nothing where the world has no cells."""
        if self.coverage is None:
            return {}
        if not self.has_one_level:
            return {"entropy": self.coverage.entropy(self.n_cells)}
        reachable = int(self.reachable()[0])
        return {"entropy": self.coverage.entropy(reachable), "coverage": self.coverage.distinct() / reachable}

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that decides the future but the random generator (which a boundary re-seeds), and what was visited."""
        sums = {"episode_returns": self.episode_returns.copy(), "episode_lengths": self.episode_lengths.copy()}
        return sums if self.coverage is None else sums | self.coverage.state_dict()

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        if self.coverage is not None:
            self.coverage.load_state_dict(state)
        self.episode_returns[:] = state["episode_returns"]
        self.episode_lengths[:] = state["episode_lengths"]

    def _visit(self) -> None:
        """Count the state that every copy has come to."""
        if self.coverage is not None:
            self.coverage.visit(self.cells())

    def _enter(self, copies: np.ndarray) -> None:
        """Count the first state of new episodes in `copies`."""
        if self.coverage is not None:
            self.coverage.begin(copies, self.cells()[copies])

    def _sums(self) -> dict[str, np.ndarray]:
        """Of the running episodes, each [N]: return `r`, length `l`, and share of cells visited, `coverage`."""
        sums = {"r": self.episode_returns.copy(), "l": self.episode_lengths.copy()}
        return sums if self.coverage is None else sums | {"coverage": self.coverage.share(self.reachable())}

    def reveal(self) -> None:
        """From now on the observation is the ground truth, `labels()`, and no longer the view: a privilege.

        A label that is one number becomes a vector of one. Raises ValueError where the world has no labels.
        """
        if not self.label_spaces:
            raise ValueError(f"{type(self).__name__} has no labels that could be seen")
        seen = {name: _vector(space) for name, space in self.label_spaces.items()}
        self.single_observation_space = spaces.Dict(seen)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._observe = self._labels_seen  # type: ignore[method-assign]
        self.revealed = True

    def _labels_seen(self) -> Observation:
        numbers = [
            name for name, space in self.label_spaces.items() if isinstance(space, spaces.Box) and not space.shape
        ]
        labels = self.labels()
        return labels | {name: labels[name][:, None] for name in numbers}

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
        if self.coverage is not None:
            self.coverage.clear()
        return self.begin(), {}

    def begin(self) -> Observation:
        """A new episode in every copy; what is counted since `reset` goes on."""
        self.episode_returns[:], self.episode_lengths[:] = 0.0, 0
        everyone = np.arange(self.num_envs)
        self._begin(everyone)
        self._enter(everyone)
        return self._observe()

    def advance(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """`step` without the automatic reset: (obs, rewards, terminated, truncated, infos) of the state reached."""
        rewards, terminated, truncated = self._advance(np.asarray(actions))
        self._visit()
        self.episode_returns += rewards
        self.episode_lengths += 1
        infos: dict[str, Any] = {}
        success = self.is_success()
        if success is not None:
            infos["is_success"] = success
        if self.emit_state:
            infos["labels"] = {"state": self.state_key()}
        elif self.emit_labels:
            infos["labels"] = self.labels()
        return self._observe(), rewards, terminated, truncated, infos

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every copy; copies that ended begin anew at once, their last view is in `infos["final_obs"]`.

        Returns obs [N, ...], rewards [N], terminated [N], truncated [N], infos with `is_success` [N], `labels`
        (of the state before a reset) and, where an episode ended, `final_obs`, `episode` {"r", "l"} (and "coverage",
        the share of the cells within reach that the episode visited, in a world with cells) and their masks.
        """
        obs, rewards, terminated, truncated, infos = self.advance(actions)
        done = terminated | truncated
        if done.any():
            infos |= {"final_obs": obs, "_final_obs": done, "_episode": done}
            infos["episode"] = self._sums()
            self.episode_returns[done], self.episode_lengths[done] = 0.0, 0
            ended = np.flatnonzero(done)
            self._begin(ended)
            self._enter(ended)
            obs = self._observe()
        return obs, rewards, terminated, truncated, infos


def _vector(space: spaces.Space) -> spaces.Space:
    """Of one number a vector of one; else the space itself."""
    if not isinstance(space, spaces.Box) or space.shape:
        return space
    return spaces.Box(space.low[None], space.high[None], dtype=space.dtype)


class SingleCopy(gym.Env):
    """The one-copy face of a `BatchedWorld`: an ordinary `gymnasium.Env` (no automatic reset).

    A `reset` without a seed is the end of an episode, as an automatic one would be: the next level of the evaluation's
    comes, and what the world counts goes on.
    """

    metadata = {"render_modes": []}

    def __init__(self, world: BatchedWorld) -> None:
        if world.num_envs != 1:
            raise ValueError(f"a single copy needs num_envs=1, got {world.num_envs}")
        self.world, self.begun = world, False
        self.observation_space, self.action_space = world.single_observation_space, world.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        super().reset(seed=seed)
        if seed is None and self.world._np_random is None:
            self.world.reseed(int(self.np_random.integers(2**63)))
        again, self.begun = self.begun and seed is None, True
        obs = self.world.begin() if again else self.world.reset(seed=seed)[0]
        return self._first(obs), {}

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
