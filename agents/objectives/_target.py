"""Target networks: copies that follow, by an exponential moving average, what is being learned."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    """target <- (1 - tau) target + tau source for parameters; buffers are taken over as they are."""
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.lerp_(new, tau)
    for kept, current in zip(target.buffers(), source.buffers(), strict=True):
        kept.copy_(current)
