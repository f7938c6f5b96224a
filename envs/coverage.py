"""Coverage: which of the true states that can be reached were visited, per episode and over all of them.

A world divides its true states into cells. An episode's coverage is the number of different cells it visited (its
first state included) divided by the number that can be reached. Over all episodes, with n(s) visits of cell s,

    H = -sum_s p(s) log p(s) / log S,   p(s) = n(s) / sum n

is the entropy of the visits: 1 where all S cells are visited equally often, 0 where it is always the same one.
"""

from __future__ import annotations

import math

import numpy as np

from envs.compiled import njit

BITS = 64  # of a word


@njit(cache=True, inline="always")
def visit(seen, visits, n, cell):  # type: ignore[no-untyped-def]
    """Count that copy n is in `cell`. A row of `seen` [N, 1 + words] is the number of different cells of the running
    episode, then one bit for each cell; `visits` [cells] counts the stays of all copies and episodes."""
    word, bit = 1 + (cell >> 6), np.int64(1) << (cell & 63)
    before = seen[n, word]
    seen[n, word] = before | bit
    seen[n, 0] += 1 - ((before >> (cell & 63)) & 1)
    visits[cell] += 1


@njit(cache=True)
def visit_all(seen, visits, copies, cells):  # type: ignore[no-untyped-def]
    """The k-th of `copies` is in `cells[k]`."""
    for k in range(len(copies)):
        visit(seen, visits, copies[k], cells[k])


class Coverage:
    """Cells visited: `seen` [N, 1 + words] int64 of the running episodes, see `visit`; `visits` [cells] int64 of all.

    Args:
        num_envs: number of copies N.
        n_cells: number of cells.
    """

    def __init__(self, num_envs: int, n_cells: int) -> None:
        self.seen = np.zeros((num_envs, 1 - (-n_cells // BITS)), np.int64)
        self.visits = np.zeros(n_cells, np.int64)
        self._everyone = np.arange(num_envs)

    def clear(self) -> None:
        """Nothing was visited ever."""
        self.seen[:], self.visits[:] = 0, 0

    def begin(self, copies: np.ndarray, cells: np.ndarray) -> None:
        """New episodes in `copies`, which are in `cells` (as many)."""
        self.seen[copies] = 0
        visit_all(self.seen, self.visits, copies, cells)

    def visit(self, cells: np.ndarray) -> None:
        """Every copy has come to its cell [N]."""
        visit_all(self.seen, self.visits, self._everyone, cells)

    def share(self, reachable: np.ndarray) -> np.ndarray:
        """[N] float64: cells visited by each running episode, over those that it could reach."""
        return self.seen[:, 0] / reachable

    def has_seen(self, cells: np.ndarray) -> np.ndarray:
        """[N, len(cells)] bool: which of the cells each running episode visited."""
        return (self.seen[:, 1 + cells // BITS] >> (cells % BITS)) & 1 == 1

    def distinct(self) -> int:
        """Number of different cells visited in all episodes."""
        return int(np.count_nonzero(self.visits))

    def entropy(self, cells: int) -> float:
        """Entropy of the visits of all episodes, in units of that of `cells` equally likely cells."""
        p = self.visits[self.visits > 0] / max(self.visits.sum(), 1)
        return float(-(p * np.log(p)).sum() / math.log(cells)) + 0.0 if cells > 1 else 0.0

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"cells_seen": self.seen.copy(), "cell_visits": self.visits.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """ValueError if it belongs to another number of copies or cells: compiled code trusts these shapes."""
        mine = self.state_dict()
        for name, array in mine.items():
            if state[name].shape != array.shape:
                raise ValueError(f"{name} has shape {state[name].shape}, this world needs {array.shape}")
        self.seen[:], self.visits[:] = state["cells_seen"], state["cell_visits"]
