"""Learning progress: the formula, which models are compared on which steps, and that noise pays little."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from agents.context import Context
from agents.curiosity._transitions import inputs_and_targets
from agents.curiosity.icm import ICM
from agents.curiosity.lpm import LPM
from agents.rollout import Rollout
from tests.agents.test_icm import SPACE, Encoder
from tests.agents.worlds import context, rollout

KNOWN, NOISE, NEW = range(3)


def world(seed: int, actions: int) -> Rollout:
    """Each action has its own law: two can be learned, one answers with fresh noise."""
    g = torch.Generator().manual_seed(seed)
    s, a = torch.randn(32, 16, 3, generator=g), torch.randint(actions, (32, 16), generator=g)
    laws = torch.stack([s / 2 + s.roll(1, -1), 1.5 * torch.randn(32, 16, 3, generator=g), 0.5 - 0.7 * s])
    after = torch.where((a == 0)[..., None], laws[0], torch.where((a == 1)[..., None], laws[1], laws[2]))
    done = torch.ones(32, 16, dtype=torch.bool)
    return Rollout(s, a, after, torch.zeros(32, 16), done, ~done)


def test_bonus_equals_the_expected_fall_in_float64() -> None:
    bonus, data = LPM(context("vector"), error_lr=1e-2), rollout("vector", seed=0)
    for seed in range(5):
        bonus.update(rollout("vector", seed=seed))
    encoder, network = bonus.features.encoder, deepcopy(bonus.errors).double()
    assert isinstance(data.obs, Tensor)
    expected = np.zeros(tuple(data.shape))
    with torch.no_grad():
        for t, n in np.ndindex(*expected.shape):
            x = torch.cat([encoder(data.obs[t, n, None]).double()[0], torch.eye(2).double()[data.actions[t, n]]])
            u, d = network(x).tolist()
            expected[t, n] = max(np.exp(u) - np.exp(u - d), 0)
    np.testing.assert_allclose(bonus.reward(data).numpy(), expected, rtol=1e-3, atol=1e-6)


def test_the_world_model_is_compared_with_the_one_before_on_steps_new_to_both() -> None:
    bonus, data = LPM(context("vector"), lr=1e-2), [rollout("vector", seed) for seed in range(3)]
    encoder, models = bonus.features.encoder, [deepcopy(bonus.world_model)]

    def error(model: torch.nn.Module, part: Rollout) -> float:
        assert isinstance(part.obs, Tensor) and isinstance(part.next_obs, Tensor)
        coded = torch.eye(2)[part.actions]
        with torch.no_grad():
            predicted = model(torch.cat([encoder(part.obs.flatten(0, 1)), coded.flatten(0, 1)], -1))
            return (predicted - encoder(part.next_obs.flatten(0, 1))).square().mean().item()

    for i, part in enumerate(data):
        metrics = bonus.update(part)
        earlier = models[max(0, i - 1)]
        assert metrics["progress"] == pytest.approx(error(earlier, part) - error(models[i], part), abs=1e-6)
        models.append(deepcopy(bonus.world_model))
        assert all(torch.equal(a, b) for a, b in zip(bonus.previous.parameters(), models[i].parameters(), strict=True))


def test_noise_pays_little_and_what_can_be_learned_pays_while_it_is_learned() -> None:
    torch.manual_seed(0)
    own = Context(SPACE, spaces.Discrete(3), 16, Encoder)
    bonus, icm = LPM(own, lr=3e-4), ICM(own, lr=1e-3, features="random")
    for i in range(300):
        bonus.update(world(i, actions=2))
        icm.update(world(i, actions=2))

    def paid(part: torch.nn.Module, action: int, seeds: range) -> float:
        return float(np.mean([part.reward(d)[d.actions == action].mean() for d in (world(s, 3) for s in seeds)]))  # type: ignore[operator]

    held_out = range(1000, 1003)
    assert paid(icm, NOISE, held_out) > 10 * paid(icm, KNOWN, held_out)
    assert paid(bonus, NOISE, held_out) < 0.05 * 2 * paid(icm, NOISE, held_out)  # ICM pays half the squared error
    promised = []
    for i in range(300, 315):
        bonus.update(world(i, actions=3))
        promised.append([paid(bonus, action, range(i + 1, i + 2)) for action in (KNOWN, NOISE, NEW)])
    known, noise, new = np.mean(promised, 0)
    assert new > 2 * noise and new > 2 * known


def test_before_anything_is_learned_every_step_promises_the_same() -> None:
    paid = LPM(context("symbols")).reward(rollout("symbols", seed=1))
    torch.testing.assert_close(paid, torch.full((24, 3), np.exp(-4.0) - np.exp(-5.0)).float())


def test_features_may_learn_too() -> None:
    bonus, data = LPM(context("vector"), features="autoencoder", lr=3e-3), rollout("vector", seed=2)
    before = deepcopy(bonus.features.encoder.state_dict())
    metrics = [bonus.update(data) for _ in range(40)]
    own = [one["loss"] - one["forward_loss"] for one in metrics]
    assert own[-1] < own[0]
    assert any(not torch.equal(before[k], v) for k, v in bonus.features.encoder.state_dict().items())


def test_repeated_steps_promise_no_more_progress() -> None:
    torch.manual_seed(0)
    bonus, data = LPM(context("vector"), lr=1e-3, error_lr=1e-2), rollout("vector", seed=3)
    first = bonus.reward(data).mean()
    for _ in range(300):
        bonus.update(replace(data))
    assert bonus.reward(data).mean() < 0.1 * first


def test_the_error_network_learns_the_earlier_error_and_its_fall() -> None:
    bonus = LPM(context("vector"), lr=1e-2)
    bonus.update(rollout("vector", seed=0))
    x, after = inputs_and_targets(bonus.features, bonus.actions, rollout("vector", seed=1))
    with torch.no_grad():
        earlier, present = (
            ((model(x) - after).square().mean(-1) + 1e-6).log() for model in (bonus.previous, bonus.world_model)
        )
    assert (earlier - present).abs().max() > 0.1
    loss = (bonus.errors(x) - torch.stack([earlier, earlier - present], -1)).square().mean()
    expected = torch.autograd.grad(loss, list(bonus.errors.parameters()))
    bonus._monitor(x, after)
    torch.testing.assert_close([p.grad for p in bonus.errors.parameters()], list(expected))


def test_each_network_has_its_own_rate() -> None:
    bonus = LPM(context("vector"), lr=1e-5, error_lr=1e-2)
    rates = {id(p): group["lr"] for group in bonus.optimiser.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in bonus.world_model.parameters()} == {1e-5}
    assert {rates[id(p)] for p in bonus.errors.parameters()} == {1e-2}


def test_what_is_foreseen_exactly_leaves_all_finite() -> None:
    bonus, data = LPM(context("vector")), rollout("vector", seed=4)
    with torch.no_grad():
        for part in (bonus.features.encoder, bonus.world_model, bonus.previous):
            for parameter in part.parameters():
                parameter.zero_()
    assert bonus.update(data) == {"loss": 0, "forward_loss": 0, "progress": 0}
    assert torch.isfinite(bonus.reward(data)).all()
