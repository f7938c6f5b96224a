"""SimHash: signs and counts against a literal dictionary, and how an observation becomes numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from agents.context import Context
from agents.curiosity._codes import Code
from agents.curiosity.simhash import SimHash
from agents.rollout import Rollout
from tests.agents.worlds import WORLDS, context, rollout


@pytest.mark.parametrize("k", [4, 32, 100])
def test_bonus_is_the_inverse_root_of_the_visits_of_the_signs(k: int) -> None:
    bonus, life = SimHash(context("continuous"), k=k), Counter[tuple[int, ...]]()
    a = bonus.projection.double().numpy()
    for seed in range(3):
        data = rollout("continuous", seed)
        assert isinstance(data.next_obs, Tensor)
        scaled = data.next_obs.double().numpy() / 5  # the space is [-5, 5]
        codes = [[tuple(np.sign(a @ x).astype(int)) for x in row] for row in scaled]
        expected = [[(1 + life[code]) ** -0.5 for code in row] for row in codes]
        np.testing.assert_allclose(bonus.reward(data).numpy(), expected, rtol=1e-6)
        life.update(code for row in codes for code in row)
        assert bonus.update(data) == {"codes": len(life)}


def test_more_bits_tell_more_views_apart() -> None:
    torch.manual_seed(0)
    found = []
    for k in (1, 2, 4, 64):
        bonus = SimHash(context("symbols"), k=k)
        found.append(bonus.update(rollout("symbols", seed=0))["codes"])
    assert (
        found[0] == 2 and found == sorted(set(found)) and found[-1] == 24 * 3
    )  # no two of these random views are equal


def test_what_was_seen_before_pays_less_than_what_is_new() -> None:
    for world in WORLDS:
        bonus, old, new = SimHash(context(world), k=64), rollout(world, seed=1), rollout(world, seed=2)
        bonus.update(old)
        assert bonus.reward(old).max() < 0.8 * bonus.reward(new).mean(), world


def test_symbols_are_one_hot_and_numbers_are_scaled_to_their_bounds() -> None:
    space = spaces.Dict(
        {
            "a": spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)),
            "b": spaces.Discrete(3, start=1),
            "c": spaces.Box(2, 4, (2,), np.uint8),
            "d": spaces.MultiDiscrete([2, 3]),
            "e": spaces.MultiBinary(2),
            "f": spaces.Box(0, 255, (1,), np.uint8),
        }
    )
    obs = {
        "a": torch.tensor([[1.0, 0.0]]),
        "b": torch.tensor([3]),
        "c": torch.tensor([[4, 2]], dtype=torch.uint8),
        "d": torch.tensor([[1, 0]]),
        "e": torch.tensor([[1, 0]]),
        "f": torch.tensor([[255]], dtype=torch.uint8),
    }
    code = Code(space)
    expected = [0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0.5, -1, 1]
    assert code(obs).tolist() == [expected]
    assert code.size == len(expected)


def test_open_bounds_are_measured_once_and_kept() -> None:
    space = spaces.Box(np.array([-np.inf, -1], np.float32), np.array([np.inf, 1], np.float32))
    code = Code(space)
    values = torch.stack([torch.arange(201.0) + 100, torch.zeros(201)], 1)
    assert torch.isfinite(code(values)).all()
    code.measure(values)
    assert code.low.tolist() == [102 - 196, -1] and code.high.tolist() == [298 + 196, 1]  # the 1 % at either end is cut
    code.measure(values * 7)
    assert code.high.tolist() == [298 + 196, 1]
    resumed = Code(space)
    resumed.load_state_dict(code.state_dict())
    resumed.measure(values * 7)
    assert torch.equal(resumed(values), code(values))


def test_pictures_become_grey_and_small_whatever_their_axes() -> None:
    picture = torch.randint(256, (2, 3, 84, 42), dtype=torch.uint8)
    first, last = Code(spaces.Box(0, 255, (3, 84, 42), np.uint8)), Code(spaces.Box(0, 255, (84, 42, 3), np.uint8))
    x = first(picture)
    assert x.shape == (2, 21 * 21)
    torch.testing.assert_close(x, last(picture.permute(0, 2, 3, 1)), rtol=0, atol=1e-6)
    corner = picture[1, :, :4, :2].double().mean() / 255 * 2 - 1
    assert x[1, 0].item() == pytest.approx(corner.item(), abs=1e-6)


def test_observations_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="Text"):
        Code(spaces.Dict({"mission": spaces.Text(5)}))


def test_open_bounds_are_measured_before_the_views_are_counted() -> None:
    space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    views, still = 1000 + torch.randn(24, 3, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(24, 3)
    bonus = SimHash(Context(space, spaces.Discrete(2), 3, lambda: None), k=64)  # type: ignore[arg-type, return-value]
    data = Rollout(views, still.long(), views, still, still.bool(), still.bool())
    assert bonus.code.open.all()
    assert bonus.update(data)["codes"] > 24  # with the bounds of the start all views would have the same signs
    assert not bonus.code.open.any()
    assert (bonus.reward(data) < 1).all()


def test_a_box_of_up_to_32_whole_numbers_holds_symbols() -> None:
    assert Code(spaces.Box(0, 31, (2,), np.uint8)).size == 2 * 32
    assert Code(spaces.Box(0, 32, (2,), np.uint8)).size == 2


def test_pictures_that_are_small_keep_their_pixels() -> None:
    picture = torch.randint(256, (2, 5, 30, 3), dtype=torch.uint8)
    x = Code(spaces.Box(0, 255, (5, 30, 3), np.uint8))(picture)
    assert x.shape == (2, 5 * 21)
    small = Code(spaces.Box(0, 255, (5, 4, 3), np.uint8))(picture[:, :, :4])
    grey = picture[:, :, :4].double().mean(-1).flatten(1) / 255 * 2 - 1
    torch.testing.assert_close(small, grey.float())


def test_a_number_that_never_varied_lies_between_its_measured_bounds() -> None:
    code = Code(spaces.Box(-np.inf, np.inf, (1,), np.float32))
    code.measure(torch.zeros(50, 1))
    assert code.low.item() < 0 < code.high.item()
    assert code(torch.zeros(1, 1)).item() == pytest.approx(0, abs=1e-6)
