"""Random shift: every picture is a crop of its padded self, and only pictures are touched."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from agents.augment import RandomShift
from agents.context import Context
from agents.encoders.cnn import Cnn
from agents.encoders.mlp import Mlp
from agents.objectives.barlow import BarlowTwins
from agents.objectives.spr import SPR
from agents.objectives.vicreg import VICReg
from agents.rollout import Obs, Rollout
from tests.agents.test_part_contracts import OBJECTIVES

PICTURE = spaces.Box(0, 255, (3, 40, 40), np.uint8)


def test_a_shift_is_a_crop_of_the_padded_picture() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (8, 3, 40, 40)).to(torch.uint8)
    shifted = RandomShift(PICTURE)(x)
    assert shifted.dtype == torch.uint8
    assert len(set(places(x, shifted))) > 3  # each picture on its own


def places(x: Tensor, shifted: Tensor) -> list[tuple[int, int]]:
    """Where each picture was cropped from its padded self; (2, 2) is where it stood."""
    found = []
    for image, out in zip(x.numpy(), shifted.numpy(), strict=True):
        wide = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
        crops = {(i, j): wide[:, i : i + 40, j : j + 40] for i in range(5) for j in range(5)}
        (place,) = [key for key, crop in crops.items() if np.array_equal(crop, out)]
        found.append(place)
    return found


def test_of_a_dict_only_the_picture_is_shifted() -> None:
    space = spaces.Dict({"image": PICTURE, "direction": spaces.Discrete(4)})
    x = {"image": torch.randint(0, 256, (4, 3, 40, 40)).to(torch.uint8), "direction": torch.arange(4)}
    out = RandomShift(space)(x)
    assert torch.equal(out["direction"], x["direction"])
    assert not torch.equal(out["image"], x["image"])


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (7,), np.float32),
        spaces.Dict({"image": spaces.Box(0, 10, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)}),
        spaces.Discrete(3),
    ],
)
def test_what_is_no_picture_stays(space: spaces.Space) -> None:
    x = torch.zeros(2, 7)
    assert RandomShift(space)(x) is x


@pytest.mark.parametrize("cls", [BarlowTwins, SPR, VICReg])  # and ATC, in its own tests
def test_an_objective_on_pictures_sees_both_views_shifted(cls: Any) -> None:
    torch.manual_seed(0)
    views, seen = torch.randint(0, 256, (2, 8, 3, 40, 40)).to(torch.uint8), []

    class Looking(Mlp):
        def forward(self, obs: Obs) -> Tensor:
            seen.append(obs)
            return super().forward(obs)

    def make() -> Looking:
        return Looking(PICTURE, hidden=(8,))

    never, nothing = torch.zeros(1, 8).bool(), torch.zeros(1, 8)
    data = Rollout(views[:1], nothing.long(), views[1:], nothing, never, never)
    objective = cls(Context(PICTURE, spaces.Discrete(2), 8, make), **({"k": 1} if cls is SPR else {}))
    objective.loss(make(), data, (torch.zeros(8).long(), torch.arange(8)))
    first, second = (places(*pair) for pair in zip(views, torch.cat(seen).split(8), strict=True))
    assert len(set(first)) > 3
    assert len(set(second)) > 3
    assert first != second  # each view on its own


@pytest.mark.parametrize("name", ["atc", "barlow", "spr", "vicreg"])
def test_an_encoder_that_shifts_is_not_given_shifted_pictures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift that adds 1 to every pixel says how often a picture was shifted."""
    picture, seen = spaces.Box(0, 255, (3, 40, 40), np.uint8), []
    monkeypatch.setattr(RandomShift, "_shift", lambda self, x: x + 1)
    make = functools.partial(Cnn, picture, features=8, shift=True)
    objective = OBJECTIVES[name](Context(picture, spaces.Discrete(3), 2, make))
    parts = [make(), *(part for part in objective.modules() if isinstance(part, Cnn))]
    for part in parts:
        part.network.register_forward_pre_hook(lambda _net, inputs: seen.append((inputs[0] * 255).round().unique()))
    views, never = torch.full((12, 2, 3, 40, 40), 100, dtype=torch.uint8), torch.zeros(12, 2)
    rollout = Rollout(views, never.long(), views, never, never.bool(), never.bool())
    objective.loss(parts[0], rollout, (torch.arange(12) // 2, torch.arange(12) % 2))
    assert seen and all(found.tolist() == [101] for found in seen)
