"""The hash study's metrics by hand, and its data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.curiosity._fly import FlyHash
from studies import fly_hash


def test_both_metrics_by_hand() -> None:
    truth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    answer = np.array([[1, 9, 2, 0], [0, 1, 2, 3]])  # hits at ranks 1 and 3; none
    found, all_ = fly_hash.precision(truth, answer)
    assert found == pytest.approx((1 + 2 / 3) / 2 / 2)
    assert all_ == pytest.approx((1 + 2 / 3) / 4 / 2)
    assert fly_hash.precision(truth, truth) == (1, 1)


def test_neighbours_are_in_order_without_the_query_and_ties_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fly_hash, "NEAREST", 3)
    distance = np.array([[0, 4, 1, 9, 2], [3, 0, 0, 0, 0.0]])
    orders = {tuple(fly_hash.nearest(distance, np.array([0, 1]), np.random.default_rng(i))[1]) for i in range(50)}
    assert fly_hash.nearest(distance, np.array([0, 1]), np.random.default_rng(0))[0].tolist() == [2, 4, 1]
    assert all(set(order) == {2, 3, 4} for order in orders) and len(orders) == 6


def test_digits_are_pictures_of_many_typefaces() -> None:
    assert len(fly_hash.typefaces()) == 22
    pictures = fly_hash.digits(200, np.random.default_rng(0))
    assert pictures.shape == (200, 784) and pictures.min() == 0 and 0.5 < pictures.max() <= 1
    assert (pictures.reshape(200, 28, 28)[:, [0, -1]].mean((1, 2)) < 0.02).all()  # nothing is cut off
    x = fly_hash.normal(pictures)
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose((x**2).sum(1), 1, rtol=1e-5)


def test_values_are_the_sums_of_the_normal_pictures_and_the_tag_is_theirs() -> None:
    pictures = fly_hash.digits(5, np.random.default_rng(1))
    cells, values = fly_hash.tags(pictures, m=300, active=6)
    assert (np.diff(values) <= 1e-5).all()  # most active first, before normalising and after
    assert len({tuple(row) for row in cells}) == 5
    torch.manual_seed(2)
    own, sums = fly_hash.tags(pictures, m=300, active=6)
    torch.manual_seed(2)
    synapses = FlyHash(784, cells=300, fan_in=78, active=6).synapses.numpy()
    for picture, chosen, told in zip(fly_hash.normal(pictures), own, sums, strict=True):
        every = np.array([picture[inputs].sum() for inputs in synapses])
        np.testing.assert_allclose(told, every[chosen], atol=1e-5)
        np.testing.assert_allclose(told, np.sort(every)[::-1][:6], atol=1e-5)
