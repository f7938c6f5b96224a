"""Self-prediction: the loss against float64, the moving average, the stopped gradient, the gauge of collapse."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents.context import Context
from agents.objectives.self_prediction import SelfPrediction
from agents.rollout import Rollout
from tests.agents import chain

SPACE = spaces.Box(-10, 10, (3,), np.float32)
ALL = torch.arange(8).repeat_interleave(4), torch.arange(4).repeat(8)


class Encoder(BaseFeaturesExtractor):
    def __init__(self) -> None:
        super().__init__(SPACE, 6)
        self.net = nn.Linear(3, 6)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.net(observations)


CONTEXT = Context(SPACE, spaces.Discrete(2), 4, Encoder)


def world() -> Rollout:
    g = torch.Generator().manual_seed(0)
    obs, flags = torch.randn(8, 4, 3, generator=g), torch.zeros(8, 4).bool()
    chosen = torch.randint(2, (8, 4), generator=g)
    return Rollout(obs, chosen, obs * 0.5 + chosen[..., None], torch.zeros(8, 4), flags, flags)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_loss_and_spread_equal_float64(distance: str) -> None:
    objective, encoder, data = SelfPrediction(CONTEXT, distance=distance), Encoder(), world()
    loss, metrics = objective.loss(encoder, data, ALL)
    exact, predictor = deepcopy(encoder).double(), deepcopy(objective.predictor).double()
    z = exact(data.obs[ALL].double()).detach()
    p = predictor(torch.cat([z, torch.eye(2).double()[data.actions[ALL]]], -1)).detach().numpy()
    y = exact(data.next_obs[ALL].double()).detach().numpy()  # the target begins as the encoder
    norms = np.linalg.norm(p, axis=1) * np.linalg.norm(y, axis=1)
    expected = ((p - y) ** 2).mean() if distance == "l2" else (1 - (p * y).sum(1) / norms).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    spread = (z / z.norm(dim=1, keepdim=True)).numpy().std(0).mean()
    assert metrics == pytest.approx({"loss": expected, "spread": spread}, rel=1e-5)


def test_the_target_is_frozen_to_gradients_and_follows_by_tau() -> None:
    objective, encoder, data = SelfPrediction(CONTEXT, tau=0.25), Encoder(), world()
    objective.loss(encoder, data, ALL)
    start = deepcopy(encoder.net.weight.detach())
    with torch.no_grad():
        encoder.net.weight.add_(1.0)
        encoder.seen.fill_(3.0)
    objective.loss(encoder, data, ALL)[0].backward()
    assert torch.equal(objective.target.net.weight, start)  # a later loss does not copy again
    assert all(p.grad is None for p in objective.target.parameters())
    objective.after_step(encoder)
    torch.testing.assert_close(objective.target.net.weight.detach(), start + 0.25)
    objective.after_step(encoder)
    torch.testing.assert_close(objective.target.net.weight.detach(), start + 0.4375)
    assert objective.target.seen == 3.0


def test_loss_and_gradient_are_towards_the_lagging_target() -> None:
    objective, encoder, data = SelfPrediction(CONTEXT), Encoder(), world()
    objective.loss(encoder, data, ALL)
    fixed = deepcopy(encoder)(data.next_obs[ALL]).detach()
    with torch.no_grad():
        encoder.net.weight.mul_(-2.0)
    coded = torch.cat([encoder(data.obs[ALL]), torch.eye(2)[data.actions[ALL]]], -1)
    literal = (objective.predictor(coded) - fixed).square().sum(-1).mean() / 6
    loss = objective.loss(encoder, data, ALL)[0]
    assert loss.item() == pytest.approx(literal.item(), rel=1e-5)
    got, expected = (torch.autograd.grad(x, encoder.net.weight)[0] for x in (loss, literal))
    torch.testing.assert_close(got, expected)


def test_trainable_parameters_are_the_predictor_alone() -> None:
    objective = SelfPrediction(CONTEXT)
    trainable = {id(p) for p in objective.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in objective.predictor.parameters()}


def test_a_loaded_state_keeps_its_target() -> None:
    objective, encoder, data = SelfPrediction(CONTEXT), Encoder(), world()
    objective.loss(encoder, data, ALL)
    resumed, moved = SelfPrediction(CONTEXT), deepcopy(encoder)
    resumed.load_state_dict(objective.state_dict())
    with torch.no_grad():
        moved.net.bias.add_(1.0)
    assert resumed.loss(moved, data, ALL)[0].item() == objective.loss(moved, data, ALL)[0].item()
    assert torch.equal(resumed.target.net.bias, encoder.net.bias)


def test_spread_is_zero_for_collapsed_features() -> None:
    objective, encoder = SelfPrediction(CONTEXT), Encoder()
    healthy = objective.loss(encoder, world(), ALL)[1]["spread"]
    nn.init.zeros_(encoder.net.weight)
    nn.init.ones_(encoder.net.bias)
    assert objective.loss(encoder, world(), ALL)[1]["spread"] == pytest.approx(0, abs=1e-6)
    assert healthy > 0.5 / 6**0.5


def test_prediction_improves_without_collapse() -> None:
    torch.manual_seed(0)
    objective, encoder, data = SelfPrediction(CONTEXT), Encoder(), world()
    optimiser = torch.optim.Adam(
        [p for p in [*objective.parameters(), *encoder.parameters()] if p.requires_grad], lr=3e-3
    )
    history = []
    for _ in range(200):
        loss, metrics = objective.loss(encoder, data, ALL)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(encoder)
        history.append(metrics)
    assert history[-1]["loss"] < 0.1 * history[0]["loss"]
    assert history[-1]["spread"] > 0.5 * history[0]["spread"]


def test_shuffled_pairs_leave_nothing_to_learn() -> None:
    learned, control = chain.signals(lambda shuffled: SelfPrediction(chain.CONTEXT, shuffled=shuffled))
    assert learned > 3
    assert control == pytest.approx(1, abs=0.1)
