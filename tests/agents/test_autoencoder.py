"""Autoencoder: what each kind of observation costs, against literal versions, and what its control cannot learn."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.context import Context
from agents.encoders.mlp import Mlp
from agents.objectives._decoder import Decoder
from agents.objectives.autoencoder import Autoencoder
from agents.rollout import Obs
from tests.agents.chain import CONTEXT, Encoder, signals, some, walk
from tests.agents.worlds import SYMBOLS, context, rollout

M = 6


def cross_entropy(logits: np.ndarray, answer: int) -> float:
    """Of logits [classes]."""
    return float(np.log(np.exp(logits).sum()) - logits[answer])


def rebuilt(net: nn.Module, z: Tensor) -> np.ndarray:
    with torch.no_grad():
        return deepcopy(net).double()(z.double()).numpy()


def test_symbols_cost_their_mean_cross_entropy() -> None:
    decoder, data, z = Decoder(SYMBOLS, 16, 8), rollout("symbols", 0), torch.randn(M, 16)
    assert isinstance(data.obs, dict)
    obs = {name: part[:M, 0] for name, part in data.obs.items()}
    direction, image = (rebuilt(head.net, z) for head in decoder.heads)  # names in order
    expected = np.mean([cross_entropy(direction[m], int(obs["direction"][m])) for m in range(M)])
    logits, symbols = image.reshape(M, 11, 7 * 7 * 3), obs["image"].reshape(M, -1).tolist()
    expected += np.mean([cross_entropy(logits[m, :, s], symbols[m][s]) for m in range(M) for s in range(147)])
    assert decoder(z, obs).item() == pytest.approx(expected, rel=1e-5)


def test_symbols_of_different_size_never_get_a_class_that_they_do_not_have() -> None:
    space, z = spaces.MultiDiscrete([2, 4, 3], start=[0, 5, -1]), torch.randn(M, 16)
    decoder, x = Decoder(space, 16, 8), torch.tensor([[1, 6, 1], [0, 8, -1], [0, 5, 0]] * 2)
    logits = rebuilt(decoder.heads[0].net, z).reshape(M, 4, 3)
    digits = (x - torch.tensor([0, 5, -1])).tolist()
    pairs = [(m, s, n) for m in range(M) for s, n in enumerate((2, 4, 3))]
    expected = np.mean([cross_entropy(logits[m, :n, s], digits[m][s]) for m, s, n in pairs])
    assert decoder(z, x).item() == pytest.approx(expected, rel=1e-5)


def test_numbers_cost_their_squared_error_in_running_stds() -> None:
    space, z = spaces.Box(-np.inf, np.inf, (3,), np.float32), torch.randn(M, 16)
    decoder, scale = Decoder(space, 16, 8), torch.tensor([1.0, 100.0, 0.0])
    before, x = torch.randn(60, 3) * scale + 5, torch.randn(M, 3) * 2 * scale + 5
    x[0, 0], x[1, 1] = 100.0, -10_000.0
    decoder(torch.randn(60, 16), before)
    seen, exact = torch.cat([before, x]).double().numpy(), x.double().numpy()
    standard = (exact - seen.mean(0)) / np.sqrt(seen.var(0) + 1e-12)
    assert standard.max() > 7 and standard.min() < -7
    expected = ((rebuilt(decoder.heads[0].net, z) - np.clip(standard, -5, 5)) ** 2).mean()
    assert decoder(z, x).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("side", [(18, 18), (56, 40)])
def test_pictures_cost_their_squared_error_in_shares_of_white(side: tuple[int, int]) -> None:
    space, z = spaces.Box(0, 255, (3, *side), np.uint8), torch.randn(M, 16)
    decoder, x = Decoder(space, 16, 8), torch.randint(256, (M, 3, *side), dtype=torch.uint8)
    pixels = rebuilt(decoder.heads[0].net, z)[:, :, : side[0], : side[1]]
    assert pixels.shape == x.shape
    assert decoder(z, x).item() == pytest.approx(((pixels - x.double().numpy() / 255) ** 2).mean(), rel=1e-4)


def test_the_features_decay() -> None:
    losses, encoder, index = [], Encoder(), some(20)
    for decay in (0.0, 0.5):
        torch.manual_seed(0)
        loss, metrics = Autoencoder(CONTEXT, decay=decay).loss(encoder, walk(), index)
        losses.append(loss.item())
    z = encoder(walk().obs[index]).detach().double().numpy()
    assert losses[1] - losses[0] == pytest.approx(0.5 * np.mean([(one**2).sum() / 2 for one in z]), rel=1e-3)
    assert metrics["reconstruction"] == pytest.approx(losses[0], rel=1e-5)


def test_nothing_but_the_view_itself_counts() -> None:
    objective, encoder, data = Autoencoder(context("symbols")), context("symbols").make_encoder(), rollout("symbols", 1)
    index = torch.arange(5), torch.zeros(5, dtype=torch.long)
    before = objective.loss(encoder, data, index)[0]
    for part in data.next_obs.values():  # type: ignore[union-attr]
        part.zero_()
    assert torch.equal(before, objective.loss(encoder, data, index)[0])


@pytest.mark.parametrize("side", [18, 56])
def test_a_picture_is_learned(side: int) -> None:
    torch.manual_seed(0)
    space = spaces.Box(0, 255, (1, side, side), np.uint8)
    encoder, decoder = Mlp(space, hidden=(32, 32)), Decoder(space, 32, 32)
    pictures = torch.zeros(8, 1, side, side, dtype=torch.uint8)
    for i in range(8):
        pictures[i, :, i : i + side // 3, 2 * i : 2 * i + side // 3] = 200
    optimiser, losses = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 3e-3), []
    for _ in range(120):
        loss = decoder(encoder(pictures), pictures)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * (pictures / 255).var(0, correction=0).mean().item()
    assert losses[-1] < 0.1 * losses[0]


def test_shuffled_views_leave_nothing_to_learn() -> None:
    learned, control = signals(lambda shuffled: Autoencoder(CONTEXT, shuffled=shuffled))
    assert learned > 10
    assert control == pytest.approx(1, abs=0.1)


def test_what_cannot_be_rebuilt_is_refused_by_name() -> None:
    space = spaces.Dict({"mission": spaces.Text(5)})
    with pytest.raises(ValueError, match="Text"):
        Autoencoder(Context(space, spaces.Discrete(2), 4, Encoder))


def test_a_dict_costs_the_sum_of_its_parts() -> None:
    parts = {"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (2,), np.float32), "c": spaces.MultiBinary(4)}
    decoder, z = Decoder(spaces.Dict(parts), 16, 8), torch.randn(M, 16)
    obs: Obs = {"c": torch.randint(2, (M, 4)), "a": torch.randint(3, (M,)), "b": torch.rand(M, 2)}
    alone = [head(z, obs[name]).item() for name, head in zip("abc", decoder.heads, strict=True)]
    assert decoder(z, obs).item() == pytest.approx(sum(alone), rel=1e-4)
