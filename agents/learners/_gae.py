"""Generalised advantage estimation (Schulman et al. 2016, eq. 16), with the successor's value given explicitly.

A_t = delta_t + gamma lambda (1 - ended_t) A_{t+1},   delta_t = r_t + gamma V(s_{t+1}) - V(s_t)

The caller sets V(s_{t+1}) to zero where the episode terminated and to the value of the true successor where it was
truncated, so the time-limit bootstrap never enters a reward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.learners._compiled import accumulate


def advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, ended: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """[T, N] advantages from rewards, V(s_t), V(s_{t+1}) and ended flags, each [T, N]."""
    delta = rewards + gamma * next_values - values
    carry = gamma * lambda_ * (~ended).to(delta.dtype)
    out = torch.empty_like(delta)
    if delta.device.type == "cpu":
        accumulate(delta.numpy(), carry.numpy(), out.numpy())
        return out
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + carry[t] * following  # not fused: rounded as SB3 rounds it
        out[t] = following
    return out


def successor_values(values: Tensor, last_values: Tensor) -> Tensor:
    """[T, N] V(s_{t+1}) where the next row is the successor: values shifted by one, `last_values` [N] at the end."""
    return torch.cat([values[1:], last_values[None]])
