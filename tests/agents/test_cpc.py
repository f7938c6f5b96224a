"""CPC: the loss against float64, a causal context, episode ends, and what its control cannot learn."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from agents.objectives.cpc import CPC
from tests.agents.chain import CONTEXT, Encoder, T, looks_beyond_an_end, signals, some, walk

LENGTH, K = 5, 2


def test_loss_equals_float64_with_loops() -> None:
    objective, encoder, data = CPC(CONTEXT, length=LENGTH, k=K, hidden=6), Encoder(), walk(ends=0.15)
    index = some(40)
    loss, metrics = objective.loss(encoder, data, index)
    phi, gru, W = (deepcopy(m).double() for m in (encoder, objective.gru, objective.W))
    z, c = [], []  # of each sequence, as far as its episode goes
    with torch.no_grad():
        for t, n in list(zip(*(one.tolist() for one in index), strict=True))[::LENGTH]:
            views = [data.obs[t, n]]
            for i in range(LENGTH):
                if t + i == T or (i and data.done[t + i - 1, n]):
                    break
                views.append(data.next_obs[t + i, n])
            z.append(phi(torch.stack(views).double()))
            c.append([gru(z[-1][None, : tau + 1])[1].flatten() for tau in range(len(views))])  # from the views so far
        losses, right, chances = [], [], []
        for k in range(1, K + 1):
            for tau in range(LENGTH + 1 - k):
                there = [i for i in range(len(z)) if len(z[i]) > tau + k]
                for row, i in enumerate(there):
                    logits = np.array([float(W[k - 1](c[i][tau]) @ z[j][tau + k]) for j in there])
                    losses.append(np.log(np.exp(logits).sum()) - logits[row])
                    right.append(logits.argmax() == row)
                    chances.append(1 / len(there))
    assert min(map(len, z)) < max(map(len, z)) == LENGTH + 1
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    expected = {"loss": np.mean(losses), "accuracy": np.mean(right), "chance": np.mean(chances)}
    assert metrics == pytest.approx(expected, rel=1e-5)


def test_nothing_behind_an_end_counts() -> None:
    assert looks_beyond_an_end(CPC(CONTEXT)) == (False, True)


def test_the_gradient_goes_through_what_is_to_be_told() -> None:
    objective, encoder = CPC(CONTEXT, length=4, k=1), Encoder()
    loss, _ = objective.loss(encoder, walk(), some(64))
    assert torch.autograd.grad(loss, encoder.net[0].weight)[0].abs().sum() > 0
    with torch.no_grad():
        for parameter in objective.gru.parameters():
            parameter.zero_()  # the context is blind now
    loss, _ = objective.loss(encoder, walk(), some(64))
    assert torch.autograd.grad(loss, encoder.net[0].weight)[0].abs().sum() > 0  # through what is to be told alone


def test_the_gradient_goes_through_the_context() -> None:
    objective, data = CPC(CONTEXT, length=4, k=1), walk()

    def gradient(encoder: Encoder) -> torch.Tensor:
        loss, _ = objective.loss(encoder, data, some(64))
        return torch.autograd.grad(loss, encoder.net[0].weight)[0]

    encoder = Encoder()
    whole = gradient(encoder)
    gru = objective.gru.forward
    objective.gru.forward = lambda z, *state: gru(z.detach(), *state)  # type: ignore[method-assign]
    alone = gradient(encoder)
    assert not torch.allclose(whole, alone)


def test_it_tells_the_future_and_its_control_does_not() -> None:
    learned, control = signals(lambda shuffled: CPC(CONTEXT, shuffled=shuffled))
    assert learned > 1.5
    assert control == pytest.approx(1, abs=0.1)


def test_sequences_must_be_as_long_as_the_prediction() -> None:
    with pytest.raises(ValueError, match=r"k=4 .* length=3"):
        CPC(CONTEXT, length=3, k=4)
