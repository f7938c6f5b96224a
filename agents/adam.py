"""Adam with gradient clipping in compiled passes, which skip rows that have never had a gradient.

g <- g min(1, max_norm / ||g||);   m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
theta <- theta - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)

Source: Kingma & Ba 2015, algorithm 1; state and options are those of `torch.optim.Adam`, which takes over whatever is
not float32 on the CPU. A row of a table whose symbol never occurs has g = m = v = 0, so Adam leaves it where it is: not
touching it is the same result, and in a lookup table most rows are such.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

FAST = {"reassoc", "contract", "arcp", "nsz"}  # of the fast-math licences those that keep NaN and infinity alive
FADED = np.float32(1e-36)  # smaller moments are set to 0: a row left alone would decay into numbers that are slow


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _look_over(grad: np.ndarray, alive: np.ndarray) -> float:
    """The sum of squares of grad [R, D]; rows with any gradient become alive [R]."""
    total = 0.0
    for r in range(grad.shape[0]):
        row: Any = grad[r]
        squares: Any = np.float32(0)
        for d in range(len(row)):
            squares += row[d] * row[d]
        if squares != 0:
            alive[r] = True
            total += squares
    return total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _move(
    grad: np.ndarray,
    theta: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    alive: np.ndarray,
    shrink: float,
    beta1: float,
    beta2: float,
    rate: float,
    correction: float,
    eps: float,
) -> None:
    """One step of every row alive; `rate` is lr / (1 - b1^t), `correction` sqrt(1 - b2^t)."""
    b1, b2 = np.float32(beta1), np.float32(beta2)
    c1, c2 = np.float32(1 - beta1), np.float32(1 - beta2)
    scale, step, inverse, small = np.float32(shrink), np.float32(rate), np.float32(1 / correction), np.float32(eps)
    for r in range(theta.shape[0]):
        if alive[r]:
            x, m, v, g = theta[r], mean[r], square[r], grad[r]
            for d in range(len(x)):
                pull = g[d] * scale
                m_d, v_d = b1 * m[d] + c1 * pull, b2 * v[d] + c2 * pull * pull
                m[d] = np.float32(0) if abs(m_d) < FADED else m_d
                v[d] = np.float32(0) if v_d < FADED else v_d
                x[d] -= step * m[d] / (np.sqrt(v[d]) * inverse + small)


def _rows(tensor: Tensor) -> np.ndarray:
    """[R, D] view of a contiguous tensor: a matrix as it is, anything else as one row."""
    flat = tensor.detach()
    return (flat if flat.dim() == 2 else flat.reshape(1, -1)).numpy()


class Adam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` with `step` compiled for float32 parameters on the CPU."""

    def __init__(self, params: Any, lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, lr, fused=True, **options)
        self._views: dict[Tensor, tuple[np.ndarray, ...]] = {}

    @torch.no_grad()
    def step(self, closure: None = None, *, max_norm: float = math.inf) -> None:  # type: ignore[override]
        """One step with the gradients of all groups, first clipped together to the norm `max_norm`."""
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        other = any(group["weight_decay"] or group["amsgrad"] or group["maximize"] for group in self.param_groups)
        if other or not all(_compilable(p) for p in params):
            if max_norm < math.inf:
                torch.nn.utils.clip_grad_norm_(params, max_norm)
            super().step()
            return
        grads = {p: _rows(p.grad) for p in params}
        norm = math.sqrt(sum(_look_over(grad, self._views_of(p)[-1]) for p, grad in grads.items()))
        shrink = min(1.0, max_norm / (norm + 1e-6))  # as in torch's `clip_grad_norm_`
        for group in self.param_groups:
            for p in group["params"]:
                if p in grads:
                    self._move(p, grads[p], group, shrink)

    def _move(self, p: Tensor, grad: np.ndarray, group: dict[str, Any], shrink: float) -> None:
        step = self.state[p]["step"]
        step += 1
        t, (beta1, beta2) = step.item(), group["betas"]
        rate, correction = float(group["lr"]) / (1 - beta1**t), math.sqrt(1 - beta2**t)
        theta, mean, square, alive = self._views_of(p)
        _move(grad, theta, mean, square, alive, shrink, beta1, beta2, rate, correction, group["eps"])

    def _views_of(self, p: Tensor) -> tuple[np.ndarray, ...]:
        """theta, m and v as [R, D], and [R] bool: rows that have ever had a gradient, which m and v remember."""
        if p not in self._views or self._views[p][0].__array_interface__["data"][0] != p.data_ptr():
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            theta, mean, square = _rows(p), _rows(state["exp_avg"]), _rows(state["exp_avg_sq"])
            self._views[p] = theta, mean, square, (mean != 0).any(1) | (square != 0).any(1)
        return self._views[p]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._views = {}


def _compilable(p: Tensor) -> bool:
    assert p.grad is not None
    dense = p.is_contiguous() and p.grad.is_contiguous() and not p.grad.is_sparse
    return dense and p.device.type == "cpu" and p.dtype == p.grad.dtype == torch.float32
