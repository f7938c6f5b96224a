"""Running moments, and the one place where intrinsic rewards are scaled.

R_t = gamma R_{t-1} + r_t per environment,   r_t <- r_t / sqrt(Var[R])

Source: Burda et al. 2018, "Exploration by Random Network Distillation", section 2.4, and the authors' `ppo_agent.py`:
a forward filter over time with one R per environment, carried on at episode ends and from rollout to rollout; the
moments take this rollout first, then its rewards are divided; the mean is not subtracted. The batch update of the
moments is that of Chan, Golub & LeVeque 1979. Ours starts empty instead of with a pseudo-count of 1e-4, and leaves
rewards as they are while their returns do not vary, so that rewards of zero stay zero.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn


@njit(cache=True)
def _filter(rewards: np.ndarray, returns: np.ndarray, gamma: float, out: np.ndarray) -> None:
    """out[t] = rewards[t] + gamma out[t - 1], each [T, N] float64; `returns` [N] carries on from rollout to rollout."""
    for t in range(len(rewards)):
        for n in range(len(returns)):
            returns[n] = rewards[t, n] + gamma * returns[n]
            out[t, n] = returns[n]


class RunningMoments(nn.Module):
    """Mean and (population) variance of everything seen so far, in float64.

    Args:
        shape: shape of one value; () for scalars.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Take in values [..., *shape] of any dtype."""
        batch = values.to(self.mean).reshape(-1, *self.mean.shape)
        if len(batch) == 0:
            return
        var, mean = torch.var_mean(batch, 0, correction=0)
        total = self.count + len(batch)
        share, delta = len(batch) / total, mean - self.mean
        self.var.lerp_(var, share).add_(delta.square() * share * (1 - share))
        self.mean.add_(delta * share)
        self.count.copy_(total)

    def normalise(self, values: Tensor, clip: float = 5.0) -> Tensor:
        """(values - mean) / std, cut at +-clip, float32 [..., *shape]. A component that never varied gives 0."""
        std = (self.var + 1e-12).sqrt()
        return ((values.to(self.mean) - self.mean) / std).clamp(-clip, clip).float()


class IntrinsicScale(nn.Module):
    """Divides intrinsic rewards by the running std of their discounted sum.

    Args:
        n_envs: N; each environment has a filter of its own.
        gamma: discount of the intrinsic value stream.
    """

    returns: Tensor

    def __init__(self, n_envs: int, gamma: float = 0.99) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("returns", torch.zeros(n_envs, dtype=torch.float64))
        self.moments = RunningMoments()

    @property
    def std(self) -> Tensor:
        """[] float64, what the next rewards are divided by; 1 while the returns do not vary beyond rounding."""
        std = self.moments.var.sqrt()
        varies = (std > 1e-9 * self.moments.mean.abs()) & (self.moments.count > 0)
        return torch.where(varies, std, torch.ones_like(std))

    @torch.no_grad()
    def scale(self, rewards: Tensor) -> Tensor:
        """[T, N] -> [T, N] float32. Call once per rollout: the filters and the moments advance.

        Raises:
            ValueError: if N is not the number of filters.
        """
        if rewards.shape[1:] != self.returns.shape:
            raise ValueError(f"rewards are {tuple(rewards.shape)}, expected [T, {len(self.returns)}]")
        exact = rewards.to(self.returns)
        returns = torch.empty_like(exact)
        if exact.device.type == "cpu":
            _filter(exact.numpy(), self.returns.numpy(), self.gamma, returns.numpy())
        else:
            for t, reward in enumerate(exact):
                self.returns.copy_(torch.add(reward, self.returns, alpha=self.gamma, out=returns[t]))
        self.moments.update(returns)
        return (exact / self.std).float().to(rewards.device)
