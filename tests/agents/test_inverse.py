"""Inverse dynamics: the loss against a literal softmax, the chance level by hand, and that it learns."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents.context import Context
from agents.objectives.inverse import InverseDynamics
from agents.rollout import Rollout
from tests.agents import chain

SPACE = spaces.Box(-10, 10, (3,), np.float32)
DISCRETE, BOX = spaces.Discrete(3, start=1), spaces.Box(-1, 1, (2,), np.float32)
ALL = torch.arange(8).repeat_interleave(4), torch.arange(4).repeat(8)


class Encoder(BaseFeaturesExtractor):
    def __init__(self) -> None:
        super().__init__(SPACE, 6)
        self.net = nn.Linear(3, 6)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.net(observations)


def world(actions: spaces.Space) -> Rollout:
    g = torch.Generator().manual_seed(0)
    obs, flags = torch.randn(8, 4, 3, generator=g), torch.zeros(8, 4).bool()
    if isinstance(actions, spaces.Discrete):
        chosen = torch.randint(1, 4, (8, 4), generator=g)
        after = obs + torch.eye(3)[chosen - 1]
    else:
        chosen = torch.randn(8, 4, 2, generator=g)
        after = obs + torch.cat([chosen, chosen.sum(-1, keepdim=True)], -1)
    return Rollout(obs, chosen, after, torch.zeros(8, 4), flags, flags)


def test_discrete_loss_accuracy_and_chance_by_hand() -> None:
    objective, encoder, data = InverseDynamics(Context(SPACE, DISCRETE, 4, Encoder)), Encoder(), world(DISCRETE)
    index = torch.tensor([0, 3, 3, 7, 5]), torch.tensor([1, 0, 2, 3, 1])
    total, right, names = 0.0, 0, []
    for t, n in zip(*index, strict=True):
        logits = objective.head(torch.cat([encoder(data.obs[t, n]), encoder(data.next_obs[t, n])])).tolist()
        a = int(data.actions[t, n]) - 1
        total += math.log(sum(map(math.exp, logits))) - logits[a]
        right += logits.index(max(logits)) == a
        names.append(a)
    loss, metrics = objective.loss(encoder, data, index)
    assert loss.item() == pytest.approx(total / 5, rel=1e-5)
    assert metrics == pytest.approx(
        {"loss": total / 5, "accuracy": right / 5, "chance": max(map(names.count, names)) / 5}, rel=1e-5
    )


def test_box_loss_and_chance_by_hand() -> None:
    objective, encoder, data = InverseDynamics(Context(SPACE, BOX, 4, Encoder)), Encoder(), world(BOX)
    loss, metrics = objective.loss(encoder, data, ALL)
    features = torch.cat([encoder(data.obs[ALL]), encoder(data.next_obs[ALL])], -1)
    actions = data.actions[ALL].double().numpy()
    error = (objective.head(features).detach().double().numpy() - actions) ** 2
    assert metrics == pytest.approx({"loss": error.mean(), "chance": actions.var(0).mean()}, rel=1e-5)
    assert loss.item() == pytest.approx(error.mean(), rel=1e-5)


@pytest.mark.parametrize("actions", [DISCRETE, BOX])
def test_encoder_and_head_learn_to_beat_chance(actions: spaces.Space) -> None:
    torch.manual_seed(0)
    objective, encoder, data = InverseDynamics(Context(SPACE, actions, 4, Encoder)), Encoder(), world(actions)
    optimiser = torch.optim.Adam([*objective.parameters(), *encoder.parameters()], lr=1e-2)
    for _ in range(150):
        loss, metrics = objective.loss(encoder, data, ALL)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in encoder.parameters())
        optimiser.step()
    if actions is DISCRETE:
        assert metrics["accuracy"] == 1 > metrics["chance"]
    else:
        assert metrics["loss"] < 0.1 * metrics["chance"]


def test_options_reach_the_base_class() -> None:
    objective = InverseDynamics(
        Context(SPACE, DISCRETE, 4, Encoder), mode="frozen", weight=0.5, pretrain_steps=7, hidden=3
    )
    assert (objective.mode, objective.weight, objective.pretrain_steps) == ("frozen", 0.5, 7)
    assert objective.head[0].out_features == 3


def test_shuffled_pairs_leave_nothing_to_learn() -> None:
    learned, control = chain.signals(lambda shuffled: InverseDynamics(chain.CONTEXT, shuffled=shuffled))
    assert learned > 3
    assert control == pytest.approx(1, abs=0.1)


def test_gradient_flows_into_both_views() -> None:
    objective, encoder, data = InverseDynamics(Context(SPACE, DISCRETE, 4, Encoder)), Encoder(), world(DISCRETE)
    logits = objective.head(torch.cat([encoder(data.obs[ALL]), encoder(data.next_obs[ALL])], -1))
    literal = -logits.log_softmax(-1)[torch.arange(32), data.actions[ALL] - 1].mean()
    got, expected = (
        torch.autograd.grad(loss, list(encoder.parameters()))
        for loss in (objective.loss(encoder, data, ALL)[0], literal)
    )
    torch.testing.assert_close(got, expected)
