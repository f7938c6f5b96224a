"""How often was this view seen: exact counts by 64-bit hash, over the agent's life and within each episode.

h <- mix(h xor word) over the 8-byte words of every part of the observation

Source of `mix`: the SplitMix64 finaliser (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
generators"). With 64 bits, a million views collide with probability 3e-8. Python's `hash` is never used: it is salted
per process. Tables are open-addressed with linear probing and at most half full.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from agents.faults import Unfit
from agents.rollout import Obs, Rollout, map_obs

State = Literal["view", "full"]

_SEED = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S1, _S2, _S3 = np.uint64(30), np.uint64(27), np.uint64(31)
_LOW = (1 << 32) - 1  # an episodic entry holds (episode number << 32) + count


# ---------------------------------------------------------------------- hashing


@njit(cache=True)
def _fold(words: np.ndarray, hashes: np.ndarray) -> None:
    """Mix a row of words [B, W] into each of the hashes [B], in place."""
    for b in range(words.shape[0]):
        h = hashes[b]
        for w in range(words.shape[1]):
            h ^= words[b, w]
            h = (h ^ (h >> _S1)) * _M1
            h = (h ^ (h >> _S2)) * _M2
            h ^= h >> _S3
        hashes[b] = h


def _words(part: Tensor, axes: int, decimals: int) -> np.ndarray:
    """One part of an observation [*lead, *shape] as rows of 8-byte words [B, W]; floats become whole 10^-decimals."""
    part = part.detach().cpu()
    array = part.double().numpy() if part.is_floating_point() else part.numpy()
    if array.dtype == np.float64:
        array = np.rint(array * 10.0**decimals).clip(-(2.0**62), 2.0**62).astype(np.int64)
    rows = np.ascontiguousarray(array).reshape(math.prod(part.shape[:axes]), math.prod(part.shape[axes:]))
    raw = rows.view(np.uint8)
    if raw.shape[1] % 8:
        padded = np.zeros((len(raw), raw.shape[1] + -raw.shape[1] % 8), np.uint8)
        padded[:, : raw.shape[1]] = raw
        raw = padded
    return raw.view(np.uint64)


def view_keys(obs: Obs, decimals: int, axes: int = 2) -> np.ndarray:
    """The views' 64-bit keys, int64, never 0, of the shape of the first `axes` axes of `obs` ([T, N] of a rollout).

    All parts of a dict observation are hashed; floats are first rounded to `decimals`.
    """
    parts = [obs[name] for name in sorted(obs)] if isinstance(obs, dict) else [obs]
    hashes = np.full(math.prod(parts[0].shape[:axes]), _SEED, np.uint64)
    for part in parts:
        _fold(_words(part, axes, decimals), hashes)
    hashes[hashes == 0] = 1  # 0 marks an empty slot
    return hashes.view(np.int64).reshape(parts[0].shape[:axes])


def arrival_keys(rollout: Rollout, state: State, decimals: int) -> np.ndarray:
    """[T, N] keys of what was reached: of `next_obs`, or of the true states.

    An episodic memory holds start views too: no true state may have the key of a view.

    Raises:
        Unfit: true states are asked for, and the steps have no labels.
    """
    if state == "view":
        return view_keys(rollout.next_obs, decimals)
    if not rollout.labels:
        raise Unfit("state='full' needs the world's labels, and these steps have none; use state='view'")
    return view_keys({"": torch.ones(rollout.shape), **rollout.labels}, decimals)


def told(state: State) -> str | None:
    """What a bonus that asks for this is told beyond the agent's view."""
    return "the true state instead of the view" if state == "full" else None


# ---------------------------------------------------------------------- tables


