"""Which views of a rollout are the same: what is computed of a view need be computed once for all who saw it.

Half of a minibatch of MiniGrid views, and six in seven of a whole rollout's, repeat another one. A network's output on
a view, and the gradient that is pulled back through it, are the same for every step that shows the view: so the network
runs on different views only, outputs are handed to their steps, and the steps' gradients are added before the backward
pass. Views are compared byte by byte. Continuous observations hardly ever repeat and are not looked over.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from agents.rollout import Obs

WORD = 8  # bytes compared at a time
PORTIONS = 16  # rows are filled up to a sixteenth of the minibatch: oneDNN compiles a kernel for each number of rows


@njit(cache=True)
def _look_over(words: np.ndarray, slots: np.ndarray, ids: np.ndarray, first: np.ndarray) -> int:
    """Fill ids [B]: which different view each row of words [B, W] uint64 is, and first [U]: where it was met first;
    returns U. `slots` is an empty (-1) table whose length is a power of 2 beyond B."""
    met, mask = 0, np.uint64(len(slots) - 1)
    for b in range(len(words)):
        key = np.uint64(0)
        for word in words[b]:
            key = (key ^ word) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(32)
        slot = key & mask
        while slots[slot] >= 0 and not np.array_equal(words[first[slots[slot]]], words[b]):
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] < 0:
            slots[slot], first[met] = met, b
            met += 1
        ids[b] = slots[slot]
    return met


@njit(cache=True)
def _among(ids: np.ndarray, index: np.ndarray, place: np.ndarray, where: np.ndarray, views: np.ndarray) -> int:
    """Fill views [u]: the different ones among ids[index], and where [M]: which of them each is; returns u. `place` [U]
    is -1 everywhere, before and after."""
    found = 0
    for m in range(len(index)):
        view = ids[index[m]]
        if place[view] < 0:
            place[view], views[found] = found, view
            found += 1
        where[m] = place[view]
    for k in range(found):
        place[views[k]] = -1
    return found


def _words(obs: Obs) -> np.ndarray | None:
    """The bytes of each observation [B, ...] as [B, W] uint64; None if a part is continuous."""
    parts = list(obs.values()) if isinstance(obs, dict) else [obs]
    if any(part.is_floating_point() for part in parts):
        return None
    columns = [part.reshape(len(part), -1).contiguous().numpy().view(np.uint8) for part in parts]
    width = sum(column.shape[1] for column in columns)
    padding = np.zeros((len(columns[0]), -width % WORD), np.uint8)
    return np.concatenate([*columns, padding], 1).view(np.uint64)


class Distinct:
    """The different views of flat observations [B, ...] on the CPU: `ids` [B] names each one's, `first` [U] says where
    each different view stands."""

    def __init__(self, obs: Obs) -> None:
        total = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        words = _words(obs)
        self.ids, first = np.arange(total), np.arange(total)
        if words is not None:
            slots = np.full(2 << total.bit_length(), -1)
            first = first[: _look_over(words, slots, self.ids, first)]
        self.first = torch.from_numpy(first)
        self._place = np.full(len(first), -1)

    def among(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(views, where): `views` [u] numbers the different views of the steps `index` [M], filled up to whole portions
        by view 0, and views[where[m]] is that of index[m]."""
        where, views = torch.empty_like(index), torch.zeros_like(index)
        count = _among(self.ids, index.numpy(), self._place, where.numpy(), views.numpy())
        portion = -(-len(index) // PORTIONS)
        return views[: min(-(-count // portion) * portion, len(index))], where
