"""Nearest neighbours within an episode: exact search among the points that the environment's episode holds so far.

d_1 <= ... <= d_k: the least |x_t - y|^2 over the points y stored before x_t in its episode

Points of a rollout are laid out in one row per environment, behind those that the episode brought along, so that what
a step may look at is a range of its row. Differences are squared and summed, not expanded into |x|^2 + |y|^2 - 2xy: the
distance of equal points is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

FAST = {"reassoc", "contract", "arcp", "nsz"}  # keeps NaN and infinity alive


class EpisodicMemory(nn.Module):
    """Per environment: the points of the episode in progress, the last `bound` of them. It stays on the CPU.

    Args:
        n_envs: N.
        dim: D of a point.
        bound: points that an episode may keep; older ones are forgotten.
    """

    points: Tensor  # [N, longest, D], in order of arrival
    stored: Tensor  # [N], how many of them hold; 0: the episode has not begun

    def __init__(self, n_envs: int, dim: int, bound: int) -> None:
        super().__init__()
        self.bound = bound
        self.register_buffer("points", torch.zeros(n_envs, 0, dim))
        self.register_buffer("stored", torch.zeros(n_envs, dtype=torch.int64))

    def new_episodes(self) -> None:
        """Every environment was reset from outside."""
        self.stored.zero_()

    def arrive(self, starts: Tensor, arrivals: Tensor, done: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Store the points `arrivals` [T, N, D], and `starts` [T, N, D] where an episode begins.

        Returns:
            rows [N, L, D], first [T, N], here [T, N]: the arrival of step t is `rows[n, here]`, the points that its
            episode held before it are `rows[n, first:here]`, one of them at least.

        Raises:
            ValueError: if N is not the number of environments.
        """
        begins, end = self._begins(done), done.cpu().numpy()
        steps, n_envs = begins.shape
        kept, env = self.stored.numpy(), np.arange(n_envs)
        here = kept + begins.cumsum(0) + np.arange(steps)[:, None]
        first = np.maximum.accumulate(np.where(begins, here - 1, 0))
        first = np.maximum(first, here - self.bound)
        rows = np.empty((n_envs, int(here.max()) + 1, self.points.shape[-1]), np.float32)
        rows[:, : self.points.shape[1]] = self.points.numpy()[:, : rows.shape[1]]
        rows[np.broadcast_to(env, here.shape), here] = arrivals.cpu().numpy()
        t, n = np.nonzero(begins)
        rows[n, here[t, n] - 1] = starts[torch.from_numpy(begins).to(starts.device)].cpu().numpy()
        self._keep(rows, np.where(end[-1], 0, np.minimum(here[-1] + 1 - first[-1], self.bound)), here[-1] + 1)
        return rows, first, here

    def _begins(self, done: Tensor) -> np.ndarray:
        """[T, N] bool: the episode of this step begins with it."""
        if done.shape[1] != len(self.stored):
            raise ValueError(f"the rollout has {done.shape[1]} environments, the episodic memory {len(self.stored)}")
        return np.concatenate([self.stored.numpy()[None] == 0, done[:-1].cpu().numpy()])

    def _keep(self, rows: np.ndarray, stored: np.ndarray, ends: np.ndarray) -> None:
        """Of each row the last `stored` points before `ends`, each [N]."""
        points = np.zeros((len(rows), int(stored.max()), rows.shape[-1]), np.float32)
        for n, (count, end) in enumerate(zip(stored, ends, strict=True)):
            points[n, :count] = rows[n, end - count : end]
        self.points, self.stored = torch.from_numpy(points), torch.from_numpy(stored.astype(np.int64))

    def _apply(self, fn: Any, recurse: bool = True) -> EpisodicMemory:
        return self  # a move to another device would tear the points from the compiled code

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(prefix + "points")
        if saved is not None and saved.dim() == 3:
            self.points = torch.zeros(len(self.stored), saved.shape[1], self.points.shape[-1])
        super()._load_from_state_dict(state_dict, prefix, *args)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _search(rows: np.ndarray, first: np.ndarray, here: np.ndarray, nearest: np.ndarray) -> None:
    k = nearest.shape[2]
    for n in range(rows.shape[0]):
        for t in range(here.shape[0]):
            x, best = rows[n, here[t, n]], nearest[t, n]
            for i in range(first[t, n], here[t, n]):
                y = rows[n, i]
                total = np.float32(0)
                for d in range(len(x)):
                    total += (x[d] - y[d]) * (x[d] - y[d])
                if total < best[k - 1]:
                    at = k - 1
                    while at > 0 and best[at - 1] > total:
                        best[at] = best[at - 1]
                        at -= 1
                    best[at] = total


def squared_distances(rows: np.ndarray, first: np.ndarray, here: np.ndarray, k: int) -> Tensor:
    """[T, N, k] of what `arrive` returns: the least squared distances, ascending; infinite where there are fewer."""
    nearest = np.full((*here.shape, k), np.inf, np.float32)
    _search(rows, first, here, nearest)
    return torch.from_numpy(nearest)
