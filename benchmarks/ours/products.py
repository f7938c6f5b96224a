"""The arithmetic limit: the matrix products of the default loop and nothing else, as environment steps per second.

Counted per environment step, with h hidden units, a actions, v value heads and E epochs:

    F = 2 h (h + a + v)        one forward pass: hidden layer, action head, value heads (a multiply and an add each)
    act = F,   learn = E (F + 2 F)        the backward pass makes two products of each: for weights and for inputs

Not counted: the first layer (a lookup of rows, additions only), biases, activations, softmax, losses, Adam, the world,
the bonus, and the value of an episode's last state. All of it runs here as products of the hidden layer's shape
(64 x h x h to act, 1024 x h x h to learn), heads included, although the heads' own shapes are slower: an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

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


def make(parts: list[Literal["act", "learn"]]) -> Callable[[int], object]:
    """A function that does the products of a number of steps (whole units)."""
    weight = torch.randn(HIDDEN, HIDDEN)
    small, large = torch.randn(COPIES, HIDDEN), torch.randn(BATCH, HIDDEN)
    small_out, large_out, grad = torch.empty_like(small), torch.empty_like(large), torch.randn_like(large)
    grad_weight, grad_input = torch.empty_like(weight), torch.empty_like(large)
    count = products_per_unit()

    def run(steps: int) -> None:
        for _ in range(steps // UNIT):
            if "act" in parts:
                for _ in range(count["act"]):
                    torch.mm(small, weight.T, out=small_out)
            if "learn" in parts:
                for _ in range(count["learn"] // 3):
                    torch.mm(large, weight.T, out=large_out)
                    torch.mm(grad.T, large, out=grad_weight)
                    torch.mm(grad, weight, out=grad_input)

    return run
