"""Which views of a rollout are the same: what is computed of a view need be computed once for all steps that saw it.

Half of a minibatch of MiniGrid views, and six in seven of a whole rollout's, repeat another one. A network's output on
a view is the same for every step that shows it, and so is what pulls a gradient back through the network: it runs on
different views only, its outputs are handed to their steps, and the steps' gradients are added before the backward
pass. Views are compared byte by byte. Continuous observations hardly ever repeat: each counts as different, unseen.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from agents.rollout import Obs, map_obs

WORD = 8  # bytes compared at a time
PORTION = 64  # rows of which a larger batch is a multiple: oneDNN compiles a kernel for every number of rows


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
def _among(ids: np.ndarray, place: np.ndarray, where: np.ndarray, views: np.ndarray) -> int:
    """Fill views [u]: the different ones of ids [M], and where [M]: which of them each is; returns u. `place` [U] is -1
    everywhere, before and after."""
    found = 0
    for m in range(len(ids)):
        view = ids[m]
        if place[view] < 0:
            place[view], views[found] = found, view
            found += 1
        where[m] = place[view]
    for k in range(found):
        place[views[k]] = -1
    return found


def _words(obs: Obs) -> np.ndarray | None:
    """The bytes of each observation [B, ...] as [B, W] uint64; None if a part is continuous or not on the CPU."""
    parts = list(obs.values()) if isinstance(obs, dict) else [obs]
    if any(part.is_floating_point() or part.device.type != "cpu" for part in parts):
        return None
    columns = [part.reshape(len(part), -1).contiguous().numpy().view(np.uint8) for part in parts]
    padding = np.zeros((len(columns[0]), -sum(column.shape[1] for column in columns) % WORD), np.uint8)
    return np.concatenate([*columns, padding], 1).view(np.uint64)


def _whole(count: int, most: int) -> int:
    """`count` filled up to whole portions, of which there are at most 16 sizes, but not beyond `most`."""
    portion = max(PORTION, most // 16) if most > 4 * PORTION else max(1, most // 16)
    return min(most, -(-count // portion) * portion)


class Distinct:
    """The different views of flat observations [B, ...].

    Attributes:
        obs: the views [U, ...], each once; some are repeated at the end, to fill the last portion.
        ids: [B] int64, which of them each observation is.
    """

    def __init__(self, obs: Obs) -> None:
        part = next(iter(obs.values())) if isinstance(obs, dict) else obs
        total, words = len(part), _words(obs)
        self.obs, self.ids = obs, torch.arange(total, device=part.device)
        if words is not None and total:
            slots, first = np.full(2 << total.bit_length(), -1), np.zeros(total, np.int64)
            count = _look_over(words, slots, self.ids.numpy(), first)
            first[count:] = 0
            chosen = torch.from_numpy(first[: _whole(count, total)])
            self.obs = map_obs(lambda x: x.index_select(0, chosen), obs)
            total = len(chosen)
        self._place = np.full(total, -1)

    def among(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(views, where): `views` [u] are the different ones of ids [M], filled up to whole portions with view 0, and
        views[where[m]] is ids[m]."""
        where = torch.arange(len(ids), device=ids.device)
        if ids.device.type != "cpu":
            return ids, where
        views = torch.zeros_like(ids)
        count = _among(ids.numpy(), self._place, where.numpy(), views.numpy())
        return views[: _whole(count, len(ids))], where
