"""S small networks of one shape as one tensor program: each has its own weights, [S, in, out], and its own loss.

y_s = act(x_s W_s + b_s),  s = 1..S

The sum of the S losses has as gradient of network s that of its own loss, and Adam works element by element, so that
one Adam over the stacked weights is S Adams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
BLOCK = 512  # pictures that stay in the cache


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


class Seen(torch.autograd.Function):
    """x_s W_s + b_s of the pictures x_s = pictures[rows_s], fetched block by block, for the gradient once more.

    A batch of pictures (2.7 MB) leaves the cache between fetching and the product, and memory is what takes the time.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, pictures: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(pictures, rows)
        y = weight.new_empty(*rows.shape, weight.shape[2])
        for s in range(len(rows)):
            for some, out in zip(rows[s].split(BLOCK), y[s].split(BLOCK), strict=True):
                torch.addmm(bias[s], pictures.index_select(0, some), weight[s], out=out)
        return y

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, Tensor, None, None]:
        pictures, rows = ctx.saved_tensors
        gradient = delta.new_zeros(len(rows), pictures.shape[1], delta.shape[2])
        for s in range(len(rows)):
            for some, d in zip(rows[s].split(BLOCK), delta[s].split(BLOCK), strict=True):
                gradient[s].addmm_(pictures.index_select(0, some).T, d)
        return gradient, delta.sum(1, keepdim=True), None, None


class Nets(nn.Module):
    """[S, B, sizes[0]] -> [S, B, sizes[-1]]; weights and biases are drawn as `nn.Linear` draws them.

    Args:
        count: S.
        sizes: inputs, hidden units ..., outputs.
        hidden: activation between the layers.
        last: activation of the outputs, if any.
        generator: of the weights.
    """

    def __init__(
        self,
        count: int,
        sizes: Sequence[int],
        hidden: Activation,
        last: Activation | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.hidden, self.last = hidden, last
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n, m in zip(sizes, sizes[1:], strict=False):
            bound = n**-0.5
            for into, rows in ((self.weights, n), (self.biases, 1)):
                into.append(nn.Parameter(bound * (2 * torch.rand(count, rows, m, generator=generator) - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self._onward(torch.baddbmm(self.biases[0], x, self.weights[0]))

    def of_rows(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """The outputs for x_s = pictures[rows_s]; pictures [T, sizes[0]], rows [S, B]."""
        return self._onward(Seen.apply(self.weights[0], self.biases[0], pictures, rows))

    def _onward(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            x = torch.baddbmm(bias, self.hidden(x), weight)
        return self.last(x) if self.last is not None else x
