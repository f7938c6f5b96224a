"""DeepSea: a chain that only a patient explorer solves (the `deep_sea` experiment of bsuite)."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.batched import BatchedWorld, Observation, SingleCopy

IDS = ("DeepSea-v0",)
SOLVED = {False: (0.9, 1), True: (0.8, 100)}  # stochastic: a lesser share is bad, after so many episodes at least


class DeepSea(BatchedWorld):
    """
    ## Description
    A submarine falls through a grid of `size` x `size` cells, one row a step, and drifts one column left or right. A
    treasure lies at the bottom of the last column: only `size` moves to the right in a row reach it, each of which
    costs a little, so that a learner without exploration turns left for ever. An agent that acts uniformly finds the
    treasure in one of 2^size episodes. Which of the two actions means "right" is drawn anew for every cell from
    `mapping_seed`. Osband et al. 2020, "Behaviour Suite for Reinforcement Learning".

    ## Action Space
    `Discrete(2)`; the meaning of an action depends on the cell.

    ## Observation Space
    `Box(0, 1, (size, size), float32)`: one at the submarine's cell; all zero in the state after the last row.

    ## Rewards
    -0.01 / size for each move to the right, +1 for moving right in the last column: 0.99 is the best return.
    With `stochastic=True` a move to the right succeeds with probability 1 - 1/size, and the two ends of the last row
    add N(0, 1) to the reward.

    ## Termination
    After `size` steps (`terminated`); never truncated.

    ## Labels
    `row`, `column` (classes) of the present cell; `on_path`: 1 while no move to the left was made from the diagonal.

    ## Cells
    Row and column; the state after the last row is a row of its own. size * (size + 1) / 2 + size are within reach.

    ## Oracle
    The action that means "right" in the present cell. It earns `best_return` on average: 0.99, and with
    `stochastic=True` (1 - 1/size)^(size - 1) - 0.01.

    ## Score
    bsuite calls an episode bad in which the submarine turned left on the diagonal, and a run solved at the first
    episode at which fewer than 90 % of all were bad; with `stochastic=True` at the first from 100 on at which fewer
    than 80 % were, as one that slips off the diagonal is not bad. It scores the share of the sizes 10, 12, ..., 50
    that are solved before episode 2^size + 100, within 10,000 episodes. `exploration()` counts `episodes` since `reset`
    (those that end in the same step in the order of the copies), `bad_episodes`, and `solved_after` episodes (0: not
    yet).

    Args:
        num_envs: number of copies.
        size: side of the grid, 2 to 500.
        stochastic: bsuite's `deep_sea_stochastic`.
        mapping_seed: seed of the action map (bsuite: 42).
        emit_labels: see `BatchedWorld`.
    """

    has_oracle = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        size: int = 10,
        stochastic: bool = False,
        mapping_seed: int = 42,
        emit_labels: bool = False,
    ) -> None:
        if not 2 <= size <= 500:
            raise ValueError(f"DeepSea's size must lie in 2..500, got {size}")
        self.size, self.stochastic = size, stochastic
        self.cell_shape, self.has_one_level = (size + 1, size), True
        # RandomState and binomial are bsuite's own generator, so that the action map is the published one.
        self.best_return = ((1 - 1 / size) ** (size - 1) if stochastic else 1.0) - 0.01
        self.right_action = np.random.RandomState(mapping_seed).binomial(1, 0.5, (size, size))
        self.label_spaces = {
            "row": spaces.Discrete(size + 1),
            "column": spaces.Discrete(size),
            "on_path": spaces.Discrete(2),
        }
        self.row, self.column = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self.on_path, self.found = np.ones(num_envs, bool), np.zeros(num_envs, bool)
        self.score = np.zeros(3, np.int64)  # episodes, bad ones, solved after
        space = spaces.Box(0.0, 1.0, (size, size), np.float32)
        super().__init__(num_envs, space, spaces.Discrete(2), emit_labels=emit_labels)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        self.score[:] = 0
        return super().reset(seed=seed, options=options)

    def _begin(self, copies: np.ndarray) -> None:
        self.row[copies], self.column[copies], self.on_path[copies] = 0, 0, True

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        right = actions == self.oracle()
        last = self.size - 1
        self.found = right & (self.column == last)
        rewards = self.found - right * (0.01 / self.size)
        if self.stochastic:
            ends = (self.row == last) & ((self.column == 0) | (self.column == last))
            rewards = rewards + ends * self.np_random.standard_normal(self.num_envs)
        self.on_path &= right | (self.row != self.column)
        moves = right & (self.np_random.random(self.num_envs) > 1 / self.size) if self.stochastic else right
        self.column = np.clip(self.column + np.where(right, moves, -1), 0, last)
        self.row += 1
        ended = self.row == self.size
        if ended.any():
            self._judge(~self.on_path[ended])
        return rewards, ended, np.zeros(self.num_envs, bool)

    def _judge(self, bad: np.ndarray) -> None:
        """Count episodes that end now, in turn; `bad` [episodes] bool."""
        episodes, bads = self.score[0] + np.arange(1, len(bad) + 1), self.score[1] + bad.cumsum()
        share, least = SOLVED[self.stochastic]
        solved = episodes[(bads < share * episodes) & (episodes >= least)]
        if self.score[2] == 0 and len(solved):
            self.score[2] = solved[0]
        self.score[:2] = episodes[-1], bads[-1]

    def _observe(self) -> np.ndarray:
        view = np.zeros((self.num_envs, self.size, self.size), np.float32)
        (copies,) = np.nonzero(self.row < self.size)
        view[copies, self.row[copies], self.column[copies]] = 1.0
        return view

    def is_success(self) -> np.ndarray:
        return self.found

    def labels(self) -> dict[str, np.ndarray]:
        return {"row": self.row.copy(), "column": self.column.copy(), "on_path": self.on_path.astype(np.int64)}

    def oracle(self) -> np.ndarray:
        return self.right_action[np.minimum(self.row, self.size - 1), self.column]

    def cells(self) -> np.ndarray:
        return self.row * self.size + self.column

    def reachable(self) -> np.ndarray:
        return np.full(self.num_envs, self.size * (self.size + 1) // 2 + self.size)

    def exploration(self) -> dict[str, float]:
        """As every world, and bsuite's `episodes`, `bad_episodes` and `solved_after`."""
        counted = zip(("episodes", "bad_episodes", "solved_after"), self.score.tolist(), strict=True)
        return super().exploration() | dict(counted)

    def state_dict(self) -> dict[str, np.ndarray]:
        own = {"row": self.row, "column": self.column, "on_path": self.on_path, "score": self.score}
        return super().state_dict() | {name: value.copy() for name, value in own.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        super().load_state_dict(state)
        self.row[:], self.column[:], self.on_path[:] = state["row"], state["column"], state["on_path"]
        self.score[:] = state["score"]


def make_single(**kwargs: Any) -> SingleCopy:
    """The one-copy environment (Gymnasium's entry point)."""
    return SingleCopy(DeepSea(1, **kwargs))
