"""DRND: both bonuses in float64, one random target per step, and the pseudo-count that the paper promises."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.curiosity.drnd import DRND
from tests.agents.worlds import WORLDS, context, rollout


def test_bonus_equals_both_parts_in_float64() -> None:
    bonus, data = DRND(context("vector"), targets=4, alpha=0.7, width=8), rollout("vector", seed=0)
    bonus.networks.whitening.update(data.next_obs.flatten(0, 1))  # type: ignore[union-attr]
    expected = np.zeros(tuple(data.shape))
    with torch.no_grad():
        for t, n in np.ndindex(*expected.shape):
            assert isinstance(data.next_obs, Tensor)
            seen = bonus.networks.whitening(data.next_obs[t, n, None])
            assert isinstance(seen, Tensor)
            f = bonus.networks.predictor(seen)[0].double().numpy()
            c = np.array([target(seen)[0].tolist() for target in bonus.targets])
            mu, b2 = c.sum(0) / 4, (c**2).sum(0) / 4
            ratio = np.clip(np.abs(f**2 - mu**2) / (b2 - mu**2), 1e-6, 1)
            expected[t, n] = 0.7 * ((f - mu) ** 2).sum() / 8 + 0.3 * np.sqrt(ratio).sum() / 8
    np.testing.assert_allclose(bonus.reward(data).numpy(), expected, rtol=1e-3)


def test_targets_differ_and_none_of_them_learns() -> None:
    bonus, data = DRND(context("symbols"), targets=5, lr=1e-2), rollout("symbols", seed=1)
    before = [deepcopy(target.state_dict()) for target in bonus.targets]
    weights = [next(target.parameters()) for target in bonus.targets]
    assert all(not torch.equal(weights[0], other) for other in weights[1:])
    bonus.update(data)
    for old, target in zip(before, bonus.targets, strict=True):
        assert all(torch.equal(old[name], value) for name, value in target.state_dict().items())


def test_every_step_regresses_one_target_and_every_target_has_its_share() -> None:
    bonus, data = DRND(context("vector"), targets=3, width=8), rollout("vector", seed=2)
    obs, index = data.next_obs.flatten(0, 1), torch.randperm(72)  # type: ignore[union-attr]
    drawn = bonus._drawn(obs, index)
    all_targets = torch.stack([target(bonus._seen(obs)) for target in bonus.targets])[:, index]
    which = (all_targets - drawn).abs().amax(-1) < 1e-5
    assert which.sum(0).tolist() == [1] * 72
    assert which.sum(1).tolist() == [24] * 3


def test_the_predictor_learns_the_targets_mean() -> None:
    torch.manual_seed(0)
    bonus, data = DRND(context("vector"), lr=3e-3), rollout("vector", seed=3)
    obs = data.next_obs.flatten(0, 1)  # type: ignore[union-attr]
    bonus.update(data)

    def distance() -> float:
        seen = bonus._seen(obs)
        return (
            (bonus.networks.predictor(seen) - torch.stack([t(seen) for t in bonus.targets]).mean(0))
            .square()
            .mean()
            .item()
        )

    first = distance()
    for _ in range(300):
        loss = bonus.update(data)["loss"]
    assert distance() < 0.1 * first
    seen = bonus._seen(obs)
    spread = torch.stack([t(seen) for t in bonus.targets]).var(0, correction=0).mean().item()
    assert loss == pytest.approx(spread, rel=0.2)  # what is left of the loss is the targets' own variance


class Averages(torch.nn.Module):
    """A predictor that has seen a view n times: the mean of n of its random targets."""

    def __init__(self, c: torch.Tensor, n: int) -> None:
        super().__init__()
        self.f = c[torch.randint(len(c), (20_000, n))].mean(1)

    def forward(self, _seen: torch.Tensor) -> torch.Tensor:
        return self.f


@torch.no_grad()
def test_the_second_part_falls_with_the_number_of_visits() -> None:
    torch.manual_seed(0)
    bonus, view = DRND(context("vector"), targets=50, alpha=0.0, width=64), torch.randn(1, 4)
    c = torch.stack([target(bonus._seen(view)) for target in bonus.targets])[:, 0]
    paid = []
    for n in (1, 4, 16, 64, 256):
        bonus.networks.predictor = Averages(c, n)
        signed = (bonus.networks.predictor(view).square() - c.mean(0).square()) / c.var(0, correction=0)
        assert signed.mean().item() == pytest.approx(1 / n, rel=0.1, abs=2e-3)  # what the paper takes the root of
        paid.append(bonus._bonus(view.expand(20_000, -1)).mean().item())
    slopes = np.diff(np.log(paid)) / np.log(4)
    assert slopes.min() > -0.5 and slopes.max() < -0.2  # between n^-1/2 and n^-1/4


def test_every_target_has_its_share_of_a_minibatch() -> None:
    """1024 views in 100 parts of at most 11 would leave six targets out."""
    bonus, obs = DRND(context("vector"), targets=100), torch.randn(1024, 4)
    index = torch.randperm(1024)
    with torch.no_grad():
        drawn, seen = bonus._drawn(obs, index), bonus._seen(obs[index])
        of = torch.stack([target(seen) for target in bonus.targets])  # [100, 1024, width]
    nearest = (of - drawn).square().sum(-1).argmin(0)
    counts = torch.bincount(nearest, minlength=100)
    assert counts.min() >= 10 and counts.max() <= 11
    assert len(bonus._drawn(obs, torch.arange(7))) == 7  # fewer views than targets


def test_what_was_learned_pays_less_than_what_is_new() -> None:
    for name in WORLDS:
        torch.manual_seed(0)
        bonus, old, new = DRND(context(name), lr=1e-3), rollout(name, seed=1), rollout(name, seed=2)
        for _ in range(500):
            bonus.update(old)
        assert bonus.reward(old).mean() < 0.95 * bonus.reward(new).mean(), name


def test_views_are_taken_into_the_statistics_before_they_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    bonus, known = DRND(context("vector")), []
    drawn = bonus._drawn

    def spy(obs: Tensor, index: Tensor) -> Tensor:
        known.append(int(bonus.networks.whitening.moments[0].count))  # type: ignore[arg-type]
        return drawn(obs, index)

    monkeypatch.setattr(bonus, "_drawn", spy)
    bonus.update(rollout("vector", seed=4))
    assert known == [72]
