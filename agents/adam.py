"""Adam with gradient clipping in compiled passes, which skip rows that have never had a gradient.

g <- g min(1, max_norm / ||g||);   m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
theta <- theta - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)

Source: Kingma & Ba 2015, algorithm 1; state and options are those of `torch.optim.Adam`, which takes over whatever is
not float32 on the CPU. A row of a table whose symbol never occurs has g = m = v = 0, so Adam leaves it where it is: not
touching it is the same result, and in a lookup table most rows are such.
"""

from __future__ import annotations

import inspect
import math
import operator
from typing import Any

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, njit, types
from numba.extending import intrinsic
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


def _at(_typing: Any, address: Any) -> Any:
    """The float32 numbers that begin at an address, for compiled code."""

    def point(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(address), point


_floats: Any = intrinsic(_at)

GRAD, THETA, MEAN, SQUARE, STEP, ROWS, COLUMNS, FIRST = range(8)  # FIRST: of a parameter's rows in `alive`


@njit(cache=True, error_model="numpy")
def _advance(places: np.ndarray, options: np.ndarray, alive: np.ndarray, max_norm: float) -> None:
    """One step of all parameters: `places` [P, 8] says where they lie, `options` [P, 4] are lr, b1, b2, eps. One call,
    because numba takes a microsecond for every array that it is handed."""
    total = 0.0
    for place in places:
        shape = place[ROWS], place[COLUMNS]
        total += _look_over(carray(_floats(place[GRAD]), shape), alive[place[FIRST] : place[FIRST] + shape[0]])
    limit = max_norm / (math.sqrt(total) + 1e-6)  # as in torch's `clip_grad_norm_`
    shrink = limit if limit < 1 else 1.0
    for k in range(len(places)):
        place, lr, beta1, beta2, eps = places[k], options[k, 0], options[k, 1], options[k, 2], options[k, 3]
        shape = place[ROWS], place[COLUMNS]
        grad, theta = carray(_floats(place[GRAD]), shape), carray(_floats(place[THETA]), shape)
        mean, square = carray(_floats(place[MEAN]), shape), carray(_floats(place[SQUARE]), shape)
        step = carray(_floats(place[STEP]), (1,))
        step[0] += 1
        t = float(step[0])
        rate, correction = lr / (1 - beta1**t), math.sqrt(1 - beta2**t)
        live = alive[place[FIRST] : place[FIRST] + shape[0]]
        _move(grad, theta, mean, square, live, shrink, beta1, beta2, rate, correction, eps)


class Adam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` with `step` compiled for float32 parameters on the CPU."""

    # torch wraps these to hide them from its compiler, which it imports for that: 900 modules that nobody here uses.
    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    _plain_step = inspect.unwrap(torch.optim.Adam.step)
    _restore = inspect.unwrap(torch.optim.Adam.load_state_dict)

    def __init__(self, params: Any, lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, lr, fused=True, **options)
        self._known: list[Tensor] = []  # parameters with a gradient, to which `_places` and `_alive` belong
        self._at: list[int] = []
        self._kept: list[Tensor] = []  # what `_places` points to

    @torch.no_grad()
    def step(self, closure: None = None, *, max_norm: float = math.inf) -> None:  # type: ignore[override]
        """One step with the gradients of all groups, first clipped together to the norm `max_norm`."""
        given = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        params = [p for p, _ in given]
        other = any(group["weight_decay"] or group["amsgrad"] or group["maximize"] for group in self.param_groups)
        if other or not all(map(_compilable, params)):
            if max_norm < math.inf:
                torch.nn.utils.clip_grad_norm_(params, max_norm)
            self._plain_step()
            self._known = []
        elif params:
            self._locate(params)
            self._places[:, GRAD] = [p.grad.data_ptr() for p in params]
            options = np.array([(float(group["lr"]), *group["betas"], group["eps"]) for _, group in given])
            _advance(self._places, options, self._alive, max_norm)

    def _locate(self, params: list[Tensor]) -> None:
        """Make `_places`, and `_alive`: which rows have ever had a gradient (m and v remember)."""
        at = [p.data_ptr() for p in params]
        if len(params) == len(self._known) and all(map(operator.is_, params, self._known)) and at == self._at:
            return
        self._known, self._at = params, at
        for p in params:
            if not self.state[p]:
                self.state[p] |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p)}
                self.state[p]["exp_avg_sq"] = torch.zeros_like(p)
        moments = [[self.state[p][name] for name in ("exp_avg", "exp_avg_sq", "step")] for p in params]
        self._kept = [tensor for tensors in moments for tensor in tensors]
        shapes = [tuple(p.shape) if p.dim() == 2 else (1, p.numel()) for p in params]  # anything else is one row
        rows = [
            ((mean != 0) | (square != 0)).view(shape).any(1)
            for (mean, square, _), shape in zip(moments, shapes, strict=True)
        ]
        first = np.cumsum([0, *(shape[0] for shape in shapes)])
        self._alive = torch.cat(rows).numpy()
        self._places = np.array(
            [
                (0, at, *(tensor.data_ptr() for tensor in tensors), *shape, start)
                for at, tensors, shape, start in zip(self._at, moments, shapes, first, strict=False)
            ]
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restore(state_dict)
        self._known = []


def _compilable(p: Tensor) -> bool:
    grad = p.grad
    assert grad is not None
    dense = p.is_contiguous() and grad.is_contiguous() and not grad.is_sparse
    return dense and p.device.type == "cpu" and p.dtype == grad.dtype == torch.float32
