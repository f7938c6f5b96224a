"""Disagreement: the variance in float64, what is dropped, and what noise does to it and to ICM."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents.context import Context
from agents.curiosity._transitions import inputs_and_targets
from agents.curiosity.disagreement import Disagreement
from agents.curiosity.icm import ICM
from agents.rollout import Rollout
from tests.agents.worlds import WORLDS, context, rollout

SPACE, ACTIONS = spaces.Box(-10, 10, (3,), np.float32), spaces.Discrete(2)
PUSH = torch.tensor([[1.0, -0.5, 0.3], [-0.4, 0.8, 0.1]])


def state_context(n_envs: int = 16) -> Context:
    """The features are the state itself, so that the noise's variance is known."""
    return Context(SPACE, ACTIONS, n_envs, lambda: FlattenExtractor(SPACE))


def world(seed: int, noise: float, steps: int = 32, n_envs: int = 16) -> Rollout:
    """s' = s / 2 + push_a + noise, each step an episode of its own."""
    g = torch.Generator().manual_seed(seed)
    s, a = torch.randn(steps, n_envs, 3, generator=g), torch.randint(2, (steps, n_envs), generator=g)
    after = s / 2 + PUSH[a] + noise * torch.randn(steps, n_envs, 3, generator=g)
    done = torch.ones(steps, n_envs, dtype=torch.bool)
    return Rollout(s, a, after, torch.zeros(steps, n_envs), done, ~done)


def test_bonus_equals_the_mean_variance_in_float64() -> None:
    bonus, data = Disagreement(context("vector"), models=4, hidden=8), rollout("vector", seed=0)
    encoder, models = bonus.features.encoder, deepcopy(bonus.models).double()
    assert isinstance(data.obs, torch.Tensor)
    expected = np.zeros(tuple(data.shape))
    with torch.no_grad():
        for t, n in np.ndindex(*expected.shape):
            x = torch.cat([encoder(data.obs[t, n, None]).double()[0], torch.eye(2).double()[data.actions[t, n]]])
            predictions = np.array([model(x).tolist() for model in models])
            centre = predictions.sum(0) / 4
            expected[t, n] = sum(((p - centre) ** 2).sum() for p in predictions) / 4 / 16
    np.testing.assert_allclose(bonus.reward(data).numpy(), expected, rtol=1e-4, atol=1e-8)


def test_each_model_learns_from_its_own_share() -> None:
    bonus = Disagreement(context("vector"), models=3, keep=0.8)
    errors, position = torch.rand(3, 5000), int(bonus.stream.position)
    loss = bonus._kept_mean(errors)
    kept = torch.rand(3, 5000, generator=torch.Generator().manual_seed(position)) < 0.8
    assert loss.item() == pytest.approx(sum(errors[i][kept[i]].double().mean().item() for i in range(3)), rel=1e-5)
    assert not torch.equal(kept[0], kept[1])
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert bonus._kept_mean(errors) != loss  # drawn anew
    everything = Disagreement(context("vector"), models=3, keep=1.0)
    assert everything._kept_mean(errors).item() == pytest.approx(errors.mean(1).sum().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["inverse", "autoencoder"])
def test_features_learn_beside_the_models_and_not_from_them(kind: str) -> None:
    torch.manual_seed(0)
    bonus, data = Disagreement(context("vector"), features=kind, lr=3e-3), rollout("vector", seed=1)  # type: ignore[arg-type]
    before = deepcopy(bonus.features.encoder.state_dict())
    metrics = [bonus.update(data) for _ in range(40)]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert any(not torch.equal(before[k], v) for k, v in bonus.features.encoder.state_dict().items())
    bonus.zero_grad()
    x, phi_next = inputs_and_targets(bonus.features, bonus.actions, data)
    (bonus._predictions(x) - phi_next).square().mean().backward()
    assert all(p.grad is None for p in bonus.features.parameters())
    assert all(p.grad is not None for p in bonus.models.parameters())


def test_it_vanishes_on_a_deterministic_world_and_on_noise_where_icm_stays_at_the_variance() -> None:
    sigma, late = 0.7, {}
    for noise in (0.0, sigma):
        torch.manual_seed(0)
        bonus = Disagreement(state_context(), lr=3e-3, hidden=32)
        icm = ICM(state_context(), lr=3e-3, hidden=32, features="random")
        first = bonus.reward(world(0, noise)).mean().item()
        for i in range(200):
            data = world(i, noise)
            bonus.update(data)
            icm.update(data)
        data = world(1000, noise)
        pay = bonus.reward(data).mean().item()
        late[noise] = pay, pay / first, icm.reward(data).mean().item()
    (_, exact_share, exact_icm), (noisy, noisy_share, noisy_icm) = late.values()
    assert exact_share < 0.1 and exact_icm < 0.003
    assert noisy_icm == pytest.approx(sigma**2 / 2, rel=0.1)  # ICM pays half the mean squared error
    assert noisy < 0.02 * noisy_icm and noisy_share < 0.1


def test_what_was_learned_pays_less_than_what_is_new() -> None:
    for name in WORLDS:
        torch.manual_seed(0)
        bonus, old, new = Disagreement(context(name), lr=1e-3), rollout(name, seed=1), rollout(name, seed=2)
        for _ in range(200):
            bonus.update(old)
        assert bonus.reward(old).mean() < 0.7 * bonus.reward(new).mean(), name


def test_each_model_s_step_is_that_of_its_own_share() -> None:
    bonus, data = Disagreement(context("vector"), models=3), rollout("vector", seed=3)
    shuffle = deepcopy(bonus.features.shuffle)
    x, after = inputs_and_targets(bonus.features, bonus.actions, data)
    (order,) = shuffle.draw(72)
    kept = torch.rand(3, 72, generator=torch.Generator().manual_seed(int(bonus.stream.position))) < 0.8
    expected = []
    for model, own in zip(bonus.models, kept, strict=True):
        steps = order[own]
        expected += torch.autograd.grad((model(x[steps]) - after[steps]).square().mean(), list(model.parameters()))
    bonus.update(data)
    torch.testing.assert_close([p.grad for p in bonus.models.parameters()], expected)
