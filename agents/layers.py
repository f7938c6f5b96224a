"""Fully connected layers whose product, bias and ReLU are one call on the CPU: the same function as torch's own.

y = max(0, x W^T + b)

torch multiplies float32 matrices through MKL, which runs its older kernels on processors that are not Intel's; oneDNN,
which torch carries too, generates its kernels for the processor at hand. Over the products of the default update `make
bench` measured 109 against 210 GFLOP/s on a Zen 5 core. Small products, other devices and other number formats
take torch's ordinary way. Under `torch.autocast("cpu", torch.bfloat16)` the large products are taken in bfloat16, where
the processor has it: operands are rounded to 8 bits, sums, weights and what comes out stay float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SMALLEST = 2**20  # multiplications from which on oneDNN's call overhead pays


def _onednn() -> Any:
    """oneDNN's product with a pointwise function behind it, where this build of torch has it."""
    found = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return torch.ops.mkldnn._linear_pointwise if found else None


_PRODUCT = _onednn()
HAS_BFLOAT16 = _PRODUCT is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """x [B, K] times weight [D, K], plus bias [D], cut at 0 if `relu`: float32 [B, D], whatever the operands are."""
    rounded = None if bias is None else bias.to(x.dtype)
    return _PRODUCT(x, weight, rounded, "relu" if relu else "none", [], "").float()


def _short() -> bool:
    wanted = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    return wanted and HAS_BFLOAT16


def _fits(x: Tensor, weight: Tensor) -> bool:
    return (
        _PRODUCT is not None
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.dim() == 2
        and x.shape[0] * weight.numel() >= SMALLEST
    )


class _Affine(torch.autograd.Function):
    """x [B, K], weight [D, K], bias [D] -> [B, D]"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool, short: bool) -> Tensor:
        if short:
            x, weight = x.bfloat16(), weight.bfloat16()
        out = _product(x, weight, bias, relu)
        ctx.save_for_backward(x, weight, out if relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight, out = ctx.saved_tensors
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        pull = grad.to(x.dtype)
        return (
            _product(pull, weight.t()) if wants_x else None,
            _product(pull.t(), x.t()) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
            None,
            None,
        )


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
    """x [B, K] times weight [D, K] plus bias [D], cut at 0 if `relu`: [B, D]."""
    if _fits(x, weight):
        if torch.is_grad_enabled():
            return _Affine.apply(x, weight, bias, relu, _short())
        return _product(x.bfloat16(), weight.bfloat16(), bias, relu) if _short() else _product(x, weight, bias, relu)
    out = F.linear(x, weight, bias)
    return F.relu(out) if relu else out


class Dense(nn.Linear):
    """`nn.Linear` followed by `nn.ReLU`, with the linear layer's parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias, relu=True)


class Linear(nn.Linear):
    """`nn.Linear`, by `affine`."""

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias)


def dense_layers(widths: tuple[int, ...] | list[int]) -> nn.Sequential:
    """Layers [B, widths[0]] -> [B, widths[-1]], each with its ReLU; none for a single width."""
    return nn.Sequential(*(Dense(a, b) for a, b in zip(widths, widths[1:], strict=False)))
