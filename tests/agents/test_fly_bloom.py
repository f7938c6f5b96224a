"""The fly's filter: tags and weights against literal loops, and what the papers say must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.stats import spearmanr

from agents.context import Context
from agents.curiosity._codes import Code
from agents.curiosity._fly import FadingFilter, FlyHash
from agents.curiosity.fly_bloom import FlyBloom
from agents.curiosity.simhash import SimHash
from agents.rollout import Rollout
from tests.agents.worlds import WORLDS, context, rollout


def slow_tag(x: np.ndarray, synapses: np.ndarray, k: int) -> list[int]:
    """The k cells with the largest sums; of equal ones the smaller number first."""
    sums = [sum(x[j] for j in sorted(row)) for row in synapses]
    return sorted(range(len(sums)), key=lambda c: (-sums[c], c))[:k]


# ---------------------------------------------------------------------- the hash


def test_tags_are_the_most_active_cells() -> None:
    fly = FlyHash(40, cells=200, fan_in=6, active=10)
    synapses = fly.synapses.numpy()
    assert all(len(set(row)) == 6 for row in synapses)
    x = torch.randint(-8, 9, (50, 40)).float()  # sums of whole numbers are exact, and many are equal
    expected = [slow_tag(row, synapses, 10) for row in x.numpy()]
    assert fly(x).tolist() == expected


def test_a_tag_does_not_change_with_scale_and_offset() -> None:
    fly = FlyHash(30, cells=300, fan_in=5, active=12)
    x = torch.randint(0, 64, (40, 30)).float()
    tags = fly(x)
    for scale, offset in ((1, 7), (4, 0), (0.25, -3), (32, 1000)):
        assert torch.equal(fly(scale * x + offset), tags)
    assert not torch.equal(fly(x.flip(1)), tags)


def test_cells_of_a_few_inputs_still_differ() -> None:
    """With as many synapses as inputs every cell would sum the same."""
    fly = FlyHash(4, cells=64, fan_in=6, active=8)
    assert len({tuple(sorted(tag)) for tag in fly(torch.eye(4)).tolist()}) == 4


def test_more_active_cells_than_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="16 active"):
        FlyBloom(context("vector"), cells=8)


def test_a_number_becomes_a_population_of_bumps() -> None:
    code = Code(spaces.Box(np.array([0, -1], np.float32), np.array([1, 3], np.float32)), bumps=4)
    values = np.array([[0.1, 2.0], [0.9, 9.0]])  # the last lies beyond its bound
    expected = [
        [np.exp(-((4 * (u - c)) ** 2) / 2) for u in (v[0], min((v[1] + 1) / 4, 1)) for c in (0, 1 / 3, 2 / 3, 1)]
        for v in values
    ]
    np.testing.assert_allclose(code(torch.from_numpy(values).float()).numpy(), expected, rtol=1e-5)
    assert Code(spaces.Box(-1, 1, (9,), np.float32), bumps=4).size == 9  # nine numbers are a pattern of their own


# ---------------------------------------------------------------------- the filter


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("delta", "epsilon"), [(0.9, 0.0), (0.5, 0.01), (0.0, 0.0)])
def test_bonus_equals_literal_weights(world: str, delta: float, epsilon: float) -> None:
    bonus = FlyBloom(context(world), cells=64, active=5, delta=delta, epsilon=epsilon)
    weights = np.ones(64)
    for seed in range(2):
        data = rollout(world, seed)
        tags = bonus._tags(data).numpy()
        expected = [[np.mean([weights[i] for i in tag]) for tag in row] for row in tags]
        np.testing.assert_allclose(bonus.reward(data).numpy(), expected, rtol=1e-4, atol=1e-7)
        bonus.update(data)
        for tag in tags.reshape(-1, 5):  # time-major: in the order of time
            for i in range(64):
                weights[i] = delta * weights[i] if i in tag else min(1.0, weights[i] + epsilon)
    np.testing.assert_allclose(bonus.filter.weights.numpy(), weights, rtol=1e-4, atol=1e-7)


def test_without_fading_it_is_a_bloom_filter() -> None:
    bonus, written = FlyBloom(context("vector"), delta=0, epsilon=0), set[int]()
    for seed in range(3):
        data = rollout("vector", seed)
        tags = bonus._tags(data)
        missing = [[sum(i not in written for i in tag) / 16 for tag in row] for row in tags.tolist()]
        assert bonus.reward(data).tolist() == missing
        bonus.update(data)
        written.update(tags.flatten().tolist())
        assert bonus.reward(data).max() == 0  # no false negative: what was written is known
    assert set(bonus.filter.weights.tolist()) == {0.0, 1.0}
    assert bonus.reward(rollout("vector", seed=9)).max() > 0


def test_weights_fade_to_zero_and_recover() -> None:
    fading = FadingFilter(8, delta=0.5, epsilon=0.0)
    tag = torch.tensor([[0, 1]])
    for _ in range(200):
        fading.write(tag)
    assert fading.weights.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    fading.epsilon = 0.25
    fading.write(torch.tensor([[2, 3]] * 5))
    assert fading.weights.tolist() == [1, 1, 0.03125, 0.03125, 1, 1, 1, 1]


def test_what_was_seen_before_pays_less_than_what_is_new() -> None:
    torch.manual_seed(0)
    for world in WORLDS:
        bonus, old, new = FlyBloom(context(world), cells=8192), rollout(world, seed=1), rollout(world, seed=2)
        for _ in range(5):
            bonus.update(old)
        assert bonus.reward(old).mean() < 0.8 * bonus.reward(new).mean(), world  # close neighbours are half known


# ---------------------------------------------------------------------- what it is for


def mountain_car(steps: int, n: int, seed: int) -> np.ndarray:
    """[steps, n, 2] of MountainCar, the policies from random (copy 0) to pumping energy (copy n - 1)."""
    rng = np.random.default_rng(seed)
    x, v, age, seen = rng.uniform(-0.6, -0.4, n), np.zeros(n), np.zeros(n), []
    for _ in range(steps):
        pump = rng.random(n) < np.linspace(0, 1, n)
        push = np.where(pump, np.where(v >= 0, 1, -1), rng.integers(-1, 2, n))
        v = np.clip(v + 0.001 * push - 0.0025 * np.cos(3 * x), -0.07, 0.07)
        x, age = np.clip(x + v, -1.2, 0.6), age + 1
        v = np.where((x <= -1.2) & (v < 0), 0, v)
        seen.append(np.stack([x, v], -1))
        done = (x >= 0.5) | (age >= 200)
        x, v, age = np.where(done, rng.uniform(-0.6, -0.4, n), x), np.where(done, 0, v), np.where(done, 0, age)
    return np.array(seen, np.float32)


def agreement(bonus_class: type, **options: int) -> float:
    """Rank correlation of the bonus with 1/sqrt(1 + visits of a 20 x 20 grid) over 20,000 steps of MountainCar."""
    low, high = np.array([-1.2, -0.07], np.float32), np.array([0.6, 0.07], np.float32)
    bonus = bonus_class(Context(spaces.Box(low, high), spaces.Discrete(3), 16, lambda: None), **options)  # type: ignore[arg-type, return-value]
    visits, paid, true = np.zeros((20, 20)), [], []
    for part in np.split(mountain_car(1280, 16, seed=0), 10):
        views = torch.from_numpy(part)
        still = torch.zeros(views.shape[:2])
        data = Rollout(views, still.long(), views, still, still.bool(), still.bool())
        cell = tuple(np.moveaxis(((part - low) / (high - low) * 19.999).astype(int), -1, 0))
        if visits.any():
            paid.append(bonus.reward(data).numpy().ravel())
            true.append((1 + visits[cell]).ravel() ** -0.5)
        bonus.update(data)
        np.add.at(visits, cell, 1)
    return float(spearmanr(np.concatenate(paid), np.concatenate(true)).statistic)


def test_on_mountain_car_it_follows_the_true_counts_as_no_signs_of_projections_do() -> None:
    torch.manual_seed(0)
    fly = agreement(FlyBloom)
    assert fly > 0.9
    assert agreement(SimHash, bumps=16) < fly - 0.1
    assert agreement(SimHash) < fly - 0.3
    assert agreement(FlyBloom, bumps=0) < fly - 0.5  # invariance to scale and offset leaves two bare numbers one angle


def test_it_stays_on_the_cpu_with_its_compiled_code() -> None:
    bonus = FlyBloom(context("vector")).to("meta")
    data = rollout("vector", seed=0)
    assert bonus.reward(data).sum() == 24 * 3 and bonus.update(data)["fresh"] < 1


def test_open_bounds_are_measured_before_the_views_are_written() -> None:
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    views, still = 1000 + torch.randn(24, 3, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(24, 3)
    bonus = FlyBloom(Context(space, spaces.Discrete(2), 3, lambda: None), delta=0)  # type: ignore[arg-type, return-value]
    data = Rollout(views, still.long(), views, still, still.bool(), still.bool())
    bonus.update(data)
    assert not bonus.code.open.any()
    assert (bonus.filter.weights == 0).sum() > 100  # with the bounds of the start all views would have one tag of 16
    assert bonus.reward(data).max() == 0
