"""JEPA: the loss and its terms against float64, episode ends, both sides of the prediction, and what stops collapse."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.context import Context
from agents.encoders.mlp import Mlp
from agents.objectives.jepa import JEPA
from agents.rollout import Rollout
from tests.agents.chain import ACTIONS, CELLS, CONTEXT, Encoder, N, T, learn, looks_beyond_an_end, signals, some, walk

K = 4


def test_loss_and_terms_equal_float64_with_loops() -> None:
    objective, encoder, data = JEPA(CONTEXT, k=K), Encoder(), walk(ends=0.2)
    with torch.no_grad():
        encoder.net[2].weight.mul_(30)  # so that some features vary by more than 1
    index = some(40)
    loss, metrics = objective.loss(encoder, data, index)
    model = objective.model
    phi, predictor, inverse = (deepcopy(m).double() for m in (encoder, model.transition.net, model.inverse_head))
    z, wrong, changed, told, right, taken = [], [], [], [], [], []
    with torch.no_grad():
        for t, n in list(zip(*(one.tolist() for one in index), strict=True))[::K]:
            now = expected = phi(data.obs[t, n].double())
            z.append(now.numpy())
            for i in range(t, min(t + K, T)):
                a = int(data.actions[i, n])
                following = phi(data.next_obs[i, n].double())
                expected = predictor(torch.cat([expected, torch.eye(2).double()[a]]))
                wrong.append(((expected - following) ** 2).mean().item())
                changed.append(((now - following) ** 2).mean().item())
                logits = inverse(torch.cat([now, following])).numpy()
                told.append(np.log(np.exp(logits).sum()) - logits[a])
                right.append(logits.argmax() == a)
                taken.append(a)
                now = following
                z.append(now.numpy())
                if data.done[i, n]:
                    break
    c, d = np.cov(np.array(z).T), 16
    hinges = [max(0.0, 1 - np.sqrt(c[i, i] + 1e-4)) for i in range(d)]
    assert 0 in hinges
    pairs = [c[i, j] ** 2 for i in range(d) for j in range(d) if i != j]
    terms = {"prediction": np.mean(wrong), "variance": np.mean(hinges), "covariance": np.mean(pairs)}
    terms |= {"similarity": np.mean(changed), "inverse": np.mean(told)}
    weighed = np.dot([1, 16, 8, 12, 1], list(terms.values())) / 16
    assert loss.item() == pytest.approx(weighed, rel=1e-5)
    share = np.mean(taken)
    gauges = {"accuracy": np.mean(right), "chance": max(share, 1 - share)}
    assert metrics == pytest.approx({"loss": weighed} | terms | gauges | {"spread": metrics["spread"]}, rel=1e-4)


def test_spread_is_that_of_the_directions() -> None:
    encoder, (t, n) = Encoder(), some(40)
    z = encoder(walk().obs[t[::8], n[::8]]).detach().double()
    expected = (z / z.norm(dim=1, keepdim=True)).numpy().std(0).mean()
    assert JEPA(CONTEXT).loss(encoder, walk(), (t, n))[1]["spread"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("term", ["variance", "covariance", "similarity", "inverse"])
def test_a_weight_scales_its_own_term(term: str) -> None:
    data, index, encoder = walk(), some(64), Encoder()
    with torch.no_grad():
        encoder.net[2].weight.mul_(12)
    losses = []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        loss, metrics = JEPA(CONTEXT, **{term: weight}).loss(encoder, data, index)
        losses.append(loss.item())
    assert losses[1] - losses[0] == pytest.approx(2 * metrics[term] / 16, rel=1e-3)


def test_nothing_behind_an_end_counts() -> None:
    assert looks_beyond_an_end(JEPA(CONTEXT)) == (False, True)


def test_the_prediction_pulls_at_both_sides() -> None:
    off = {"variance": 0.0, "covariance": 0.0, "similarity": 0.0, "inverse": 0.0}
    objective, encoder, data, index = JEPA(CONTEXT, k=1, **off), Encoder(), walk(), some(64)
    whole = torch.autograd.grad(objective.loss(encoder, data, index)[0], encoder.net[0].weight)[0]
    z, z_next = encoder(data.obs[index]), encoder(data.next_obs[index])
    sides = []
    for left, right in ((z, z_next.detach()), (z.detach(), z_next)):
        error = (objective.model.transition(left, data.actions[index]) - right).square().mean() / 16
        sides.append(torch.autograd.grad(error, encoder.net[0].weight, retain_graph=True)[0])
    assert all(side.abs().sum() > 0 for side in sides)
    torch.testing.assert_close(whole, sides[0] + sides[1])


def spread_of_cells(**options: float) -> tuple[float, dict[str, float]]:
    """Mean std of the features over the chain's cells after learning, and the last metrics."""
    torch.manual_seed(0)
    encoder, history = learn(JEPA(CONTEXT, **options), 150)
    with torch.no_grad():
        return encoder(torch.eye(CELLS)).std(0).mean().item(), history[-1]


