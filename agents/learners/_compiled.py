"""Sampling and PPO's loss for discrete actions, each one compiled pass over the rows instead of dozens of tensors.

logits l [A] and values v [H] are the columns of one `outputs` [M, A + H]; log p = l - logsumexp(l).

    sample: argmax_a p_a / q_a with q ~ Exp(1)                           (what `torch.multinomial` does for one draw)
    loss  = mean(-min(A r, A clip(r)) - c_e H(p) + c_v sum_h w_h (R_h - v_h)^2),   r = exp(log p_a - old log p_a)

The gradients are written down in closed form: d log p_a / d l_k = 1[k = a] - p_k and dH / d l_k = -p_k (log p_k + H).
Source: Schulman et al. 2017, eqs. 7 and 9. The plain path in `ppo.py` and `_policy.py` computes the same by autograd;
a test holds the two together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

POLICY, ENTROPY, KL, CLIPPED = range(4)  # entries of the statistics; the heads' value losses follow


@njit(cache=True, error_model="numpy")
def _softmax(row: np.ndarray, p: np.ndarray) -> float:
    """Fill p [A] with the probabilities of the first A entries of `row` (logits); returns logsumexp of them."""
    highest = row[0]
    for k in range(1, len(p)):
        highest = max(highest, row[k])
    total = np.float32(0)
    for k in range(len(p)):
        p[k] = np.exp(row[k] - highest)
        total += p[k]
    for k in range(len(p)):
        p[k] /= total
    return highest + np.log(total)


@njit(cache=True, error_model="numpy")
def _choose(outputs: np.ndarray, q: np.ndarray, actions: np.ndarray, values: np.ndarray, log_probs: np.ndarray) -> bool:
    """Fill actions [N], values [H, N] and log_probs [N]; False if a logit is not finite."""
    n_actions, finite = q.shape[1], True
    p = np.empty(n_actions, np.float32)
    for n in range(len(actions)):
        row = outputs[n]
        normaliser = _softmax(row, p)
        finite &= np.isfinite(normaliser)
        best, chosen = np.float32(-1), 0
        for k in range(n_actions):
            score = p[k] / q[n, k]
            if score > best:
                best, chosen = score, k
        actions[n], log_probs[n] = chosen, row[chosen] - normaliser
        for head in range(len(values)):
            values[head, n] = row[n_actions + head]
    return finite


def sample(outputs: np.ndarray, n_actions: int, heads: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """From logits and values, the first columns of outputs [N, >= A + H]: sampled actions [N], values [H, N] and
    log-probabilities [N]; None if a logit is not finite."""
    n = len(outputs)
    q = torch.empty(n, n_actions).exponential_()
    actions, log_probs, values = torch.empty(n, dtype=torch.int64), torch.empty(n), torch.empty(heads, n)
    filled = _choose(outputs, q.numpy(), actions.numpy(), values.numpy(), log_probs.numpy())
    return (actions, values, log_probs) if filled else None


class Surrogate:
    """PPO's loss on minibatches of one rollout, whose arrays are laid out once.

    Args:
        actions, log_probs, advantages: [T, N] int64, float32, float32; log-probabilities as they were when acting.
        returns: [H, T, N]
        value_coefs: [H] float64; a head with coefficient 0 is not even read.
        normalise: standardise the advantages of each minibatch.
    """

    def __init__(
        self, actions: Tensor, log_probs: Tensor, advantages: Tensor, returns: Tensor, *, clip_range: float,
        ent_coef: float, value_coefs: Tensor, normalise: bool,
    ) -> None:  # fmt: skip
        self.arrays = [x.flatten().numpy() for x in (actions, log_probs, advantages)]
        self.returns = returns.flatten(1).numpy()
        self.clip_range, self.ent_coef, self.value_coefs = clip_range, ent_coef, value_coefs.numpy()
        self.normalise = normalise

    def __call__(self, outputs: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of `outputs` [M, A + H] for the steps `index` [M] (flat), differentiable once, and the means of its
        terms [4 + H] float64."""
        stats = self.no_stats()
        return _Loss.apply(outputs, index, self, stats), stats

    def no_stats(self) -> Tensor:
        """Zeros [4 + H], for `gradient` to fill."""
        return torch.zeros(4 + len(self.value_coefs), dtype=torch.float64)

    def gradient(self, outputs: Tensor, where: Tensor, index: Tensor, stats: Tensor) -> tuple[Tensor, Tensor]:
        """(gradient [u, A + H], loss) of the steps `index` [M], which saw outputs[where]; `stats` takes the means."""
        actions, log_probs, advantages = self.arrays
        flat, terms, grad = index.numpy(), stats.numpy(), torch.zeros_like(outputs)
        mean, std = _moments(advantages, flat) if self.normalise and len(flat) > 1 else (0.0, 1.0 - 1e-8)
        _surrogate(
            outputs.numpy(), where.numpy(), flat, actions, log_probs, advantages, self.returns, mean, std,
            self.clip_range, self.ent_coef, self.value_coefs, grad.numpy(), terms,
        )  # fmt: skip
        loss = terms[POLICY] + self.ent_coef * terms[ENTROPY] + self.value_coefs @ terms[4:]
        return grad, torch.tensor(loss, dtype=torch.float32)


