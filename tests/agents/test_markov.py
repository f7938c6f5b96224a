"""Markov abstraction: both losses against a literal one, what each trains, and what a walk on a ring teaches."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.context import Context
from agents.objectives.markov import Markov
from agents.rollout import Rollout
from tests.agents.ring import CONTEXT, SPACE, Encoder, everything, train, walk

INDEX = torch.tensor([0, 3, 3, 7, 5]), torch.tensor([1, 0, 2, 3, 1])


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_loss_and_metrics_equal_a_loop_in_float64() -> None:
    torch.manual_seed(0)
    objective, encoder, data = Markov(CONTEXT, inverse=0.5, ratio=2.0), Encoder(), walk()
    exact, heads = deepcopy(encoder).double(), deepcopy(objective).double()
    inverse, ratio, right, told, names = 0.0, 0.0, 0, 0, []
    pairs = list(zip(*(i.tolist() for i in INDEX), strict=True))
    for m, (t, n) in enumerate(pairs):
        z, z_next = exact(data.obs[t, n].double()), exact(data.next_obs[t, n].double())
        other = exact(data.next_obs[pairs[m - 1]].double())
        logits, a = heads.inverse_head(torch.cat([z, z_next])).tolist(), int(data.actions[t, n])
        inverse += math.log(sum(map(math.exp, logits))) - logits[a]
        right += logits.index(max(logits)) == a
        names.append(a)
        real, fake = (heads.ratio_head(torch.cat([z, later])).item() for later in (z_next, other))
        ratio += (softplus(-real) + softplus(fake)) / 2
        told += (real > 0) + (fake <= 0)
    loss, metrics = objective.loss(encoder, data, INDEX)
    assert loss.item() == pytest.approx((0.5 * inverse + 2 * ratio) / 5, rel=1e-5)
    expected = {"loss": loss.item(), "inverse_loss": inverse / 5, "ratio_loss": ratio / 5, "ratio_accuracy": told / 10}
    expected |= {"accuracy": right / 5, "chance": max(map(names.count, names)) / 5}
    assert metrics == pytest.approx(expected, rel=1e-5)


def test_continuous_actions_are_regressed() -> None:
    data, actions = walk(), torch.randn(12, 24, 2)
    data = Rollout(data.obs, actions, data.next_obs, data.rewards, data.terminated, data.truncated)
    objective = Markov(Context(SPACE, spaces.Box(-1, 1, (2,), np.float32), 24, Encoder))
    metrics = objective.loss(Encoder(), data, everything(data))[1]
    assert metrics["chance"] == pytest.approx(actions.flatten(0, 1).double().numpy().var(0).mean(), rel=1e-5)


def test_each_head_learns_from_its_own_loss_and_the_encoder_from_both() -> None:
    for weights, idle in (({"inverse": 0.0}, "inverse_head"), ({"ratio": 0.0}, "ratio_head")):
        objective, encoder, data = Markov(CONTEXT, **weights), Encoder(), walk()
        objective.loss(encoder, data, everything(data))[0].backward()
        for name, parameter in objective.named_parameters():
            assert bool(parameter.grad.abs().sum() > 0) == (not name.startswith(idle)), name
        assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_gradient_flows_into_both_views() -> None:
    objective, encoder, data = Markov(CONTEXT), Encoder(), walk()
    z, z_next = encoder(data.obs[INDEX]), encoder(data.next_obs[INDEX])
    other = torch.stack([z_next[m - 1] for m in range(5)])
    logits = objective.inverse_head(torch.cat([z, z_next], -1))
    literal = -logits.log_softmax(-1)[torch.arange(5), data.actions[INDEX]].mean()
    real, fake = (objective.ratio_head(torch.cat([z, later], -1)).sigmoid() for later in (z_next, other))
    literal = literal - (real.log().mean() + (1 - fake).log().mean()) / 2
    got, expected = (
        torch.autograd.grad(loss, list(encoder.parameters()))
        for loss in (objective.loss(encoder, data, INDEX)[0], literal)
    )
    torch.testing.assert_close(got, expected)


def test_true_pairs_teach_actions_and_neighbours_and_shuffled_ones_do_not() -> None:
    torch.manual_seed(0)
    true, control = (train(Markov(CONTEXT, shuffled=shuffled), walk, updates=150) for shuffled in (False, True))
    assert true["accuracy"] > 0.95
    assert true["ratio_accuracy"] > 0.85  # a fake pair is by chance a neighbour, too
    assert control["accuracy"] < control["chance"] + 0.1
    assert control["ratio_accuracy"] == pytest.approx(0.5, abs=0.05)
    assert control["ratio_loss"] > 0.95 * math.log(2)
