"""The reconstruction loss of Allen et al. 2021 with its gradient, block by block of rows that stay in the cache.

    y_0 = x,  y_k = tanh(y_{k-1} W_k + b_k),  L = mean (x - y_4)^2

Layer by layer, as torch takes it, a batch's pictures and their reconstructions (2.7 MB each) leave the cache between
any two steps, and waiting for memory takes longer than the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from studies._msa_nets import BLOCK

ONE, QUARTER, LOW, HIGH = (np.float32(x) for x in (1, 0.25, -9, 9))
A, B = np.float32([135135, 17325, 378, 1]), np.float32([135135, 62370, 3150, 28])


@njit(cache=True, fastmath=True, error_model="numpy")  # a division that can raise is not made a vector one
def _tanh(x: float) -> float:
    """Within 3e-7: Lambert's fraction at x / 4, and tanh 2u = 2 tanh u / (1 + tanh^2 u) twice, divided at the end."""
    u = min(max(x, LOW), HIGH) * QUARTER
    s = u * u
    over, under = u * (A[0] + s * (A[1] + s * (A[2] + s * A[3]))), B[0] + s * (B[1] + s * (B[2] + s * B[3]))
    over, under = (over + over) * under, under * under + over * over
    return (over + over) * under / (under * under + over * over)


@njit(cache=True, fastmath=True, error_model="numpy")
def _activate(y: np.ndarray, bias: np.ndarray) -> None:
    """y = tanh(y + b), in place."""
    for r in range(len(y)):
        for i in range(y.shape[1]):
            y[r, i] = _tanh(y[r, i] + bias[i])


@njit(cache=True, fastmath=True, error_model="numpy")
def _error(y: np.ndarray, bias: np.ndarray, target: np.ndarray, scale: float, biases: np.ndarray) -> None:
    """The gradient of scale sum (target - tanh(y + b))^2 by y takes the place of y and is added to that of b."""
    twice = np.float32(2 * scale)
    for r in range(len(y)):
        for i in range(y.shape[1]):
            value = _tanh(y[r, i] + bias[i])
            slope = (value - target[r, i]) * (ONE - value * value) * twice
            y[r, i] = slope
            biases[i] += slope


@njit(cache=True, fastmath=True, error_model="numpy")
def _slope(y: np.ndarray, delta: np.ndarray, biases: np.ndarray) -> None:
    """dL/dy becomes the gradient by what y is the tanh of, and is added to that of b."""
    for r in range(len(y)):
        for i in range(y.shape[1]):
            delta[r, i] *= ONE - y[r, i] * y[r, i]
            biases[i] += delta[r, i]


class Layer(NamedTuple):
    """One seed's."""

    weight: Tensor
    weight_grad: Tensor
    bias: np.ndarray
    bias_grad: np.ndarray


def backward(pictures: Tensor, rows: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
    """Add the gradient of each seed's mean loss on its pictures[rows] to the `grad` of the weights and biases.

    Args:
        pictures: [T, P] of float32.
        rows: [S, B], which of them are each seed's.
        weights: of each layer, [S, inputs, outputs].
        biases: of each layer, [S, 1, outputs].
    """
    scale = 1 / (rows.shape[1] * pictures.shape[1])
    with torch.no_grad():
        for s in range(len(rows)):
            layers = [
                Layer(w[s], w.grad[s], b.numpy()[s, 0], b.grad.numpy()[s, 0])
                for w, b in zip(weights, biases, strict=True)
            ]
            for some in rows[s].split(BLOCK):
                _block(pictures.index_select(0, some), scale, layers)


def _block(x: Tensor, scale: float, layers: Sequence[Layer]) -> None:
    """Forward and backward."""
    y = [x]
    for layer in layers[:-1]:
        y.append(y[-1] @ layer.weight)
        _activate(y[-1].numpy(), layer.bias)
    delta = y[-1] @ layers[-1].weight
    _error(delta.numpy(), layers[-1].bias, x.numpy(), scale, layers[-1].bias_grad)
    for k in reversed(range(len(layers))):
        layers[k].weight_grad.addmm_(y[k].T, delta)
        if k:
            delta = delta @ layers[k].weight.T
            _slope(y[k].numpy(), delta.numpy(), layers[k - 1].bias_grad)
