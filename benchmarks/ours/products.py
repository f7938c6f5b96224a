"""The arithmetic limit: the matrix products of the default loop and nothing else, as environment steps per second.

Counted per environment step, with h hidden units, a actions, v value heads and E epochs:

    F = 2 h (h + a + v)        one forward pass: hidden layer, action head, value heads (a multiply and an add each)
    act = F,   learn = E (F + 2 F)        the backward pass makes two products of each: for weights and for inputs

Not counted: the first layer (a lookup of rows, additions only), biases, activations, softmax, losses, Adam, the world,
the bonus, and the value of an episode's last state. All of it runs here as products of the hidden layer's shape
(64 x h x h to act, 1024 x h x h to learn), heads included, although the heads' own shapes are slower. torch carries two
libraries for a float32 product, MKL and oneDNN; each product is done by the one that is faster on this core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]
HIDDEN, ACTIONS, VALUE_HEADS, EPOCHS = 128, 7, 2, 2
COPIES, N_STEPS, BATCH = 64, 128, 1024
UNIT = COPIES * N_STEPS * 8  # env steps whose FLOPs are whole numbers of products


def forward_flops() -> int:
    """F."""
    return 2 * HIDDEN * (HIDDEN + ACTIONS + VALUE_HEADS)


def flops_per_step() -> dict[str, int]:
    """FLOPs of one environment step of the default loop."""
    return {"act": forward_flops(), "learn": EPOCHS * 3 * forward_flops()}


def products_per_unit() -> dict[str, int]:
    """How many products of each shape have the FLOPs of `UNIT` environment steps."""
    rows = {"act": COPIES, "learn": BATCH}
    return {part: UNIT * flops // (2 * rows[part] * HIDDEN**2) for part, flops in flops_per_step().items()}


def mkl(x: Tensor, weight: Tensor) -> Tensor:
    """x [B, K] times weight [D, K], transposed, the way torch takes by itself."""
    return torch.mm(x, weight.t())


def onednn(x: Tensor, weight: Tensor) -> Tensor:
    """The same by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


KERNELS: dict[str, Kernel] = {"MKL": mkl, "oneDNN": onednn}


def act(kernel: Kernel) -> Callable[[], object]:
    """One product of acting."""
    weight, x = torch.randn(HIDDEN, HIDDEN), torch.randn(COPIES, HIDDEN)
    return lambda: kernel(x, weight)


def learn(kernel: Kernel) -> Callable[[], object]:
    """The three products of learning: forward, gradient of the weights, gradient of the inputs."""
    weight, x, grad = torch.randn(HIDDEN, HIDDEN), torch.randn(BATCH, HIDDEN), torch.randn(BATCH, HIDDEN)
    return lambda: (kernel(x, weight), kernel(grad.t(), x.t()), kernel(grad, weight.t()))


def seconds(work: Callable[[], object], calls: int = 300) -> float:
    start = time.process_time()
    for _ in range(calls):
        work()
    return time.process_time() - start


def choose(part: Callable[[Kernel], Callable[[], object]], kernel: str | None) -> Callable[[], object]:
    """The part done by a kernel; None: by the faster one."""
    if kernel is not None:
        return part(KERNELS[kernel])
    offered = [mkl, onednn] if torch.backends.mkldnn.is_available() else [mkl]
    return min((part(one) for one in offered), key=seconds)


def make(parts: list[Literal["act", "learn"]], kernel: Literal["MKL", "oneDNN"] | None = None) -> Callable[[int], None]:
    """A function that does the products of a number of steps (whole units)."""
    count = products_per_unit()
    work = [
        (choose(part, kernel), count[name] // products)
        for name, part, products in (("act", act, 1), ("learn", learn, 3))
        if name in parts
    ]

    def run(steps: int) -> None:
        for _ in range(steps // UNIT):
            for product, calls in work:
                for _ in range(calls):
                    product()

    return run