def test_without_variance_and_inverse_the_features_collapse() -> None:
    healthy, metrics = spread_of_cells()
    collapsed, blind = spread_of_cells(variance=0.0, inverse=0.0)
    assert healthy > 0.5
    assert metrics["accuracy"] > 0.95
    assert collapsed < 0.02 * healthy
    assert blind["accuracy"] < 0.7


def share_of_what_moves(similarity: float, updates: int = 300) -> float:
    """Beside the cell a view holds 12 numbers that stay throughout an episode: the cell's share of the variance."""
    space, cells = spaces.Box(-10, 10, (CELLS + 12,), np.float32), torch.eye(CELLS)

    def world(seed: int) -> Rollout:
        data, g = walk(seed, 0.0), torch.Generator().manual_seed(seed)
        still = torch.randn(1, N, 12, generator=g).expand(T, N, 12)
        return replace(data, obs=torch.cat([data.obs, still], -1), next_obs=torch.cat([data.next_obs, still], -1))

    torch.manual_seed(0)
    encoder = Mlp(space, hidden=(64, 16))
    objective = JEPA(Context(space, ACTIONS, N, lambda: Mlp(space, hidden=(64, 16))), similarity=similarity)
    optimiser = torch.optim.Adam([*objective.parameters(), *encoder.parameters()], 3e-3)
    for i in range(updates):
        loss, _ = objective.loss(encoder, world(i), some(256, i))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        still = torch.randn(200, 12)
        views = torch.cat([cells[:, None].expand(CELLS, 200, CELLS), still.expand(CELLS, 200, 12)], -1)
        z = encoder(views.flatten(0, 1)).unflatten(0, (CELLS, 200))
    return (z.mean(1).var(0, correction=0).sum() / z.flatten(0, 1).var(0, correction=0).sum()).item()


def test_the_published_similarity_leaves_the_features_to_what_stands_still() -> None:
    published, lower = share_of_what_moves(12.0), share_of_what_moves(0.75)
    assert published < 0.02
    assert lower > 5 * published


def test_shuffled_pairs_leave_nothing_to_learn() -> None:
    learned, control = signals(lambda shuffled: JEPA(CONTEXT, shuffled=shuffled))
    assert learned > 1.5
    assert control == pytest.approx(1, abs=0.1)


def test_unsupported_actions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="MultiDiscrete"):
        JEPA(Context(CONTEXT.observation_space, spaces.MultiDiscrete([2, 2]), N, Encoder))


def test_gradient_of_the_inverse_model_flows_into_both_views() -> None:
    off = {"variance": 0.0, "covariance": 0.0, "similarity": 0.0}
    objective, encoder, data, index = JEPA(CONTEXT, k=1, **off), Encoder(), walk(), some(64)
    z, z_next, a = encoder(data.obs[index]), encoder(data.next_obs[index]), data.actions[index]
    prediction = (objective.model.transition(z, a) - z_next).square().mean()
    logits = objective.model.inverse_head(torch.cat([z, z_next], -1))
    literal = (prediction - logits.log_softmax(-1)[torch.arange(64), a].mean()) / 16
    got, expected = (
        torch.autograd.grad(loss, list(encoder.parameters()))
        for loss in (objective.loss(encoder, data, index)[0], literal)
    )
    torch.testing.assert_close(got, expected)
