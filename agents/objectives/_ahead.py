"""The steps that follow a minibatch: what K-step and contrastive objectives pair s_t with, never across an end."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.rollout import Index, Obs, Rollout, map_obs


class Ahead(NamedTuple):
    """K steps from each (t, n) of a minibatch; where `reached` is False the other entries mean nothing."""

    obs: Obs  # [M, *obs]  s_t
    actions: Tensor  # [M, K] or [M, K, A]  a_t ... a_{t+K-1}
    next_obs: Obs  # [M, K, *obs]  s_{t+1} ... s_{t+K}
    reached: Tensor  # [M, K] bool: no episode ended before that step, and it lies in the rollout


def ahead(rollout: Rollout, index: Index, k: int) -> Ahead:
    """The `k` steps from each of `index`; the first is always reached, s_{t+1} being the true successor."""
    (t, n), (steps, copies) = (one.to(rollout.done.device) for one in index), rollout.shape
    later = t[:, None] + torch.arange(k, device=t.device)
    inside = later < steps
    flat = later.clamp(max=steps - 1) * copies + n[:, None]
    ended = _take(rollout.done, flat).cummax(1).values
    reached = inside & ~torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1)
    obs = map_obs(lambda x: _take(x, flat[:, 0]), rollout.obs)
    return Ahead(obs, _take(rollout.actions, flat), map_obs(lambda x: _take(x, flat), rollout.next_obs), reached)


def mispaired(steps: Ahead) -> Ahead:
    """Each s_t with what followed others of the minibatch, another one at each step: the negative control.

    No two views of a row belong together then, so that there is nothing to learn from sequences either.
    """
    m, k = steps.reached.shape
    order = torch.stack([torch.randperm(m) for _ in range(k)], 1).to(steps.reached.device)
    step = torch.arange(k, device=order.device)
    reached = (steps.reached & steps.reached[order, step]).cummin(1).values
    next_obs = map_obs(lambda x: x[order.to(x.device), step.to(x.device)], steps.next_obs)
    return steps._replace(next_obs=next_obs, reached=reached)


def _take(x: Tensor, flat: Tensor) -> Tensor:
    """[T, N, ...] at flat indices of any shape."""
    index = flat.to(x.device)
    return x.flatten(0, 1).index_select(0, index.flatten()).unflatten(0, index.shape)
