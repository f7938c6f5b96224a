"""BYOL-Explore: loss, target and running mean against literal ones, and what it learns."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.curiosity.byol_explore import BYOLExplore
from tests.agents.test_disagreement import world
from tests.agents.test_icm import DISCRETE, Encoder
from tests.agents.test_icm import context as icm_context
from tests.agents.worlds import WORLDS, context, rollout


def test_bonus_equals_the_normalised_error_above_the_mean_in_float64() -> None:
    bonus, data = BYOLExplore(context("vector"), hidden=8), rollout("vector", seed=0)
    bonus.update(rollout("vector", seed=1))  # the target now differs from the encoder, and there is a mean
    g = deepcopy(bonus.prediction).double()
    mu = (bonus.mean / bonus.weight).item()
    assert isinstance(data.obs, torch.Tensor) and isinstance(data.next_obs, torch.Tensor)
    expected = np.zeros(tuple(data.shape))
    with torch.no_grad():
        for t, n in np.ndindex(*expected.shape):
            phi, z = bonus.encoder(data.obs[t, n, None])[0].double(), bonus.target(data.next_obs[t, n, None])[0].numpy()
            guess = g(torch.cat([phi, torch.eye(2).double()[data.actions[t, n]]])).numpy()
            difference = guess / np.sqrt((guess**2).sum()) - z / np.sqrt((z**2).sum())
            expected[t, n] = max((difference**2).sum() - mu, 0)
    assert (expected == 0).any() and (expected > 0).any()
    np.testing.assert_allclose(bonus.reward(data).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_the_mean_is_that_of_the_rollouts_before_with_the_start_corrected() -> None:
    bonus, decay = BYOLExplore(context("vector"), decay=0.9), 0.9
    errors = []
    for seed in range(4):
        data = rollout("vector", seed)
        errors.append(bonus._errors(data).double().mean().item())
        paid = bonus.reward(data)
        weights = [decay**i for i in range(seed)][::-1]
        mu = sum(w * e for w, e in zip(weights, errors, strict=False)) / sum(weights) if seed else 0.0
        np.testing.assert_allclose(paid.numpy(), (bonus._errors(data) - mu).clamp_min(0).numpy(), atol=1e-5)
        bonus.update(data)


def test_the_target_follows_the_encoder_slowly() -> None:
    bonus, data = BYOLExplore(context("vector"), tau=0.1, lr=1e-2), rollout("vector", seed=2)
    target = [p.clone() for p in bonus.target.parameters()]
    for _ in range(5):
        bonus.update(data)  # 72 steps are one minibatch
        target = [0.9 * slow + 0.1 * fast for slow, fast in zip(target, bonus.encoder.parameters(), strict=True)]
    for slow, expected in zip(bonus.target.parameters(), target, strict=True):
        torch.testing.assert_close(slow, expected)
    assert not any(p.requires_grad for p in bonus.target.parameters())


def test_the_loss_trains_the_encoder_and_the_prediction() -> None:
    bonus, data = BYOLExplore(context("symbols")), rollout("symbols", seed=3)
    before = {name: p.clone() for name, p in bonus.named_parameters() if p.requires_grad}
    bonus.update(data)
    assert all(not torch.equal(before[name], p) for name, p in bonus.named_parameters() if name in before)


def test_it_learns_a_deterministic_world_and_stays_on_noise() -> None:
    late = {}
    for noise in (0.0, 2.0):
        torch.manual_seed(0)
        bonus = BYOLExplore(icm_context(DISCRETE), lr=3e-3)
        assert isinstance(bonus.encoder, Encoder)
        for i in range(200):
            late[noise] = bonus.update(world(i, noise))["loss"]
    assert late[0.0] < 0.1
    assert late[2.0] > 5 * late[0.0]  # like every error of a prediction, it does not know noise from news


def test_what_was_learned_pays_less_than_what_is_new() -> None:
    for name in WORLDS:
        torch.manual_seed(0)
        bonus, old, new = BYOLExplore(context(name), lr=1e-3), rollout(name, seed=1), rollout(name, seed=2)
        for _ in range(150):
            bonus.update(old)
        assert bonus.reward(old).mean() < 0.8 * bonus.reward(new).mean(), name


def test_unsupported_actions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="MultiDiscrete"):
        BYOLExplore(icm_context(spaces.MultiDiscrete([2, 2])))
