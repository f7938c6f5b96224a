"""Layers by oneDNN against torch's own, in value and gradient, on both sides of the size where it takes over."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import agents.layers
from agents.layers import SMALLEST, Dense, Linear, affine, dense_layers

SMALL, LARGE = (4, 5, 3), (1024, 128, 64)  # B, K, D


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_values_and_gradients_are_torchs(shape: tuple[int, int, int], relu: bool, with_bias: bool) -> None:
    b, k, d = shape
    assert (b * k * d >= SMALLEST) == (shape == LARGE)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(b, k), torch.randn(d, k) / k**0.5, torch.randn(d)
    given = [x, weight, *([bias] if with_bias else [])]
    pull = torch.randn(b, d)
    results = []
    for exact in (False, True):
        parts = [(part.double() if exact else part.clone()).requires_grad_() for part in given]
        if exact:
            out = F.linear(*parts)
            out = out.relu() if relu else out
        else:
            out = affine(parts[0], parts[1], parts[2] if with_bias else None, relu=relu)
        results.append([out, *torch.autograd.grad((out * pull).sum(), parts)])
    for ours, wanted in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(
            affine(x, weight, bias if with_bias else None, relu=relu).double(), results[1][0], rtol=1e-4, atol=1e-4
        )


def test_it_is_onednn_that_is_tested() -> None:
    if agents.layers._PRODUCT is None:
        pytest.skip("this build of torch has no oneDNN product")
    x = torch.randn(LARGE[0], LARGE[1])
    layer = Dense(LARGE[1], LARGE[2])
    assert "_Affine" in type(layer(x).grad_fn).__name__
    assert "_Affine" not in type(layer(x[:4]).grad_fn).__name__


def test_other_numbers_take_torchs_way() -> None:
    layer = Linear(LARGE[1], LARGE[2]).double()
    x = torch.randn(LARGE[0], LARGE[1], dtype=torch.float64)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_only_what_asks_for_a_gradient_gets_one() -> None:
    x, layer = torch.randn(LARGE[0], LARGE[1], requires_grad=True), Dense(LARGE[1], LARGE[2]).requires_grad_(False)
    (gradient,) = torch.autograd.grad(layer(x).sum(), [x])
    torch.testing.assert_close(gradient, (layer(x) > 0).float() @ layer.weight, rtol=1e-4, atol=1e-4)


def test_dense_layers_start_as_torchs_do() -> None:
    torch.manual_seed(3)
    ours = dense_layers((6, 5, 4))
    torch.manual_seed(3)
    theirs = [nn.Linear(6, 5), nn.Linear(5, 4)]
    assert [tuple(layer.weight.shape) for layer in ours] == [(5, 6), (4, 5)]  # type: ignore[union-attr]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(ours, theirs, strict=True))  # type: ignore[arg-type]
    assert len(dense_layers((6,))) == 0


def test_autocast_rounds_the_operands_and_nothing_else() -> None:
    if not agents.layers.HAS_BFLOAT16:
        pytest.skip("this processor has no bfloat16 product")
    torch.manual_seed(0)
    x, layer = torch.randn(LARGE[0], LARGE[1]), Linear(LARGE[1], LARGE[2])
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.float32
    exact = layer(x)
    assert not torch.equal(out, exact)
    torch.testing.assert_close(out, exact, rtol=0.02, atol=0.02)
    (gradient,) = torch.autograd.grad(out.sum(), [layer.weight])
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, x.sum(0).expand_as(gradient), rtol=0.02, atol=0.5)
