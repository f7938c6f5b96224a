"""The fly's smell of novelty, compiled: a sparse random expansion, its most active cells, and a filter that fades.

y = M x, M in {0, 1}^(m x d) with `fan_in` ones a row;   tag = the k cells with the largest y
novelty = mean of w over the tag;   then w <- delta w in the tag, w <- min(1, w + epsilon) elsewhere

Source: Dasgupta, Stevens & Navlakha 2017, "A Neural Algorithm for a Fundamental Computing Problem" (the hash); Dasgupta
et al. 2018, "A Neural Data Structure for Novelty Detection" (the filter). Every row of M has the same sum, so a tag
does not change when a constant is added to x or x is multiplied by a positive number. Of equal sums the cell with the
smaller number wins.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from agents.faults import Unfit

FORGOTTEN = np.float32(1e-30)  # smaller weights are set to 0: numbers that fade for ever become slow


@njit(cache=True)
def _by_input(synapses: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells that read input j are cells[starts[j]:starts[j + 1]]."""
    starts = np.zeros(d + 1, np.int64)
    for j in synapses.ravel():
        starts[j + 1] += 1
    starts = np.cumsum(starts)
    cells, room = np.empty(synapses.size, np.int64), starts.copy()
    for c in range(synapses.shape[0]):
        for j in synapses[c]:
            cells[room[j]] = c
            room[j] += 1
    return starts, cells


@njit(cache=True)
def _tags(x: np.ndarray, starts: np.ndarray, cells: np.ndarray, m: int, tags: np.ndarray) -> None:
    """The k most active of m cells for each row of x [B, d], the most active first: tags [B, k]."""
    k = tags.shape[1]
    y, best = np.empty(m, np.float32), np.empty(k, np.float32)
    for b in range(x.shape[0]):
        y[:] = 0
        for j in range(x.shape[1]):
            if x[b, j] != 0:
                for s in range(starts[j], starts[j + 1]):
                    y[cells[s]] += x[b, j]
        best[:] = -np.inf
        for c in range(m):
            if y[c] > best[k - 1]:
                i = k - 1
                while i > 0 and y[c] > best[i - 1]:
                    best[i], tags[b, i] = best[i - 1], tags[b, i - 1]
                    i -= 1
                best[i], tags[b, i] = y[c], c


@njit(cache=True)
def _fade(weights: np.ndarray, tags: np.ndarray, delta: float, epsilon: float) -> None:
    """Write tags [B, k] in order."""
    decay, recovery = np.float32(delta), np.float32(epsilon)
    held = np.empty(tags.shape[1], np.float32)
    for b in range(tags.shape[0]):
        for i in range(tags.shape[1]):
            w = weights[tags[b, i]] * decay
            held[i] = w if w > FORGOTTEN else np.float32(0)
        if recovery > 0:
            for c in range(len(weights)):
                weights[c] = min(np.float32(1), weights[c] + recovery)
        for i in range(tags.shape[1]):
            weights[tags[b, i]] = held[i]


class FlyHash(nn.Module):
    """x [B, d] float32 -> tags [B, k] int64, the k most active cells.

    Args:
        d: inputs.
        cells: m, at least k.
        fan_in: different inputs that each cell sums; at most half of them, or all cells would be alike.
        active: k.

    Raises:
        ValueError: if there are fewer cells than are to be active.
    """

    synapses: Tensor

    def __init__(self, d: int, cells: int, fan_in: int, active: int) -> None:
        super().__init__()
        if cells < active:
            raise Unfit(f"{active} active cells are more than the {cells} there are")
        self.active = active
        inputs = torch.rand(cells, d).argsort(-1)[:, : max(1, min(fan_in, d // 2))]
        self.register_buffer("synapses", inputs.clone())

    def forward(self, x: Tensor) -> Tensor:
        synapses, tags = self.synapses.numpy(), torch.empty(len(x), self.active, dtype=torch.int64)
        starts, cells = _by_input(synapses, x.shape[1])
        _tags(x.contiguous().numpy(), starts, cells, len(synapses), tags.numpy())
        return tags


class FadingFilter(nn.Module):
    """How new tags are; delta = epsilon = 0 is a Bloom filter.

    Args:
        cells: m.
        delta: what an active cell keeps of its weight.
        epsilon: what every other cell gains, up to 1.
    """

    weights: Tensor

    def __init__(self, cells: int, delta: float, epsilon: float) -> None:
        super().__init__()
        self.delta, self.epsilon = delta, epsilon
        self.register_buffer("weights", torch.ones(cells))

    def novelty(self, tags: Tensor) -> Tensor:
        """tags [..., k] -> [...]: 1 what was never written, 0 what is known."""
        return self.weights[tags].mean(-1)

    def write(self, tags: Tensor) -> None:
        """Tags [B, k], in order."""
        _fade(self.weights.numpy(), tags.numpy(), self.delta, self.epsilon)
