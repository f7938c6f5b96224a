"""The rollout refuses arrays that do not belong together, and its helpers keep time and environments apart."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch

from agents.rollout import Rollout, flatten_obs, map_obs

T, N = 3, 2


def coded(*rest: int) -> torch.Tensor:
    """[T, N, ...] where every entry says which (t, n) it belongs to: 10 t + n."""
    code = 10 * torch.arange(T)[:, None] + torch.arange(N)
    return code.reshape(T, N, *(1 for _ in rest)).expand(T, N, *rest).float().clone()


def flags(*ones: tuple[int, int]) -> torch.Tensor:
    out = torch.zeros(T, N, dtype=torch.bool)
    for at in ones:
        out[at] = True
    return out


def rollout() -> Any:
    return Rollout(coded(4), coded(), coded(4) + 100, coded(), flags((0, 0)), flags((0, 0), (2, 1)), {"row": coded(2)})


def test_done_is_either_end_and_shape_is_time_by_environment() -> None:
    data = rollout()
    assert data.shape == (T, N)
    assert torch.equal(data.done, flags((0, 0), (2, 1)))


def test_flatten_is_time_major() -> None:
    flat: Any = flatten_obs({"a": coded(4), "b": coded()})
    assert flat["a"].shape == (T * N, 4)
    assert flat["b"].tolist() == [0, 1, 10, 11, 20, 21]
    mapped: Any = map_obs(lambda x: x + 1, coded())
    assert mapped[2, 1] == 22


@pytest.mark.parametrize("field", ["obs", "actions", "next_obs", "terminated", "truncated", "labels"])
def test_arrays_of_another_length_are_refused_by_name(field: str) -> None:
    value: Any = coded()[:2]
    with pytest.raises(ValueError, match=rf"rollout\.{field} begins with \(2, 2\)"):
        replace(rollout(), **{field: {"part": value} if field in ("obs", "labels") else value})


def test_time_and_environments_cannot_be_swapped() -> None:
    with pytest.raises(ValueError, match="actions"):
        replace(rollout(), actions=coded().T)


def test_a_rollout_cannot_be_edited() -> None:
    with pytest.raises(FrozenInstanceError):
        rollout().rewards = coded()
