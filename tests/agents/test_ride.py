"""RIDE: by its formula, halved at the fourth visit, and what its losses reach."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from agents.context import Context
from agents.curiosity._features import Steps
from agents.curiosity.ride import RIDE
from agents.rollout import Rollout, flatten_obs
from tests.agents.test_icm import DISCRETE, Whole
from tests.agents.test_pseudo_counts import context, scripted, walk
from tests.agents.worlds import context as learned
from tests.agents.worlds import rollout


def test_reward_equals_a_literal_loop() -> None:
    torch.manual_seed(0)
    bonus, data, seen = RIDE(learned("vector")), rollout("vector", seed=0), [{} for _ in range(3)]
    found = bonus.reward(data)
    phi = deepcopy(bonus.features.encoder.net).double()
    for t, n in np.ndindex(data.shape):
        if t == 0 or data.done[t - 1, n]:
            seen[n] = {tuple(data.obs[t, n].tolist()): 1}  # type: ignore[index]
        view = tuple(data.next_obs[t, n].tolist())  # type: ignore[index]
        seen[n][view] = seen[n].get(view, 0) + 1
        change = phi(data.next_obs[t, n].double()[None]) - phi(data.obs[t, n].double()[None])  # type: ignore[index]
        expected = (change.detach() ** 2).sum().sqrt().item() / seen[n][view] ** 0.5
        assert found[t, n].item() == pytest.approx(expected, rel=1e-4)


def test_the_fourth_visit_pays_half_of_the_first() -> None:
    reward = RIDE(context(1)).reward(scripted([0, 3, 0, 3, 0, 3, 0], [3, 0, 3, 0, 3, 0, 3], [0] * 7))[:, 0]
    step = 3 * 2**0.5
    roots = [1, 2, 2, 3, 3, 4, 4]  # the start view 0 has one visit already
    assert reward.tolist() == pytest.approx([step / root**0.5 for root in roots])
    assert reward[6] == pytest.approx(reward[0].item() / 2)


def test_visits_of_true_states_are_counted_by_labels_whatever_the_view() -> None:
    bonus, data = RIDE(context(1), state="full"), scripted([0, 3, 0, 3], [3, 0, 3, 0], [0] * 4)
    reward = bonus.reward(replace(data, labels={"cell": torch.tensor([[7], [8], [9], [8]])}))[:, 0]
    assert reward.tolist() == pytest.approx([3 * 2**0.5 / root**0.5 for root in (1, 1, 1, 2)])
    assert bonus.privileged
    assert RIDE(context(1)).privileged is None
    with pytest.raises(ValueError, match="labels"):
        bonus.reward(data)


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_visits_go_on_over_a_rollout_and_end_with_the_episode(kind: str) -> None:
    bonus, end = RIDE(context(1)), [0, 0, 1]
    ends = (end, [0, 0, 0]) if kind == "terminated" else ([0, 0, 0], end)
    bonus.reward(scripted([0], [3], [0]))
    reward = bonus.reward(scripted([3, 0, 3], [0, 3, 0], *ends))[:, 0]
    assert reward.tolist() == pytest.approx([18**0.5 / n**0.5 for n in (2, 2, 3)])
    assert bonus.reward(scripted([0], [3], [0])).item() == pytest.approx(18**0.5)


def test_standing_still_pays_nothing() -> None:
    assert RIDE(context(1)).reward(scripted([3, 3], [3, 3], [0, 0])).tolist() == [[0], [0]]


def test_losses_are_their_formulas_and_both_reach_the_features() -> None:
    torch.manual_seed(0)
    bonus, data = RIDE(learned("vector"), beta=0.5), rollout("vector", seed=1)
    obs, next_obs, actions = flatten_obs(data.obs), flatten_obs(data.next_obs), data.actions.flatten()
    features, which = bonus.features, torch.arange(len(actions))
    losses = bonus._losses(Steps(features(obs), actions, features(next_obs), next_obs, which))
    phi, model, head = (
        deepcopy(m).double() for m in (bonus.features.encoder.net, bonus.forward_model, bonus.features.head)
    )
    x, y = phi(obs.double()), phi(next_obs.double())  # type: ignore[union-attr]
    predicted = model(torch.cat([x, F.one_hot(actions, 2).double()], -1))
    forward = sum(((predicted[i] - y[i]) ** 2).sum().sqrt() for i in range(len(actions))) / len(actions)
    inverse = F.cross_entropy(head(torch.cat([x, y], -1)), actions)  # type: ignore[misc]
    assert losses["forward_loss"].item() == pytest.approx(forward.item(), rel=1e-5)
    assert losses["inverse_loss"].item() == pytest.approx(inverse.item(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx((inverse + 0.5 * forward).item(), rel=1e-5)
    weights = list(bonus.features.encoder.parameters())
    for name in ("forward_loss", "inverse_loss"):
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(losses[name], weights, retain_graph=True))


def test_both_models_learn_a_world_that_can_be_learned() -> None:
    torch.manual_seed(0)
    bonus, data, metrics = RIDE(learned("vector"), lr=3e-3, beta=0.1), rollout("vector", seed=2), []
    for _ in range(80):
        metrics.append(bonus.update(data))
    assert metrics[-1]["inverse_loss"] < 0.5 * metrics[0]["inverse_loss"]
    assert metrics[-1]["forward_loss"] < 0.8 * metrics[0]["forward_loss"]


def test_walks_of_several_environments_are_kept_apart() -> None:
    data = walk(30, 3, 1, seed=3)[0]
    together = RIDE(context(3)).reward(data)
    for n in range(3):
        parts = {k: v[:, n : n + 1] for k, v in vars(data).items() if isinstance(v, torch.Tensor)}
        torch.testing.assert_close(RIDE(context(1)).reward(type(data)(**parts))[:, 0], together[:, n])


def test_gradient_flows_into_both_views() -> None:
    bonus, data = RIDE(learned("vector")), rollout("vector", seed=4)
    obs, next_obs, actions = flatten_obs(data.obs), flatten_obs(data.next_obs), data.actions.flatten()
    x, y = bonus.features(obs), bonus.features(next_obs)
    losses = bonus._losses(Steps(x, actions, y, next_obs, torch.arange(len(actions))))
    predicted = bonus.forward_model(torch.cat([x, F.one_hot(actions, 2)], -1))
    forward = (predicted - y).square().sum(-1).sqrt().mean()
    inverse = F.cross_entropy(bonus.features.head(torch.cat([x, y], -1)), actions)  # type: ignore[misc]
    got, expected = (
        torch.autograd.grad(loss, list(bonus.parameters()), retain_graph=True)
        for loss in (losses["loss"], inverse + 0.1 * forward)
    )
    torch.testing.assert_close(got, expected)


def test_equal_steps_are_learned_as_often_as_they_were_made() -> None:
    space = spaces.Box(0, 2, (3,), np.uint8)
    torch.manual_seed(0)
    bonus = RIDE(Context(space, DISCRETE, 4, lambda: Whole(space, 3)), beta=0.5)
    parameters, g = list(bonus.parameters()), torch.Generator().manual_seed(1)
    obs, after = torch.randint(2, (2, 64, 4, 3), generator=g).byte()
    ends, never = torch.ones(64, 4, dtype=torch.bool), torch.zeros(64, 4, dtype=torch.bool)
    data = Rollout(obs, torch.randint(3, (64, 4), generator=g), after, torch.zeros(64, 4), ends, never)
    before, reached, actions = obs.flatten(0, 1), after.flatten(0, 1), data.actions.flatten()
    phi, which = bonus.features.encoder, torch.arange(256)
    wanted = bonus._losses(Steps(phi(before), actions, phi(reached), reached, which))
    gradients = torch.autograd.grad(wanted["loss"], parameters)
    assert bonus.update(data) == pytest.approx({name: value.item() for name, value in wanted.items()}, rel=1e-4)
    for p, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-3, atol=1e-6)
