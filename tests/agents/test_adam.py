"""Compiled Adam against torch's own with torch's own clipping, rows that never move included."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents.adam import Adam


class Table(nn.Module):
    """A lookup of which only some rows are ever asked for, then a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.layer = nn.Parameter(torch.randn(40, 12)), nn.Linear(12, 3)
        self.unused = nn.Parameter(torch.ones(2))

    def loss(self, step: int) -> Tensor:
        index = torch.tensor([0, 3, 3, 7 + step % 5])
        return (self.layer(self.rows[index]) - step).square().sum()


def pair(**options: Any) -> tuple[Table, Any, Table, Any]:
    torch.manual_seed(0)
    ours = Table()
    theirs = copy.deepcopy(ours)
    return ours, Adam(ours.parameters(), **options), theirs, torch.optim.Adam(theirs.parameters(), **options)


def advance(model: Table, optimiser: Any, step: int, max_norm: float) -> None:
    optimiser.zero_grad()
    model.loss(step).backward()
    if isinstance(optimiser, Adam):
        optimiser.step(max_norm=max_norm)
    else:
        if max_norm < math.inf:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimiser.step()


@pytest.mark.parametrize("max_norm", [0.5, 1e9, math.inf])
@pytest.mark.parametrize("options", [{"lr": 0.1, "eps": 1e-5}, {"lr": 1e-2, "betas": (0.5, 0.9)}])
def test_it_is_torchs_adam_after_torchs_clipping(options: Any, max_norm: float) -> None:
    ours, our_optimiser, theirs, their_optimiser = pair(**options)
    start = ours.rows.detach().clone()
    for step in range(30):
        advance(ours, our_optimiser, step, max_norm)
        advance(theirs, their_optimiser, step, max_norm)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.rows[20:], start[20:])
    assert not torch.equal(ours.rows[7], start[7])
    for a, b in zip(our_optimiser.state.values(), their_optimiser.state.values(), strict=True):
        assert a["step"] == b["step"] == 30
        torch.testing.assert_close(a["exp_avg_sq"], b["exp_avg_sq"], rtol=1e-3, atol=1e-9)


def test_a_row_goes_on_moving_after_its_last_gradient() -> None:
    ours, optimiser, *_ = pair(lr=0.1)
    advance(ours, optimiser, 0, math.inf)  # step 0 touches row 7, step 1 does not
    before = ours.rows[7].detach().clone()
    advance(ours, optimiser, 1, math.inf)
    assert not torch.equal(ours.rows[7], before)


def test_its_state_loads_into_either_and_goes_on_equally() -> None:
    ours, our_optimiser, theirs, their_optimiser = pair(lr=0.05)
    for step in range(5):
        advance(ours, our_optimiser, step, 0.5)
    theirs.load_state_dict(ours.state_dict())
    their_optimiser.load_state_dict(copy.deepcopy(our_optimiser.state_dict()))
    again = copy.deepcopy(ours)
    fresh = Adam(again.parameters(), lr=1.0)
    advance(again, fresh, 0, 0.5)  # its views exist already when the state comes
    again.load_state_dict(ours.state_dict())
    fresh.load_state_dict(copy.deepcopy(our_optimiser.state_dict()))
    for step in range(5, 10):
        advance(ours, our_optimiser, step, 0.5)
        advance(again, fresh, step, 0.5)
        advance(theirs, their_optimiser, step, 0.5)
    for a, b, c in zip(ours.parameters(), again.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5)


def test_a_group_has_its_own_rate() -> None:
    a, b = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    optimiser = Adam([{"params": [a], "lr": 0.5}, {"params": [b], "lr": 0.0}])
    (a.sum() + b.sum()).backward()
    optimiser.step()
    torch.testing.assert_close(a.detach(), torch.full((3,), -0.5), rtol=1e-5, atol=0)
    assert not b.any()


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_shows(poison: float) -> None:
    ours, optimiser, *_ = pair(lr=0.1)
    ours.loss(0).backward()
    ours.rows.grad[30] = poison  # type: ignore[index]
    optimiser.step(max_norm=0.5)
    assert not all(torch.isfinite(p).all() for p in ours.parameters())


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"amsgrad": True}])
def test_what_is_not_compiled_is_torchs(options: Any) -> None:
    ours, our_optimiser, theirs, their_optimiser = pair(lr=0.1, **options)
    for step in range(5):
        advance(ours, our_optimiser, step, 0.5)
        advance(theirs, their_optimiser, step, 0.5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_torch_s_compiler_is_never_imported() -> None:
    """It takes longer to import than all that a run needs."""
    code = """
import sys, torch
from agents.adam import Adam
p = torch.nn.Parameter(torch.ones(3))
optimiser = Adam([p])
optimiser.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
p.square().sum().backward()
optimiser.step(max_norm=1.0)
optimiser.zero_grad()
optimiser.load_state_dict(optimiser.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
