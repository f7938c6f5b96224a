"""Random shift: every picture is a crop of its padded self, and only pictures are touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.augment import RandomShift

PICTURE = spaces.Box(0, 255, (3, 40, 40), np.uint8)


def test_a_shift_is_a_crop_of_the_padded_picture() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (8, 3, 40, 40)).to(torch.uint8)
    shifted, found = RandomShift(PICTURE)(x), set()
    assert shifted.dtype == torch.uint8
    for image, out in zip(x.numpy(), shifted.numpy(), strict=True):
        wide = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
        crops = {(i, j): wide[:, i : i + 40, j : j + 40] for i in range(5) for j in range(5)}
        (place,) = [key for key, crop in crops.items() if np.array_equal(crop, out)]
        found.add(place)
    assert len(found) > 3  # each picture on its own


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
