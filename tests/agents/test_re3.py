"""RE3: the k-th neighbour by brute force, and a memory that is a fair sample of a life."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents.context import Context
from agents.curiosity.re3 import RE3
from agents.rollout import Rollout

SPACE = spaces.Box(-1e6, 1e6, (3,), np.float32)


def context(n_envs: int) -> Context:
    return Context(SPACE, spaces.Discrete(2), n_envs, lambda: FlattenExtractor(SPACE))


def of(views: torch.Tensor) -> Rollout:
    """Steps that arrive at `views` [T, N, 3]."""
    nothing = torch.zeros(views.shape[:2])
    return Rollout(views, nothing.long(), views, nothing, nothing.bool(), nothing.bool())


@pytest.mark.parametrize("k", [1, 3, 7])
def test_reward_equals_brute_force(k: int) -> None:
    g = torch.Generator().manual_seed(k)
    past, now = torch.randint(5, (2, 150, 2, 3), generator=g).float() * 100  # many are equal
    bonus = RE3(context(2), k=k)
    bonus.update(of(past))
    stored = past.flatten(0, 1).double().numpy()
    expected = np.zeros((150, 2))
    for t in range(150):
        for n in range(2):
            distances = sorted(np.linalg.norm(now[t, n].double().numpy() - y) for y in stored)
            expected[t, n] = np.log(1 + distances[k - 1])
    np.testing.assert_allclose(bonus.reward(of(now)).numpy(), expected, rtol=1e-6)
    assert 0 < (expected == 0).sum() < 300


def test_no_neighbour_is_lost_to_cancellation() -> None:
    """Far from the origin |x|^2 + |y|^2 - 2xy has nothing left of a small distance."""
    views = torch.full((8, 1, 3), 3e4)
    bonus = RE3(context(1), k=3)
    bonus.update(of(views))
    assert bonus.reward(of(views + 0.5)).flatten().tolist() == pytest.approx([np.log(1 + 0.75**0.5)] * 8)


def test_the_origin_stands_for_neighbours_that_lack() -> None:
    bonus, view = RE3(context(1), k=3), torch.tensor([[[3.0, 4.0, 0.0]]])
    for _ in range(3):
        assert bonus.reward(of(view)).item() == pytest.approx(np.log(6))
        bonus.update(of(view))
    assert bonus.reward(of(view)).item() == 0


def test_memory_is_bounded_and_holds_everything_while_it_can() -> None:
    bonus, views = RE3(context(4), memory=1000), torch.arange(800.0).reshape(200, 4, 1).expand(-1, -1, 3)
    assert bonus.update(of(views)) == {"views": 800}
    assert torch.equal(bonus.points[:800, 0], torch.arange(800.0))
    assert bonus.update(of(views + 800)) == {"views": 1000}
    assert bonus.points.shape == (1000, 3)
    assert len(bonus.points[:, 0].unique()) == 1000


def test_memory_is_a_uniform_sample_of_all_views_of_a_life() -> None:
    """20,000 numbered views: each tenth of the life holds about a tenth of the memory."""
    bonus = RE3(context(1), memory=1000)
    for part in torch.arange(20_000.0).split(777):
        bonus.update(of(part[:, None, None].expand(-1, -1, 3)))
    shares = np.histogram(bonus.points[:, 0].numpy(), bins=10, range=(0, 20_000))[0]
    assert shares.sum() == 1000
    assert abs(shares - 100).max() < 5 * 9.5  # five standard deviations
    assert ((shares - 100) ** 2 / 100).sum() < 28  # chi square, 9 degrees of freedom: 1 in 1000


def test_the_sample_is_drawn_by_algorithm_r() -> None:
    """One view after the other, with the numbers that the saved stream gives."""
    bonus, slots = RE3(context(1), memory=1000), {}
    for _ in range(2):
        generator, begin = torch.Generator().manual_seed(int(bonus.stream.position)), int(bonus.met)
        uniform = torch.rand(3000, generator=generator, dtype=torch.float64).numpy()
        for i in range(3000):
            slot = begin + i if begin + i < 1000 else int(uniform[i] * (begin + i + 1))
            if slot < 1000:
                slots[slot] = begin + i
        bonus.update(of(torch.arange(begin, begin + 3000.0)[:, None, None].expand(-1, -1, 3)))
    assert bonus.points[:, 0].tolist() == [slots[slot] for slot in range(1000)]


def test_the_encoder_is_never_trained() -> None:
    assert RE3(context(1)).optimiser is None
    assert not any(p.requires_grad for p in RE3(context(1)).parameters())
