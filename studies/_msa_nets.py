"""S small networks of one shape as one tensor program: each has its own weights, [S, in, out], and its own loss.

y_s = act(x_s W_s + b_s),  s = 1..S

The sum of the S losses has as gradient of network s that of its own loss, and Adam works element by element, so that
one Adam over the stacked weights is S Adams. With `short` the products with a picture (324 pixels) are taken in
bfloat16 (a third of the time on a processor that is made for it); their weights, sums and everything else stay float32.
"""

from __future__ import annotations

import functools
import timeit
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
WIDE = 100  # from this many inputs or outputs on, a layer is one of pixels


@functools.cache
def is_faster_short() -> bool:
    """Whether this processor multiplies in bfloat16 faster than in float32: some that can take twice as long."""
    seconds = []
    for dtype in (torch.bfloat16, torch.float32):
        x, weight = torch.ones(2048, 324, dtype=dtype), torch.ones(324, 32, dtype=dtype)
        seconds.append(min(timeit.repeat(lambda x=x, weight=weight: x @ weight, number=5, repeat=5)))
    return seconds[0] < seconds[1]


class Tanh(torch.autograd.Function):
    """2 sigmoid(2 x) - 1: the same function at a sixth of the time of torch's own on a processor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = (2 * x).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, y)


def tanh(x: Tensor) -> Tensor:
    """Elementwise."""
    return Tanh.apply(x)


class Nets(nn.Module):
    """[S, B, sizes[0]] -> [S, B, sizes[-1]]; weights and biases are drawn as `nn.Linear` draws them.

    Args:
        count: S.
        sizes: inputs, hidden units ..., outputs.
        hidden: activation between the layers.
        last: activation of the outputs, if any.
        short: see above.
        generator: of the weights.
    """

    def __init__(
        self,
        count: int,
        sizes: Sequence[int],
        hidden: Activation,
        last: Activation | None = None,
        *,
        short: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.hidden, self.last, self.short = hidden, last, short
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n, m in zip(sizes, sizes[1:], strict=False):
            bound = n**-0.5
            for into, rows in ((self.weights, n), (self.biases, 1)):
                into.append(nn.Parameter(bound * (2 * torch.rand(count, rows, m, generator=generator) - 1)))

    def forward(self, x: Tensor) -> Tensor:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if self.short and max(weight.shape[1:]) >= WIDE:
                x = torch.bmm(x.bfloat16(), weight.bfloat16()).float() + bias
            else:
                x = torch.baddbmm(bias, x, weight)
            activation = self.hidden if layer + 1 < len(self.weights) else self.last
            x = activation(x) if activation is not None else x
        return x
