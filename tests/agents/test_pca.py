"""Principal components: those of numpy, told nothing, and a control that keeps each coordinate and loses the rest."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.context import Context
from agents.encoders.linear import Linear
from agents.encoders.mlp import Mlp
from agents.supervised.pca import PrincipalComponents, principal_components
from envs import vector
from envs.deep_sea import DeepSea

SIZE = 5
SPACE, ACTIONS = spaces.Box(0, 1, (SIZE, SIZE), np.float32), spaces.Discrete(2)
VIEWS = Context(SPACE, ACTIONS, 1, functools.partial(Linear, SPACE, features=4))


def sea(copies: int) -> tuple[Any, Any]:
    world: Any = DeepSea(copies, size=SIZE)
    obs = vector.reset(world, 0)
    world.labels = None  # whoever asks for the truth fails
    return world, obs


def views(n: int = 400, k: int = 9) -> torch.Tensor:
    """Correlated rows, whose directions have variances far apart."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.standard_normal((k, k)))[0]
    return torch.from_numpy(3 + (rng.standard_normal((n, k)) * 2.0 ** -np.arange(k)) @ turned).float()


def test_the_components_are_numpys_eigenvectors_largest_first() -> None:
    torch.manual_seed(0)
    x = views()
    mean, components, explained = principal_components(x, 3)
    values, vectors = np.linalg.eigh(np.cov(x.double().numpy().T, bias=True))
    wanted = vectors[:, ::-1][:, :3].T / np.sqrt(values[::-1][:3].mean())
    np.testing.assert_allclose(mean, x.double().mean(0), rtol=1e-5)
    np.testing.assert_allclose(components.abs(), np.abs(wanted), rtol=0.02, atol=0.02)  # an axis has no sign
    assert explained == pytest.approx(values[::-1][:3].sum() / values.sum(), rel=1e-3)


def test_features_of_the_frames_are_uncorrelated_centred_and_of_mean_variance_one() -> None:
    torch.manual_seed(0)
    x = views()
    mean, components, _ = principal_components(x, 3)
    z = (x - mean) @ components.T
    covariance = np.cov(z.double().numpy().T, bias=True)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-4)
    assert np.diag(covariance).mean() == pytest.approx(1, rel=1e-3)
    assert sorted(np.diag(covariance), reverse=True) == list(np.diag(covariance))


def test_directions_that_are_not_there_are_zero_and_views_that_never_change_do_no_harm() -> None:
    _, components, explained = principal_components(views(50, 2), 4)
    assert components[:2].abs().sum() > 0 and not components[2:].any() and explained == pytest.approx(1)
    _, components, _ = principal_components(torch.ones(50, 3), 2)
    assert torch.isfinite(components).all()


def test_nothing_is_told_and_every_step_counts() -> None:
    part = PrincipalComponents(VIEWS, frames=600)
    metrics = part.fit(sea, seed=0)
    assert (part.action_labels, part.state_labels, part.steps) == (0, 0, 600)
    assert 0 < metrics["explained"] <= 1
    _, obs = sea(8)
    assert part.encoder(torch.as_tensor(obs)).shape == (8, 4)


def test_the_encoder_shows_the_frames_of_its_fit_centred_and_along_their_components() -> None:
    seen: list[Any] = []

    def recorded(copies: int) -> tuple[Any, Any]:
        world, obs = sea(copies)
        seen.append(obs)
        step = world.step

        def noted(actions: np.ndarray) -> Any:
            result = step(actions)
            seen.append(result[0])
            return result

        world.step = noted
        return world, obs

    part = PrincipalComponents(VIEWS, frames=600)
    torch.manual_seed(0)
    part.fit(recorded, seed=0)
    frames = torch.as_tensor(np.stack(seen[:-1], 1)).flatten(0, 1)
    x = frames.flatten(1)
    assert len(x) == 600
    torch.manual_seed(0)
    _, components, _ = principal_components(x, 4)
    z = part.encoder(frames).detach()
    np.testing.assert_allclose(z.mean(0), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(z, (x - x.mean(0)) @ components.T, atol=1e-5)


def test_fit_follows_its_seed() -> None:
    def learnt(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        part = PrincipalComponents(VIEWS, frames=300)
        part.fit(sea, seed)
        return part.encoder.map.weight.detach()

    assert torch.equal(learnt(0), learnt(0))
    assert not torch.equal(learnt(0), learnt(1))


def test_the_control_keeps_each_coordinate_and_loses_what_goes_together() -> None:
    torch.manual_seed(0)
    true, control = (PrincipalComponents(VIEWS, frames=2000, shuffled=how) for how in (False, True))
    explained = [part.fit(sea, seed=0)["explained"] for part in (true, control)]
    assert explained[1] != explained[0]
    weights = true.encoder.map.weight, control.encoder.map.weight
    concentration = [(w.abs().amax(1) / w.norm(dim=1)).mean().item() for w in weights]
    assert concentration[1] > concentration[0]  # independent coordinates: each axis is nearly one of them


def test_another_encoder_is_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match=r"ppo\+pca"):
        PrincipalComponents(Context(SPACE, ACTIONS, 1, lambda: Mlp(SPACE)))


def test_more_views_than_can_be_held_are_refused_before_any_is_collected() -> None:
    part = PrincipalComponents(VIEWS, frames=1_000_000)
    part.encoder.map = torch.nn.Linear(100_000, 4, device="meta")
    with pytest.raises(ValueError, match=r"400\.0 GB .*pca:frames"):
        part.fit(sea, seed=0)
