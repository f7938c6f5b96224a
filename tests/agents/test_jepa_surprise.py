"""Surprise of the world model: the reward against float64 with loops, what is on its way, and what it learns."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.curiosity.jepa_surprise import JEPASurprise
from agents.objectives.jepa import JEPA
from agents.rollout import Rollout
from tests.agents.test_disagreement import world
from tests.agents.test_icm import context as icm_context
from tests.agents.worlds import WORLDS, N, T, context, rollout

K = 3


def part(data: Rollout, rows: slice) -> Rollout:
    fields = ("obs", "actions", "next_obs", "rewards", "terminated", "truncated")
    return replace(data, **{name: getattr(data, name)[rows] for name in fields})


def literal(bonus: JEPASurprise, data: Rollout) -> np.ndarray:
    """[T, N], each prediction made anew from where it starts, within its episode and no more than K steps before."""
    assert isinstance(data.obs, torch.Tensor) and isinstance(data.next_obs, torch.Tensor)
    phi, predictor = deepcopy(bonus.encoder).double(), deepcopy(bonus.model.transition.net).double()
    code = torch.eye(2).double()
    expected = np.zeros(tuple(data.shape))
    with torch.no_grad():
        for t, n in np.ndindex(*expected.shape):
            reached, errors = phi.net(data.next_obs[t, n].double()), []
            for start in range(t, max(-1, t - K), -1):
                if start < t and data.done[start, n]:
                    break
                z = phi.net(data.obs[start, n].double())
                for i in range(start, t + 1):
                    z = predictor(torch.cat([z, code[data.actions[i, n]]]))
                errors.append(((z - reached) ** 2).mean().item())
            expected[t, n] = np.mean(errors)
    return expected


def test_the_reward_equals_float64_with_loops() -> None:
    bonus, data = JEPASurprise(context("vector"), k=K), rollout("vector", seed=0)
    np.testing.assert_allclose(bonus.reward(data).numpy(), literal(bonus, data), rtol=1e-4)


def test_predictions_on_their_way_reach_into_the_next_rollout() -> None:
    bonus, data = JEPASurprise(context("vector"), k=K), rollout("vector", seed=1)
    expected = literal(bonus, data)
    for rows in (slice(0, 1), slice(1, 9), slice(9, T)):
        np.testing.assert_allclose(bonus.reward(part(data, rows)).numpy(), expected[rows], rtol=1e-4)


def test_it_learns_by_the_loss_of_the_objective() -> None:
    bonus, data = JEPASurprise(context("vector"), k=K), rollout("vector", seed=2)
    objective = JEPA(context("vector"), k=K, similarity=0.0)
    objective.model.load_state_dict(bonus.model.state_dict())
    encoder = deepcopy(bonus.encoder)
    order = deepcopy(bonus.shuffle).draw(T * N)[0]
    loss, metrics = objective.loss(encoder, data, (order // N, order % N))
    del metrics["spread"]
    assert bonus.update(data) == pytest.approx(metrics, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(bonus.encoder.net[0].weight.grad, encoder.net[0].weight.grad)


@pytest.mark.parametrize("name", WORLDS)
def test_one_update_moves_all_that_is_trainable(name: str) -> None:
    bonus = JEPASurprise(context(name), k=K)
    before = {key: p.clone() for key, p in bonus.named_parameters()}
    bonus.update(rollout(name, seed=3))
    assert all(not torch.equal(before[key], p) for key, p in bonus.named_parameters())


def test_it_learns_a_deterministic_world_and_stays_on_noise() -> None:
    late = {}
    for noise in (0.0, 2.0):
        torch.manual_seed(0)
        bonus = JEPASurprise(icm_context(spaces.Discrete(2)), lr=3e-3, k=1)
        for i in range(250):
            late[noise] = bonus.update(world(i, noise))["prediction"]
    assert late[2.0] > 5 * late[0.0]


def test_unsupported_actions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="MultiDiscrete"):
        JEPASurprise(icm_context(spaces.MultiDiscrete([2, 2])))
