"""ICM: the bonus against float64, whose gradients reach what, and that it learns a world's dynamics."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents.context import Context
from agents.curiosity._features import Steps
from agents.curiosity.icm import ICM
from agents.rollout import Rollout

SPACE = spaces.Box(-10, 10, (3,), np.float32)


class Encoder(BaseFeaturesExtractor):
    def __init__(self) -> None:
        super().__init__(SPACE, 8)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.net(observations)


class Whole(BaseFeaturesExtractor):
    """Integers, as they are, through a layer."""

    def __init__(self, space: spaces.Space, size: int) -> None:
        super().__init__(space, 8)
        self.net = nn.Sequential(nn.Linear(size, 8), nn.Tanh())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.net(observations.float())


def context(actions: spaces.Space) -> Context:
    return Context(SPACE, actions, 4, Encoder)


def world(actions: spaces.Space, seed: int = 0, noise: float = 0.0) -> Rollout:
    """Each action pushes the state its own way; episodes end now and then."""
    g = torch.Generator().manual_seed(seed)
    obs = torch.randn(32, 4, 3, generator=g)
    if isinstance(actions, spaces.Discrete):
        chosen = torch.randint(int(actions.start), int(actions.start + actions.n), (32, 4), generator=g)
        push = torch.eye(3)[chosen - int(actions.start)]
    else:
        chosen = torch.randn(32, 4, 1, generator=g)
        push = chosen * torch.tensor([1.0, -1.0, 0.5])
    done = torch.rand(32, 4, generator=g) < 0.1
    after = obs + push + noise * torch.randn(32, 4, 3, generator=g)
    obs[1:] = torch.where(done[:-1, :, None], obs[1:], after[:-1])
    return Rollout(obs, chosen, obs + push, torch.zeros(32, 4), done, torch.zeros_like(done))


def consistent(data: Rollout) -> Rollout:
    """Rows made independent: every step ends its episode."""
    return Rollout(data.obs, data.actions, data.next_obs, data.rewards, torch.ones_like(data.done), data.truncated)


def each(icm: ICM, obs: torch.Tensor, actions: torch.Tensor, after: torch.Tensor) -> Steps:
    """The steps one by one, none taken for another's equal."""
    phi = icm.features.encoder
    return Steps(phi(obs), actions, phi(after), after, torch.arange(len(actions)))


DISCRETE, SHIFTED, BOX = spaces.Discrete(3), spaces.Discrete(3, start=5), spaces.Box(-1, 1, (1,), np.float32)


@pytest.mark.parametrize("actions", [DISCRETE, SHIFTED, BOX])
def test_bonus_equals_half_the_mean_squared_error_in_float64(actions: spaces.Space) -> None:
    icm, data = ICM(context(actions)), consistent(world(actions))
    encoder, model = deepcopy(icm.features.encoder).double(), deepcopy(icm.forward_model).double()
    expected = np.zeros((32, 4))
    for t in range(32):
        for n in range(4):
            phi, phi_next = encoder(data.obs[t, n].double()), encoder(data.next_obs[t, n].double())
            a = data.actions[t, n]
            coded = a.double() if isinstance(actions, spaces.Box) else torch.eye(3)[a - int(actions.start)].double()
            difference = model(torch.cat([phi, coded])) - phi_next
            expected[t, n] = 0.5 * sum(x**2 for x in difference.tolist()) / 8
    np.testing.assert_allclose(icm.reward(data).numpy(), expected, rtol=1e-4)


def test_the_forward_loss_does_not_train_the_encoder() -> None:
    icm, data = ICM(context(DISCRETE)), consistent(world(DISCRETE))
    obs, after, actions = data.obs.flatten(0, 1), data.next_obs.flatten(0, 1), data.actions.flatten()
    losses = icm._losses(each(icm, obs, actions, after))
    parameters = list(icm.features.encoder.parameters())
    assert all(
        g is None for g in torch.autograd.grad(losses["forward_loss"], parameters, allow_unused=True, retain_graph=True)
    )
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(losses["inverse_loss"], parameters))
    assert losses["loss"].item() == pytest.approx(losses["forward_loss"].item() + losses["inverse_loss"].item())


@pytest.mark.parametrize("actions", [DISCRETE, BOX])
def test_both_models_learn_the_world(actions: spaces.Space) -> None:
    torch.manual_seed(0)
    icm, data = ICM(context(actions), lr=5e-3), consistent(world(actions))
    first = icm.update(data)
    for _ in range(150):
        last = icm.update(data)
    assert last["inverse_loss"] < 0.3 * first["inverse_loss"]
    assert last["forward_loss"] < 0.5 * first["forward_loss"]
    if actions is DISCRETE:
        assert last["accuracy"] > 0.9
        assert 1 / 3 <= last["chance"] < 0.5