@njit(cache=True, error_model="numpy")
def _moments(values: np.ndarray, index: np.ndarray) -> tuple[float, float]:
    """Mean and (sample) standard deviation of values[index]."""
    mean = 0.0
    for i in index:
        mean += values[i]
    mean /= len(index)
    squares = 0.0
    for i in index:
        squares += (values[i] - mean) ** 2
    return mean, math.sqrt(squares / (len(index) - 1))


@njit(cache=True, error_model="numpy")
def _surrogate(
    outputs: np.ndarray,
    where: np.ndarray,
    index: np.ndarray,
    actions: np.ndarray,
    old_log_probs: np.ndarray,
    advantages: np.ndarray,
    returns: np.ndarray,
    mean: float,
    std: float,
    clip_range: float,
    ent_coef: float,
    value_coefs: np.ndarray,
    grad: np.ndarray,
    stats: np.ndarray,
) -> None:
    """Add to grad [u, A + H] that of the mean loss, and fill stats [4 + H] with the means of its terms; step m of the
    minibatch saw the view outputs[where[m]]."""
    m_total, n_heads, n_views = len(index), len(value_coefs), len(outputs)
    n_actions = outputs.shape[1] - n_heads
    share = np.float32(1 / m_total)
    log_p, p = np.empty((n_views, n_actions), np.float32), np.empty((n_views, n_actions), np.float32)
    entropy, pulls, steps = np.zeros((3, n_views), np.float32)
    for v in range(n_views):
        normaliser = _softmax(outputs[v], p[v])
        for k in range(n_actions):
            log_p[v, k] = outputs[v, k] - normaliser
            entropy[v] -= p[v, k] * log_p[v, k]
    for m in range(m_total):
        v, i = where[m], index[m]
        log_ratio = log_p[v, actions[i]] - old_log_probs[i]
        ratio = np.exp(log_ratio)
        advantage = np.float32((advantages[i] - mean) / (std + 1e-8))
        clipped = min(max(ratio, np.float32(1 - clip_range)), np.float32(1 + clip_range))
        passes = advantage * ratio <= advantage * clipped  # else the clipped term is the smaller: no gradient
        stats[POLICY] -= min(advantage * ratio, advantage * clipped)
        stats[ENTROPY] -= entropy[v]
        stats[KL] += (ratio - 1) - log_ratio
        stats[CLIPPED] += abs(ratio - 1) > clip_range
        pull = -advantage * ratio * share if passes else np.float32(0)
        grad[v, actions[i]] += pull
        pulls[v] += pull
        steps[v] += share
        for head in range(n_heads):
            if value_coefs[head] == 0:
                continue  # not even read: 0 times an infinite return is no number
            error = outputs[v, n_actions + head] - returns[head, i]
            stats[4 + head] += error * error
            grad[v, n_actions + head] += 2 * error * share * np.float32(value_coefs[head])
    for v in range(n_views):
        weight = np.float32(ent_coef) * steps[v]
        for k in range(n_actions):
            grad[v, k] += p[v, k] * (weight * (log_p[v, k] + entropy[v]) - pulls[v])
    stats /= m_total


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor, index: Tensor, data: Surrogate, stats: Tensor) -> Tensor:
        ctx.grad, loss = data.gradient(outputs.detach(), torch.arange(len(index)), index, stats)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.grad.mul_(grad), None, None, None


@njit(cache=True, error_model="numpy")
def accumulate(delta: np.ndarray, carry: np.ndarray, out: np.ndarray) -> None:
    """out[t] = delta[t] + carry[t] out[t + 1], from the last row on; each [T, N] float32."""
    for n in range(delta.shape[1]):
        out[-1, n] = delta[-1, n]
    for t in range(len(delta) - 2, -1, -1):
        for n in range(delta.shape[1]):
            out[t, n] = delta[t, n] + carry[t, n] * out[t + 1, n]
