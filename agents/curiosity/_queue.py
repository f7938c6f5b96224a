"""Views kept for later, the newest so many of them: first in, first out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.curiosity._batches import n_views, take
from agents.curiosity._stream import Stream
from agents.rollout import Obs


class ViewQueue(nn.Module):
    """Views of `space`, in order of arrival; it grows to `capacity`. Draws come from a stream of its own."""

    def __init__(self, space: spaces.Space, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.parts = dict(sorted(space.spaces.items())) if isinstance(space, spaces.Dict) else {"": space}
        for i, part in enumerate(self.parts.values()):
            self.register_buffer(f"part{i}", torch.from_numpy(np.zeros((0, *(part.shape or ())), part.dtype)))
        self.stream = Stream()

    def __len__(self) -> int:
        return len(self.get_buffer("part0"))

    def append(self, obs: Obs) -> None:
        """Put in the flat observation [M, ...]."""
        for i, name in enumerate(self.parts):
            kept = self.get_buffer(f"part{i}")
            new = obs[name] if isinstance(obs, dict) else obs
            setattr(self, f"part{i}", torch.cat([kept, new.to(kept)])[-self.capacity :].clone())

    def draw_unlike(self, obs: Obs) -> tuple[Obs, Tensor]:
        """For each view of `obs` [M, ...] a random one [M, ...] that differs from it, and [M] bool whether it does.

        Two are drawn, and the second serves where the first is the same.
        """
        first, second = torch.randint(len(self), (2, n_views(obs)), generator=self.stream.next())
        index = torch.where(differ(self._views(first), obs).cpu(), first, second)
        views = self._views(index)
        return views, differ(views, obs)

    def _views(self, index: Tensor) -> Obs:
        parts = {name: self.get_buffer(f"part{i}") for i, name in enumerate(self.parts)}
        return take(parts.get("", parts), index)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for i in range(len(self.parts)):
            kept, saved = self.get_buffer(f"part{i}"), state_dict.get(f"{prefix}part{i}")
            if saved is not None and saved.dim() == kept.dim():
                setattr(self, f"part{i}", kept.new_zeros(len(saved), *kept.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *args)


def differ(views: Obs, others: Obs) -> Tensor:
    """[M] bool: does the view [M, ...] differ from the other in any number of any part?"""
    if isinstance(views, dict) and isinstance(others, dict):
        return torch.stack([differ(views[name], others[name]) for name in views]).any(0)
    assert isinstance(views, Tensor)
    assert isinstance(others, Tensor)
    return (views != others.to(views)).flatten(1).any(1) if views.dim() > 1 else views != others.to(views)