class _Table(nn.Module):
    """A hash table [..., slots, 2] of int64 that stays on the CPU and takes the size of the state that it loads."""

    table: Tensor

    def _apply(self, fn: Any, recurse: bool = True) -> _Table:
        return self  # a move to another device would tear the table from the compiled code

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(prefix + "table")
        if saved is not None:
            slots = saved.shape[-2] if saved.dim() == self.table.dim() else 0
            if slots < 2 or slots & (slots - 1) or saved.shape != (*self.table.shape[:-2], slots, 2):
                args[-1].append(f"{prefix}table of shape {tuple(saved.shape)} is no table for {self}")
                return
            self.table = torch.zeros(saved.shape, dtype=torch.int64)
        super()._load_from_state_dict(state_dict, prefix, *args)


@njit(cache=True)
def _find(table: np.ndarray, key: int) -> int:
    """The slot that holds `key`, or the empty one where it belongs."""
    mask = table.shape[0] - 1
    slot = key & mask
    while table[slot, 0] != 0 and table[slot, 0] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def _lookup(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    counts = np.empty(keys.size, np.int64)
    for i in range(keys.size):
        counts[i] = table[_find(table, keys[i]), 1]
    return counts


@njit(cache=True)
def _add(table: np.ndarray, keys: np.ndarray, begin: int, used: int, limit: int) -> tuple[int, int]:
    """Count keys[begin:]; returns (where it stopped for want of room, entries used)."""
    for i in range(begin, keys.size):
        slot = _find(table, keys[i])
        if table[slot, 0] == 0:
            if used >= limit:
                return i, used
            table[slot, 0] = keys[i]
            used += 1
        table[slot, 1] += 1
    return keys.size, used


@njit(cache=True)
def _place(rows: np.ndarray, table: np.ndarray) -> None:
    """Put (key, count) rows into an empty table."""
    for i in range(rows.shape[0]):
        if rows[i, 0] != 0:
            slot = _find(table, rows[i, 0])
            table[slot, 0] = rows[i, 0]
            table[slot, 1] = rows[i, 1]


class LifelongCounts(_Table):
    """key -> number of arrivals over the agent's life, in bounded memory.

    The table doubles up to `max_views` entries (32 bytes each at most); when they are full, the half with the fewest
    arrivals is forgotten (of equal counts, the larger keys), so a forgotten view becomes new again.
    """

    def __init__(self, max_views: int = 2**20) -> None:
        super().__init__()
        self.max_views = max_views
        self.register_buffer("table", torch.zeros(4096, 2, dtype=torch.int64))  # slot -> (key, count)
        self._used: int | None = 0  # different views in memory; None: not counted since the table was loaded

    @property
    def views(self) -> int:
        """Number of different views in memory."""
        if self._used is None:
            self._used = int(np.count_nonzero(self.table.numpy()[:, 0]))
        return self._used

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._used = None

    def count(self, keys: np.ndarray) -> np.ndarray:
        """Arrivals so far, int64 of the shape of `keys`."""
        return _lookup(self.table.numpy(), keys.ravel()).reshape(keys.shape)

    def add(self, keys: np.ndarray) -> int:
        """Count one arrival for each key; returns the number of different views now in memory."""
        flat, done, used = keys.ravel(), 0, self.views
        while True:
            limit = min(len(self.table) // 2, self.max_views)
            done, used = _add(self.table.numpy(), flat, done, used, limit)
            if done == flat.size:
                self._used = used
                return used
            used = self._make_room(used)

    def _make_room(self, used: int) -> int:
        rows, slots = self.table.numpy(), len(self.table)
        if slots // 2 < self.max_views:
            slots *= 2
        else:
            rows = rows[rows[:, 0] != 0]
            rows = rows[np.lexsort((rows[:, 0], -rows[:, 1]))[: used // 2]]
            used = len(rows)
        self.table = torch.zeros(slots, 2, dtype=torch.int64)
        _place(rows, self.table.numpy())
        return used


@njit(cache=True)
def _arrive(table: np.ndarray, episode: int, key: int) -> int:
    """Count one arrival in the episode; slots of earlier episodes are as good as empty."""
    mask = table.shape[0] - 1
    slot = key & mask
    while table[slot, 1] >> 32 == episode and table[slot, 0] != key:
        slot = (slot + 1) & mask
    if table[slot, 1] >> 32 != episode:
        table[slot, 0] = key
        table[slot, 1] = episode << 32
    table[slot, 1] += 1
    return table[slot, 1] & _LOW


@njit(cache=True)
def _visit(
    table: np.ndarray,
    episode: np.ndarray,
    used: np.ndarray,
    start_keys: np.ndarray,
    keys: np.ndarray,
    done: np.ndarray,
    counts: np.ndarray,
) -> None:
    for n in range(keys.shape[1]):
        for t in range(keys.shape[0]):
            if used[n] == 0:
                used[n] = _arrive(table[n], episode[n], start_keys[t, n])
            counts[t, n] = _arrive(table[n], episode[n], keys[t, n])
            used[n] += counts[t, n] == 1
            if done[t, n]:
                episode[n] += 1
                used[n] = 0


@njit(cache=True)
def _widen(old: np.ndarray, episode: np.ndarray, new: np.ndarray) -> None:
    """Copy the entries of the episodes in progress into larger, empty tables."""
    mask = new.shape[1] - 1
    for n in range(old.shape[0]):
        for i in range(old.shape[1]):
            if old[n, i, 1] >> 32 == episode[n]:
                slot = old[n, i, 0] & mask
                while new[n, slot, 1] != 0:
                    slot = (slot + 1) & mask
                new[n, slot] = old[n, i]


class EpisodicVisits(_Table):
    """Per environment: key -> number of arrivals in the episode in progress; the start view counts as one.

    Kept across rollouts; the tables double as the longest episode needs (32 bytes for each of its views, times N).
    """

    episode: Tensor
    used: Tensor

    def __init__(self, n_envs: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(n_envs, 64, 2, dtype=torch.int64))  # -> (key, episode << 32 | count)
        self.register_buffer("episode", torch.ones(n_envs, dtype=torch.int64))  # its number: ending one clears nothing
        self.register_buffer("used", torch.zeros(n_envs, dtype=torch.int64))  # entries of the episode; 0: not begun

    def new_episodes(self) -> None:
        """Every environment was reset from outside."""
        self.episode += 1
        self.used.zero_()

    def visit(self, rollout: Rollout, keys: np.ndarray, decimals: int) -> np.ndarray:
        """[T, N] int64: how often `next_obs` (its `keys`) was seen in its episode, this time included.

        Raises:
            ValueError: if the rollout's N is not the number of tables.
        """
        if keys.shape[1] != len(self.table):
            raise ValueError(f"the rollout has {keys.shape[1]} environments, the episodic memory {len(self.table)}")
        self._reserve(len(keys))
        done, counts = rollout.done.cpu().numpy(), np.empty(keys.shape, np.int64)
        state = self.table.numpy(), self.episode.numpy(), self.used.numpy()
        _visit(*state, self._start_keys(rollout.obs, done, decimals), keys, done, counts)
        return counts

    def _start_keys(self, obs: Obs, done: np.ndarray, decimals: int) -> np.ndarray:
        """[T, N] keys of `obs` where an episode begins, elsewhere 0 (there `obs` is the `next_obs` before it)."""
        starts = np.concatenate([self.used.numpy()[None] == 0, done[:-1]])
        index = torch.from_numpy(starts)
        start_keys = np.zeros(done.shape, np.int64)
        start_keys[starts] = view_keys(map_obs(lambda x: x[index.to(x.device)], obs), decimals, axes=1)
        return start_keys

    def _reserve(self, steps: int) -> None:
        slots, need = self.table.shape[1], 2 * (int(self.used.max()) + steps + 1)
        if slots >= need:
            return
        wider = torch.zeros(len(self.table), 1 << (need - 1).bit_length(), 2, dtype=torch.int64)
        _widen(self.table.numpy(), self.episode.numpy(), wider.numpy())
        self.table = wider
