"""An observation as a vector that a hash can read: symbols one-hot, continuous numbers scaled or as a population.

number u in [0, 1] -> 2 u - 1,   or the population exp(-((u - c_i) b)^2 / 2), c_i = 0, 1/(b - 1), ..., 1

Symbols are Discrete, MultiDiscrete and MultiBinary parts and boxes of whole numbers with at most 32 values (Minigrid's
view). Pictures become grey and at most 21 x 21. Bounds that a space leaves open are measured once, on the first steps
learned from: the 1st and 99th percentile, widened on either side by the distance between them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from agents.faults import Unfit
from agents.rollout import Obs

SYMBOLS = 32  # a box of whole numbers with more values than these holds quantities
POPULATION = 8  # more numbers than these are many enough to need no population each
SIDE = 21  # pixels of a shrunk picture
OPEN = 1e6  # bounds beyond it say nothing


def _is_symbolic(space: spaces.Space) -> bool:
    if isinstance(space, spaces.Box):
        return space.dtype.kind in "iub" and bool(np.all(space.high.astype(float) - space.low < SYMBOLS))
    return True


def _is_picture(space: spaces.Box) -> bool:
    return space.dtype == np.uint8 and len(space.shape) == 3


def _values(space: spaces.Space) -> tuple[Tensor, Tensor]:
    """First value and number of values of each digit of a symbolic part."""
    if isinstance(space, spaces.Discrete):
        return torch.tensor([int(space.start)]), torch.tensor([int(space.n)])
    if isinstance(space, spaces.MultiDiscrete):
        return torch.as_tensor(space.start.ravel()).long(), torch.as_tensor(space.nvec.ravel()).long()
    if isinstance(space, spaces.MultiBinary):
        return torch.zeros(math.prod(space.shape)).long(), torch.full((math.prod(space.shape),), 2)
    assert isinstance(space, spaces.Box)
    low, high = (torch.from_numpy(bound.ravel().astype(np.int64)) for bound in (space.low, space.high))
    return low, high - low + 1


def _floats(bound: np.ndarray) -> Tensor:
    return torch.from_numpy(bound.astype(np.float32).ravel())


def _shrunk(picture: Tensor) -> Tensor:
    """[M, C, H, W] or [M, H, W, C] -> [M, <= 21 * 21], 0 to 255."""
    grey = picture.float().mean(1 if picture.shape[1] <= picture.shape[-1] else -1)
    return F.adaptive_avg_pool2d(grey, (min(SIDE, grey.shape[1]), min(SIDE, grey.shape[2]))).flatten(1)


class Code(nn.Module):
    """obs [M, ...] -> x [M, size] float32: the symbols' classes first, then the numbers.

    Args:
        bumps: cells of each number's population, where there are at most 8 numbers; 0: the numbers themselves.

    Raises:
        ValueError: if a part of the space is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """

    first: Tensor
    offsets: Tensor
    low: Tensor
    high: Tensor
    open: Tensor

    def __init__(self, space: spaces.Space, bumps: int = 0) -> None:
        super().__init__()
        parts = dict(sorted(space.spaces.items())) if isinstance(space, spaces.Dict) else {"": space}
        for part in parts.values():
            if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
                raise Unfit(f"observations of {type(part).__name__} cannot be read as numbers")
        self.symbols = [name for name, part in parts.items() if _is_symbolic(part)]
        self.numbers = {name: _is_picture(part) for name, part in parts.items() if isinstance(part, spaces.Box)}
        self.numbers = {name: picture for name, picture in self.numbers.items() if name not in self.symbols}
        values = [_values(parts[name]) for name in self.symbols]
        first, sizes = (torch.cat([pair[i] for pair in values] or [torch.zeros(0).long()]) for i in (0, 1))
        self.classes = int(sizes.sum())
        low, high = self._bounds(parts)
        self.bumps = bumps if len(low) <= POPULATION else 0
        self.size = self.classes + len(low) * max(1, self.bumps)
        self.register_buffer("first", first)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes)
        self.register_buffer("open", (low <= -OPEN) | (high >= OPEN))  # bounds still to be measured
        self.register_buffer("low", low.masked_fill(self.open, 0))
        self.register_buffer("high", high.masked_fill(self.open, 1))

    def _bounds(self, parts: dict[str, spaces.Space]) -> tuple[Tensor, Tensor]:
        low, high = [torch.zeros(0)], [torch.zeros(0)]
        for name, picture in self.numbers.items():
            box = parts[name]
            assert isinstance(box, spaces.Box)
            low.append(_shrunk(torch.zeros(1, *box.shape))[0] if picture else _floats(box.low))
            high.append(torch.full_like(low[-1], 255) if picture else _floats(box.high))
        return torch.cat(low), torch.cat(high)

    def measure(self, obs: Obs) -> None:
        """Set the open bounds from observations [M, ...]; once, later calls change nothing."""
        if not self.open.any():
            return
        values = self._raw(obs)[:, self.open].sort(0).values
        few, many = values[len(values) // 100], values[-1 - len(values) // 100]
        width = (many - few).clamp_min(1e-6)
        self.low[self.open], self.high[self.open] = few - width, many + width
        self.open.fill_(False)

    def forward(self, obs: Obs) -> Tensor:
        numbers = self._scaled(self._raw(obs))
        x = torch.zeros(len(numbers), self.size, device=self.low.device)
        x[:, self.classes :] = numbers
        if self.symbols:
            x.scatter_(1, self._digits(obs) + self.offsets, 1.0)
        return x

    def _part(self, obs: Obs, name: str) -> Tensor:
        return (obs[name] if isinstance(obs, dict) else obs).to(self.low.device)

    def _digits(self, obs: Obs) -> Tensor:
        """[M, symbols], from 0"""
        parts = [self._part(obs, name) for name in self.symbols]
        return torch.cat([part.reshape(len(part), -1) for part in parts], -1).long() - self.first

    def _raw(self, obs: Obs) -> Tensor:
        """[M, numbers]"""
        parts = [(self._part(obs, name), picture) for name, picture in self.numbers.items()]
        if not parts:
            return torch.zeros(len(self._part(obs, self.symbols[0])), 0, device=self.low.device)
        return torch.cat([_shrunk(part) if picture else part.flatten(1).float() for part, picture in parts], -1)

    def _scaled(self, values: Tensor) -> Tensor:
        """[M, numbers] -> [M, numbers * max(1, bumps)]"""
        u = (values - self.low) / (self.high - self.low).clamp_min(1e-8)
        if not self.bumps:
            return 2 * u - 1
        centres = torch.linspace(0, 1, self.bumps, device=u.device)
        return (-((u.clamp(0, 1)[..., None] - centres) * self.bumps).square() / 2).exp().flatten(1)
