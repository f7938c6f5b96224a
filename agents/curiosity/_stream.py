"""Random numbers that follow from the saved state, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Stream(nn.Module):
    """A fresh generator for each draw. The run's own is touched once, at construction, so that a bonus of weight zero
    changes nothing that the agent draws."""

    position: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("position", torch.randint(2**62, ()))

    def next(self) -> torch.Generator:
        """A generator on the CPU."""
        generator = torch.Generator().manual_seed(int(self.position))
        self.position += 1
        return generator
