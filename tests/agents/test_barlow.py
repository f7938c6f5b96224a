"""Barlow Twins: the cross-correlation against loops in float64, and what a ring teaches."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from agents.objectives.barlow import BarlowTwins
from tests.agents.ring import CONTEXT, Encoder, train, walk

INDEX = torch.arange(12), torch.arange(12) * 5 % 24


def test_loss_and_terms_equal_loops_in_float64() -> None:
    torch.manual_seed(0)
    objective, encoder, data = BarlowTwins(CONTEXT, lambd=0.3, width=6), Encoder(), walk()
    phi, expander = deepcopy(encoder).double(), deepcopy(objective.expander).double()
    z = phi(data.obs[INDEX].double()).detach()
    raw = [expander(x).detach().numpy() for x in (z, phi(data.next_obs[INDEX].double()))]
    a, b = ((e - e.mean(0)) / np.sqrt(((e - e.mean(0)) ** 2).mean(0) + 1e-5) for e in raw)
    m, d = a.shape
    on = off = 0.0
    for k in range(d):
        for j in range(d):
            c = sum(a[i, k] * b[i, j] for i in range(m)) / m
            on, off = (on + (1 - c) ** 2, off) if k == j else (on, off + c**2)
    loss, metrics = objective.loss(encoder, data, INDEX)
    assert loss.item() == pytest.approx((on + 0.3 * off) / d, rel=1e-4)
    spread = (z / z.norm(dim=1, keepdim=True)).numpy().std(0).mean()
    expected = {"loss": (on + 0.3 * off) / d, "invariance": on / d, "redundancy": off / d, "spread": spread}
    assert metrics == pytest.approx(expected, rel=1e-4)


def test_gradient_flows_into_both_views() -> None:
    objective, encoder, data = BarlowTwins(CONTEXT, width=8), Encoder(), walk()

    def literal(stop: bool) -> torch.Tensor:
        z, z_next = encoder(data.obs[INDEX]), encoder(data.next_obs[INDEX])
        a, b = objective.expander(z), objective.expander(z_next.detach() if stop else z_next)
        a, b = ((e - e.mean(0)) / (e.var(0, correction=0) + 1e-5).sqrt() for e in (a, b))
        wanted = torch.eye(8)
        return ((a.T @ b / 12 - wanted).square() * (wanted + 0.0051 * (1 - wanted))).sum() / 8

    got, expected, stopped = (
        torch.autograd.grad(x, encoder.net[0].weight)[0]
        for x in (objective.loss(encoder, data, INDEX)[0], literal(False), literal(True))
    )
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(got, stopped, rtol=1e-2)


def test_redundancy_is_taken_away_by_lambd() -> None:
    torch.manual_seed(0)
    strong, none = (train(BarlowTwins(CONTEXT, lambd=lambd, width=32), walk, updates=200) for lambd in (0.1, 0.0))
    assert strong["redundancy"] < 0.5 * none["redundancy"]


def test_true_pairs_agree_and_shuffled_ones_do_not() -> None:
    torch.manual_seed(0)
    true, control = (train(BarlowTwins(CONTEXT, shuffled=shuffled), walk, updates=150) for shuffled in (False, True))
    assert control["invariance"] > 0.9  # 1 where each component is unrelated to itself
    assert true["invariance"] < 0.1
