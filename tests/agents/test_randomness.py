"""What is drawn inside shifts nobody's stream, and no GPU is begun for it."""

from __future__ import annotations

import pytest
import torch

from agents import randomness


def test_the_stream_goes_on_as_if_nothing_had_been_drawn() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    with randomness.kept():
        torch.manual_seed(2)
        torch.rand(5)
    assert torch.equal(torch.rand(3), wanted)


def test_a_gpu_that_nobody_uses_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked.append)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_args: None)
    with randomness.kept():
        assert not asked
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with randomness.kept():
        assert len(asked) == 1