def test_equal_steps_are_learned_as_often_as_they_were_made() -> None:
    space = spaces.Box(0, 2, (3,), np.uint8)
    torch.manual_seed(0)
    icm = ICM(Context(space, DISCRETE, 4, lambda: Whole(space, 3)))
    parameters, g = list(icm.parameters()), torch.Generator().manual_seed(1)
    obs, after = torch.randint(2, (2, 64, 4, 3), generator=g).byte()
    ends, never = torch.ones(64, 4, dtype=torch.bool), torch.zeros(64, 4, dtype=torch.bool)
    data = Rollout(obs, torch.randint(3, (64, 4), generator=g), after, torch.zeros(64, 4), ends, never)
    wanted = icm._losses(each(icm, obs.flatten(0, 1), data.actions.flatten(), after.flatten(0, 1)))
    gradients = torch.autograd.grad(wanted["loss"], parameters)
    metrics = icm.update(data)
    assert metrics == pytest.approx({name: value.item() for name, value in wanted.items()}, rel=1e-4)
    for p, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-3, atol=1e-6)


def test_random_features_stay_as_they_were_made_and_have_no_inverse_model() -> None:
    torch.manual_seed(0)
    icm, data = ICM(context(DISCRETE), lr=5e-3, features="random"), consistent(world(DISCRETE))
    before, reward = deepcopy(icm.features.encoder.state_dict()), icm.reward(data).mean()
    for _ in range(100):
        metrics = icm.update(data)
    assert set(metrics) == {"loss", "forward_loss"}
    assert all(torch.equal(before[k], v) for k, v in icm.features.encoder.state_dict().items())
    assert icm.reward(data).mean() < 0.2 * reward


def test_without_the_stop_both_losses_reach_the_features_under_pathaks_weights() -> None:
    icm, data = ICM(context(DISCRETE), stop_gradient=False), consistent(world(DISCRETE))
    obs, after, actions = data.obs.flatten(0, 1), data.next_obs.flatten(0, 1), data.actions.flatten()
    losses = icm._losses(each(icm, obs, actions, after))
    gradients = torch.autograd.grad(losses["forward_loss"], list(icm.features.encoder.parameters()), retain_graph=True)
    assert all(g.abs().sum() > 0 for g in gradients)
    expected = 0.2 * 8 * losses["forward_loss"].item() + 0.8 * losses["inverse_loss"].item()
    assert losses["loss"].item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="stop_gradient"):
        ICM(context(DISCRETE), features="random", stop_gradient=False)


def test_an_autoencoder_learns_the_views_reached() -> None:
    torch.manual_seed(0)
    icm, data = ICM(context(DISCRETE), lr=5e-3, features="autoencoder"), consistent(world(DISCRETE))
    after = data.next_obs.flatten(0, 1)
    with torch.no_grad():
        rebuilt = icm.features.head(icm.features.encoder(after))  # type: ignore[misc]
    expected = ((rebuilt - (after + 10) / 20) ** 2).mean().item()
    metrics = icm.update(data)
    assert set(metrics) == {"loss", "forward_loss", "autoencoder_loss"}
    assert metrics["autoencoder_loss"] == pytest.approx(expected, rel=1e-4)
    for _ in range(100):
        last = icm.update(data)
    assert last["autoencoder_loss"] < 0.2 * metrics["autoencoder_loss"]


def test_unsupported_actions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="MultiDiscrete"):
        ICM(context(spaces.MultiDiscrete([2, 2])))


def test_without_the_stop_gradient_flows_into_both_views() -> None:
    icm, data = ICM(context(DISCRETE), stop_gradient=False), consistent(world(DISCRETE))
    obs, after, actions = data.obs.flatten(0, 1), data.next_obs.flatten(0, 1), data.actions.flatten()
    phi, phi_next = icm.features.encoder(obs), icm.features.encoder(after)
    predicted = icm.forward_model(torch.cat([phi, torch.eye(3)[actions]], -1))
    literal = (predicted - phi_next).square().mean() / 2
    got, expected = (
        torch.autograd.grad(loss, list(icm.features.encoder.parameters()))
        for loss in (icm._losses(each(icm, obs, actions, after))["forward_loss"], literal)
    )
    torch.testing.assert_close(got, expected)
