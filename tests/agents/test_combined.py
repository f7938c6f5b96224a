"""Sums and products of bonuses: each scaled once, each resumed, their episodes ended together."""

from __future__ import annotations

import functools
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._combined import Product, Sum
from agents.curiosity.counts import Counts
from agents.curiosity.icm import ICM
from agents.curiosity.rnd import RND
from agents.normalise import IntrinsicScale
from agents.rollout import Rollout
from tests.agents.worlds import N, T, context, rollout


class Told(IntrinsicReward):
    """Pays what it is told."""

    def __init__(self, context: Context, *, pay: Tensor) -> None:
        super().__init__(context)
        self.pay, self.updates, self.begun = pay, 0, 0

    def reward(self, rollout: Rollout) -> Tensor:
        return self.pay

    def update(self, rollout: Rollout) -> dict[str, float]:
        self.updates += 1
        return {"seen": float(self.updates)}

    def new_episodes(self) -> None:
        self.begun += 1


def told(*pays: Tensor) -> dict[str, functools.partial[Told]]:
    return {f"b{k}": functools.partial(Told, pay=pay) for k, pay in enumerate(pays)}


def test_a_product_multiplies_raw_rewards() -> None:
    pays = torch.rand(3, T, N)
    product = Product(context("vector"), told(*pays))
    assert torch.allclose(product.reward(rollout("vector", 0)), pays[0] * pays[1] * pays[2])
    assert not product.scaled


def test_a_sum_scales_each_summand_once_by_its_own_returns() -> None:
    g = torch.Generator().manual_seed(0)
    pays = torch.rand(2, T, N, generator=g) * torch.tensor([1e-4, 1e3])[:, None, None]
    total = Sum(context("vector"), told(*pays), gamma=0.9)
    scales = [IntrinsicScale(N, 0.9) for _ in pays]
    for _ in range(3):
        expected = sum(scale.scale(pay) for scale, pay in zip(scales, pays, strict=True))
        assert torch.equal(total.reward(rollout("vector", 0)), expected)
    assert total.scaled


def test_units_do_not_matter_in_a_sum() -> None:
    g = torch.Generator().manual_seed(1)
    pays = torch.rand(2, T, N, generator=g)
    data = rollout("vector", 0)
    plain = Sum(context("vector"), told(pays[0], pays[1])).reward(data)
    other = Sum(context("vector"), told(1e6 * pays[0], 1e-3 * pays[1])).reward(data)
    torch.testing.assert_close(plain, other)


def test_parts_learn_and_begin_episodes_together() -> None:
    both = Product(context("vector"), told(torch.ones(T, N), torch.ones(T, N)))
    assert both.update(rollout("vector", 0)) == {"b0/seen": 1.0, "b1/seen": 1.0}
    both.new_episodes()
    assert [bonus.begun for bonus in both.named().values()] == [1, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [Product, Sum])
def test_a_combination_resumes_exactly(kind: type) -> None:
    nested = functools.partial(Product, makers={"counts": Counts, "rnd": RND})
    makers = {"counts.rnd": nested, "icm": ICM}
    one, other = (kind(context("symbols"), makers) for _ in range(2))
    past, future = rollout("symbols", 1), rollout("symbols", 2)
    one.reward(past)
    one.update(past)
    assert set(one.optimisers()) == {"counts.rnd/rnd/optimiser", "icm/optimiser"}
    other.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})
    for name, optimiser in other.optimisers().items():
        optimiser.load_state_dict(deepcopy(one.optimisers()[name].state_dict()))
    for _ in range(2):
        assert torch.equal(one.reward(future), other.reward(future))
        assert one.update(future) == other.update(future)
