"""VICReg: the three terms against loops in float64, what each is for, and what a ring teaches."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from agents.objectives.vicreg import VICReg
from tests.agents.ring import CONTEXT, Encoder, everything, ring, train, walk

INDEX = torch.arange(12), torch.arange(12) * 5 % 24


def embeddings(objective: VICReg, encoder: Encoder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, e and e' of the minibatch in float64; the expander written out."""
    phi, expander, data = deepcopy(encoder).double(), deepcopy(objective.expander).double(), walk()
    z, z_next = (phi(x[INDEX].double()).detach().numpy() for x in (data.obs, data.next_obs))
    out = []
    for features in (z, z_next):
        x = features
        for layer in (0, 3):
            x = x @ expander[layer].weight.detach().numpy().T
            x = np.maximum(0, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5))
        out.append(x @ expander[6].weight.detach().numpy().T)
    return z, out[0], out[1]


def test_loss_and_terms_equal_loops_in_float64() -> None:
    torch.manual_seed(0)
    objective, encoder = VICReg(CONTEXT, sim=3.0, std=5.0, cov=7.0, width=6), Encoder()
    z, *both = embeddings(objective, encoder)
    m, d = both[0].shape
    invariance = sum((both[0][i, k] - both[1][i, k]) ** 2 for i in range(m) for k in range(d)) / (m * d)
    variance = covariance = 0.0
    for e in both:
        mean = [sum(e[i, k] for i in range(m)) / m for k in range(d)]
        for k in range(d):
            for j in range(d):
                c = sum((e[i, k] - mean[k]) * (e[i, j] - mean[j]) for i in range(m)) / (m - 1)
                if k == j:
                    variance += max(0.0, 1 - (c + 1e-4) ** 0.5) / d / 2
                else:
                    covariance += c**2 / d
    total = (3 * invariance + 5 * variance + 7 * covariance) / 25
    loss, metrics = objective.loss(encoder, walk(), INDEX)
    assert loss.item() == pytest.approx(total, rel=1e-4)
    spread = (z / np.linalg.norm(z, axis=1, keepdims=True)).std(0).mean()
    terms = {"invariance": invariance, "variance": variance, "covariance": covariance, "spread": spread}
    assert metrics == pytest.approx({"loss": total} | terms, rel=1e-4)


def test_gradient_flows_into_both_views() -> None:
    objective, encoder, data = VICReg(CONTEXT, std=0.0, cov=0.0, width=8), Encoder(), walk()
    z, z_next = encoder(data.obs[INDEX]), encoder(data.next_obs[INDEX])
    literal = F.mse_loss(objective.expander(z), objective.expander(z_next))
    half = F.mse_loss(objective.expander(z), objective.expander(z_next.detach()))
    loss = objective.loss(encoder, data, INDEX)[0]
    got, expected, stopped = (
        torch.autograd.grad(x, encoder.net[0].weight, retain_graph=True)[0] for x in (loss, literal, half)
    )
    torch.testing.assert_close(got, expected)
    assert not torch.allclose(got, stopped)


def test_the_pair_at_an_end_is_the_true_successor() -> None:
    """What the next episode begins with is not looked at; what the ended one came to is."""
    ended = torch.zeros(3, 24).bool()
    ended[1] = True
    moves, index = torch.ones(3, 24).long(), (torch.ones(24).long(), torch.arange(24))
    objective, encoder, losses = VICReg(CONTEXT), Encoder(), []
    for change in (None, "obs", "next_obs"):
        data = ring(moves, ended)
        if change == "obs":
            data.obs[2] = 9.0
        elif change == "next_obs":
            assert isinstance(data.next_obs, Tensor)
            data.next_obs[1] = data.next_obs[1].roll(1, 0)
        losses.append(objective.loss(encoder, data, index)[0])
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_without_the_variance_term_embeddings_collapse_and_with_it_they_do_not() -> None:
    torch.manual_seed(0)
    healthy, collapsed = (train(VICReg(CONTEXT, std=std, width=32), walk, updates=250) for std in (25.0, 0.0))
    assert collapsed["invariance"] < 0.02 * healthy["invariance"]
    assert collapsed["variance"] > 0.9  # every component's std is below a tenth
    assert healthy["variance"] < 0.3


def test_the_covariance_term_takes_correlation_away() -> None:
    torch.manual_seed(0)
    with_it, without = (train(VICReg(CONTEXT, cov=cov, width=32), walk, updates=250) for cov in (1.0, 0.0))
    assert with_it["covariance"] < 0.5 * without["covariance"]


def test_shuffled_pairs_leave_no_less_than_seven_eighths() -> None:
    """Unrelated views differ by twice their variance: 2 std^2 + 1 - std is least at std = 1/4, where it is 7/8."""
    torch.manual_seed(0)
    true, control = (
        train(VICReg(CONTEXT, shuffled=shuffled, width=32), walk, updates=200, lr=1e-2) for shuffled in (False, True)
    )
    assert control["loss"] == pytest.approx(7 / 8, abs=0.01)
    assert true["loss"] < 0.6


def test_a_single_step_is_refused() -> None:
    data = walk()
    with pytest.raises(ValueError, match="choose a batch_size"):
        VICReg(CONTEXT).loss(Encoder(), data, (torch.tensor([0]), torch.tensor([0])))
    assert VICReg(CONTEXT).loss(Encoder(), data, everything(data))[0].isfinite()
