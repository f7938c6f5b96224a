"""Dense layers run forward and backward without autograd, whose bookkeeping costs as much as such small products.

    y_k = f(y_{k-1} W_k^T + b_k)
    d = f'(y_k) dL/dy_k,   dL/dW_k = d^T y_{k-1},   dL/db_k = sum d,   dL/dy_{k-1} = d W_k

A gradient takes the place of the parameter's `grad`. The numbers are autograd's but for rounding; a test holds the two
together.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.encoders.flat import Flat
from agents.encoders.mlp import Mlp, flatten
from agents.encoders.symbolic import Symbolic, add_gradient, add_rows, find_rows
from agents.layers import Dense, affine
from agents.rollout import Obs

Activation = Literal["relu", "tanh"] | None
FUNCTIONS: dict[type, Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh"}


class Layer(NamedTuple):
    """Linear layers side by side over the same input, and the function behind them."""

    linear: list[nn.Linear]
    activation: Activation


def layers_of(*nets: nn.Module) -> list[Layer] | None:
    """The layers of sequences of linear layers, `Dense`, ReLU and tanh; None: there is something else in them."""
    found: list[Layer] = []
    for module in (part for net in nets for part in (net if isinstance(net, nn.Sequential) else [net])):
        if isinstance(module, nn.Linear):
            found.append(Layer([module], "relu" if isinstance(module, Dense) else None))
        elif type(module) in FUNCTIONS and found and found[-1].activation is None:
            found[-1] = Layer(found[-1].linear, FUNCTIONS[type(module)])
        else:
            return None
    return found


def is_plain(net: nn.Module) -> bool:
    """Are all weights float32 on the CPU?"""
    return all(p.device.type == "cpu" and p.dtype == torch.float32 for p in net.parameters())


class Stack:
    """Layers [B, K] -> [B, D]; remembers its last forward pass for `backward`. No autograd may be on."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.passed: list[Tensor] = []  # what goes into each layer, and what comes out of the last

    def __call__(self, x: Tensor) -> Tensor:
        self.passed = [x]
        for linear, activation in self.layers:
            x = affine(x, *_side_by_side(linear), relu=activation == "relu")
            if activation == "tanh":
                np.tanh(x.numpy(), out=x.numpy())  # ten times quicker than torch's
            self.passed.append(x)
        return x

    def backward(self, grad: Tensor, *, through: bool) -> Tensor:
        """Give every parameter its gradient for that of the output [B, D]; returns the input's, if `through`."""
        for k in range(len(self.layers) - 1, -1, -1):
            linear, activation = self.layers[k]
            grad = _before(activation, grad, self.passed[k + 1])
            _give(linear, affine(grad.t(), self.passed[k].t(), None), grad.sum(0))
            if k or through:
                grad = affine(grad, _side_by_side(linear)[0].t(), None)
        return grad


def _side_by_side(linear: list[nn.Linear]) -> tuple[Tensor, Tensor]:
    if len(linear) == 1:
        return linear[0].weight, linear[0].bias
    return torch.cat([one.weight for one in linear]), torch.cat([one.bias for one in linear])


def _before(activation: Activation, grad: Tensor, out: Tensor) -> Tensor:
    """The gradient in front of the activation."""
    if activation == "relu":
        return torch.ops.aten.threshold_backward(grad, out, 0)
    return torch.ops.aten.tanh_backward(grad, out) if activation == "tanh" else grad


def _give(linear: list[nn.Linear], weight: Tensor, bias: Tensor) -> None:
    if len(linear) == 1:
        linear[0].weight.grad, linear[0].bias.grad = weight, bias
        return
    sizes = [one.out_features for one in linear]
    for one, of_weight, of_bias in zip(linear, weight.split(sizes), bias.split(sizes), strict=True):
        one.weight.grad, one.bias.grad = of_weight, of_bias


Given = tuple[Tensor, ...]  # what an encoder's first layer reads of each view [B, ...]: no weights are in it


class Trunk:
    """An encoder run like a `Stack`: one of `symbolic`, `mlp` and `flat` (see `fits`)."""

    def __init__(self, encoder: nn.Module) -> None:
        assert fits(encoder)
        self.encoder = encoder
        self.stack = Stack([] if isinstance(encoder, Flat) else layers_of(encoder.layers) or [])  # type: ignore[arg-type]
        self.learns = not isinstance(encoder, Flat)
        self.table = torch.zeros_like(encoder.weight) if isinstance(encoder, Symbolic) else None

    def read(self, obs: Obs) -> Given:
        """Observations [B, ...] as the first layer reads them."""
        if not isinstance(self.encoder, Symbolic):
            return (flatten(obs, self.encoder._observation_space),)  # type: ignore[arg-type]
        view, symbols = self.encoder.parts(obs)
        rows, counts = self.encoder.room(len(view))
        find_rows(view.numpy(), symbols.numpy(), *self.encoder.tables, rows.numpy(), counts.numpy())
        return rows, counts

    def __call__(self, given: Given) -> Tensor:
        """[B, D]"""
        if not isinstance(self.encoder, Symbolic):
            return self.stack(given[0])
        self.given, weight, bias = given, self.encoder.weight.detach(), self.encoder.bias.detach()
        out = torch.empty(len(given[0]), len(bias))
        add_rows(given[0].numpy(), given[1].numpy(), weight.numpy(), bias.numpy(), out.numpy())
        return self.stack(out)

    def backward(self, grad: Tensor) -> None:
        """Give every parameter its gradient for that of the features [B, D]."""
        grad = self.stack.backward(grad, through=self.table is not None)
        if self.table is not None:
            rows, counts = self.given
            bias = torch.zeros(self.table.shape[1])
            out = self.stack.passed[0]
            add_gradient(
                rows.numpy(), counts.numpy(), grad.numpy(), out.numpy(), self.table.zero_().numpy(), bias.numpy()
            )
            self.encoder.weight.grad, self.encoder.bias.grad = self.table, bias


def fits(encoder: nn.Module) -> bool:
    """Can a `Trunk` run this encoder?"""
    if type(encoder) not in (Symbolic, Mlp, Flat) or not is_plain(encoder):
        return False
    return isinstance(encoder, Flat) or layers_of(encoder.layers) is not None  # type: ignore[arg-type]
