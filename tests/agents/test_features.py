"""Feature spaces of the bonuses: what trains them, and observations as numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from agents.adam import Adam
from agents.curiosity._features import Features, Numbers, Steps
from agents.rollout import flatten_obs
from tests.agents.worlds import WORLDS, context, rollout


def test_numbers_scale_bounded_boxes_and_code_classes() -> None:
    space = spaces.Dict(
        {
            "a": spaces.Box(-2, 2, (2,), np.float32),
            "b": spaces.Discrete(3, start=1),
            "c": spaces.MultiDiscrete([2, 3], start=[0, 5]),
            "d": spaces.Box(-np.inf, np.inf, (1,), np.float32),
        }
    )
    numbers = Numbers(space)
    obs = {
        "d": torch.tensor([[7.0]]),
        "c": torch.tensor([[1, 7]]),
        "b": torch.tensor([2]),
        "a": torch.tensor([[-2.0, 1.0]]),
    }
    assert numbers.size == 2 + 3 + 5 + 1
    assert numbers(obs).tolist() == [[0.0, 0.75, 0, 1, 0, 0, 1, 0, 0, 1, 7.0]]


def test_numbers_refuse_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="Text"):
        Numbers(spaces.Dict({"mission": spaces.Text(5)}))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", ["inverse", "autoencoder"])
def test_learning_lowers_the_loss(kind: str, world: str) -> None:
    torch.manual_seed(0)
    features, data = Features(context(world), kind, hidden=32), rollout(world, seed=1)  # type: ignore[arg-type]
    optimiser = Adam(features.parameters(), 3e-3)
    losses = [features.learn(data, optimiser)["loss"] for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_random_features_stay_as_they_were() -> None:
    features, data = Features(context("vector"), "random"), rollout("vector", seed=2)
    before = {k: v.clone() for k, v in features.state_dict().items()}
    assert features.learn(data, torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)) == {}
    assert not any(p.requires_grad for p in features.parameters())
    assert all(torch.equal(before[k], v) for k, v in features.state_dict().items())


def test_losses_are_their_formulas() -> None:
    data = rollout("vector", seed=3)
    obs, next_obs, actions = flatten_obs(data.obs), flatten_obs(data.next_obs), data.actions.flatten()

    def each(features: Features) -> Steps:
        return Steps(features(obs), actions, features(next_obs), next_obs, torch.arange(len(actions)))

    inverse = Features(context("vector"), "inverse", hidden=8)
    with torch.no_grad():
        logits = inverse.head(torch.cat([inverse.encoder(obs), inverse.encoder(next_obs)], -1))  # type: ignore[misc]
    expected = -F.log_softmax(logits.double(), -1)[torch.arange(len(actions)), actions].mean()
    assert inverse.losses(each(inverse))["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    auto = Features(context("vector"), "autoencoder", hidden=8)
    with torch.no_grad():
        rebuilt = auto.head(auto.encoder(next_obs))  # type: ignore[misc]
    assert isinstance(next_obs, torch.Tensor)
    expected = ((rebuilt - (next_obs + 5) / 10).double() ** 2).mean()
    assert auto.losses(each(auto))["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
