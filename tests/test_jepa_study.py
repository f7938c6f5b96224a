"""The study of the latent world model's terms: the same data for every variant, and a page from a small run."""

from __future__ import annotations

import pytest
import torch

from studies import jepa
from studies._jepa_page import jepa as page


def test_a_walk_tells_the_factors_of_its_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jepa, "ROLLOUTS", 1)
    (rollout, factors), *_ = jepa.walk(0, 0)
    assert factors.shape == (jepa.STEPS, jepa.COPIES, 6)
    for k, colour in enumerate((1, 0, 2)):  # the agent is green, the goal red, the distractor blue
        lit = rollout.obs[:, :, colour] == 255  # type: ignore[index]
        x, y = factors[..., 2 * k], factors[..., 2 * k + 1]
        t, n = torch.meshgrid(torch.arange(jepa.STEPS), torch.arange(jepa.COPIES), indexing="ij")
        assert lit[t, n, y, x].all()
        assert (lit.flatten(2).sum(2) == 1).all()


def test_a_small_run_gives_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROLLOUTS", "EPOCHS"):
        monkeypatch.setattr(jepa, name, 1)
    monkeypatch.setattr(jepa, "STEPS", 16)
    run = jepa.one(0)
    assert len(run["variants"]) == 1 + 2 * 4
    assert run["variants"]["untrained"]["share"] == 1
    text = page(jepa.content([run | {"seed": seed} for seed in range(5)]))
    assert "similarity 12, without inverse" in text
    assert text.count("collapsed in") == 6
