"""Every encoder's contract, and the symbolic lookup against the one-hot layer that it stands for."""

from __future__ import annotations

import importlib
import inspect
import math
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import agents.encoders
from agents.encoders import Encoder, default_encoder, is_symbolic_view, linear
from agents.encoders.cnn import Cnn
from agents.encoders.flat import Flat
from agents.encoders.linear import Linear
from agents.encoders.mlp import Mlp, flatten
from agents.encoders.symbolic import N_IDS, Symbolic, joint_ids
from agents.encoders.true_state import TrueState

B = 5
VIEW = spaces.Dict({"image": spaces.Box(0, 10, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)})
TOLD = spaces.Dict({**VIEW.spaces, "mission": spaces.MultiDiscrete([5, 5, 5])})
SMALL_VIEW = spaces.Dict({"image": spaces.Box(0, 10, (3, 2, 3), np.uint8)})
VECTOR = spaces.Box(-2, 2, (6,), np.float32)
MIXED = spaces.Dict({"z": VECTOR, "a": spaces.Discrete(3), "m": spaces.MultiBinary(2)})
PICTURE = spaces.Box(0, 255, (3, 36, 40), np.uint8)
SPACES: dict[str, list[spaces.Space]] = {  # what each encoder says it reads
    "symbolic": [VIEW, SMALL_VIEW, TOLD],
    "linear": [VIEW, TOLD, VECTOR, MIXED, PICTURE, spaces.Discrete(4)],
    "cnn": [PICTURE, spaces.Dict({"image": PICTURE, "direction": spaces.Discrete(4)})],
}
GENERAL = [VECTOR, MIXED, spaces.Discrete(4), spaces.MultiDiscrete([2, 3]), spaces.Box(0, 1, (4, 4), np.float32)]


def names() -> list[str]:
    return sorted(p.stem for p in Path(agents.encoders.__path__[0]).glob("*.py") if not p.stem.startswith("_"))


def encoder_class(name: str) -> type[Encoder]:
    module = importlib.import_module(f"agents.encoders.{name}")
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    public = [c for c in own if issubclass(c, Encoder) and not c.__name__.startswith("_")]
    assert len(public) == 1, f"{name}.py has {len(public)} public encoders"
    return public[0]


CASES = [(name, space) for name in names() for space in SPACES.get(name, GENERAL)]


def samples(space: spaces.Space, n: int = B, seed: int = 0) -> Any:
    """[n, *obs] tensors in the space's own types."""
    space.seed(seed)
    drawn = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {name: torch.as_tensor(np.stack([one[name] for one in drawn])) for name in space.spaces}
    return torch.as_tensor(np.stack(drawn))


# ---------------------------------------------------------------------- contract


def test_there_is_something_to_test() -> None:
    assert {"symbolic", "mlp", "flat", "cnn"} <= set(names())


@pytest.mark.parametrize(("name", "space"), CASES, ids=str)
def test_raw_observations_become_features_that_learn(name: str, space: spaces.Space) -> None:
    torch.manual_seed(0)
    encoder, obs = encoder_class(name)(space), samples(space)
    features = encoder(obs)
    assert features.shape == (B, encoder.features_dim)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    assert not torch.equal(features[0], features[1])  # different observations look different
    if name != "flat":
        features.square().sum().backward()
        grads = [p.grad for p in encoder.parameters()]
        assert all(g is not None and torch.isfinite(g).all() and g.abs().sum() > 0 for g in grads)
    else:
        assert list(encoder.parameters()) == []


@pytest.mark.parametrize(("name", "space"), CASES, ids=str)
def test_each_row_is_encoded_on_its_own(name: str, space: spaces.Space) -> None:
    encoder, obs = encoder_class(name)(space), samples(space)
    one = {k: v[2:3] for k, v in obs.items()} if isinstance(obs, dict) else obs[2:3]
    torch.testing.assert_close(encoder(one), encoder(obs)[2:3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", names())
def test_options_are_keyword_only_annotated_and_have_defaults(name: str) -> None:
    cls = encoder_class(name)
    first, *options = inspect.signature(cls).parameters.values()
    hints = get_type_hints(cls.__init__, include_extras=True)
    assert first.name == "observation_space"
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY, option.name
        assert option.default is not inspect.Parameter.empty, option.name
        assert option.name in hints, option.name


def test_widths_are_those_asked_for() -> None:
    assert Mlp(VECTOR, hidden=(7, 9)).features_dim == 9
    assert Symbolic(VIEW, hidden=(7, 9, 4)).features_dim == 4
    assert Cnn(PICTURE, features=11).features_dim == 11
    assert Linear(MIXED, features=11).features_dim == 11
    assert Flat(MIXED).features_dim == 6 + 3 + 2
    with pytest.raises(ValueError, match="at least one hidden layer"):
        Mlp(VECTOR, hidden=())


# ---------------------------------------------------------------------- which encoder fits


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (VIEW, "symbolic"),
        (VECTOR, "mlp"),
        (MIXED, "mlp"),
        (spaces.Discrete(5), "mlp"),
        (spaces.Box(0, 1, (10, 10), np.float32), "mlp"),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), "cnn"),
        (spaces.Box(0, 255, (1, 36, 36), np.uint8), "cnn"),
        (spaces.Box(0, 255, (1, 35, 36), np.uint8), "mlp"),
        (spaces.Dict({"image": spaces.Box(0, 255, (7, 7, 3), np.uint8)}), "mlp"),
        (spaces.Dict({"image": PICTURE, "direction": spaces.Discrete(4)}), "cnn"),
    ],
    ids=str,
)
def test_the_default_fits_the_space_and_can_be_built(space: spaces.Space, name: str) -> None:
    assert default_encoder(space) == name
    encoder = encoder_class(name)(space)
    assert encoder(samples(space)).shape == (B, encoder.features_dim)


def test_a_picture_is_no_symbolic_view() -> None:
    assert is_symbolic_view(VIEW["image"])
    for other in (None, PICTURE, spaces.Box(0, 10, (7, 7, 3), np.float32), spaces.Box(0, 10, (7, 7), np.uint8)):
        assert not is_symbolic_view(other)
        with pytest.raises(ValueError, match="symbolic"):
            Symbolic(spaces.Dict({"image": other} if other else {"other": VECTOR}))
    with pytest.raises(ValueError, match="symbolic"):
        Symbolic(VIEW["image"])


# ---------------------------------------------------------------------- flat and mlp


def test_flat_is_one_hot_and_in_the_order_of_the_space() -> None:
    space = spaces.Dict({"z": spaces.Box(-2, 2, (2,), np.float32), "a": spaces.Discrete(3)})
    obs = {"z": torch.tensor([[0.5, -1.0]]), "a": torch.tensor([2])}
    wanted = [part for name in space.spaces for part in ([0.5, -1.0] if name == "z" else [0.0, 0.0, 1.0])]
    assert Flat(space)(obs).tolist() == [wanted]
    assert flatten(torch.tensor([[1, 2]]), spaces.MultiDiscrete([2, 3])).tolist() == [[0, 1, 0, 0, 1]]
    bytes_ = torch.tensor([[[255, 51]]], dtype=torch.uint8)
    assert flatten(bytes_, spaces.Box(0, 255, (1, 2), np.uint8)).tolist() == [[255, 51]]  # no picture


def test_pictures_are_flattened_in_shares_of_white() -> None:
    x = samples(PICTURE)
    wanted = x.flatten(1) / 255
    assert wanted.max() == 1 > wanted.std() > 0.1
    torch.testing.assert_close(flatten(x, PICTURE), wanted)
    torch.testing.assert_close(linear.one_hot(x, PICTURE), wanted)


def test_mlp_is_its_layers_over_the_flat_observation() -> None:
    encoder, obs = Mlp(MIXED, hidden=(8, 3)), samples(MIXED)
    first, second = (m for m in encoder.layers if isinstance(m, nn.Linear))
    x = Flat(MIXED)(obs)
    wanted = torch.relu(second.weight @ torch.relu(first.weight @ x.T + first.bias[:, None]) + second.bias[:, None]).T
    torch.testing.assert_close(encoder(obs), wanted)


def test_true_state_reads_numbers_by_their_logarithm_and_classes_one_hot() -> None:
    space = spaces.Dict({"kind": spaces.Discrete(3), "time": spaces.Box(-np.inf, np.inf, (1,), np.float32)})
    encoder = TrueState(space, hidden=(5,))
    obs = {"kind": torch.tensor([2, 0, 1]), "time": torch.tensor([[-20.0], [0.0], [1000.0]])}
    x = torch.tensor([[0, 0, 1, -math.log(21)], [1, 0, 0, 0], [0, 1, 0, math.log(1001)]])
    (layer,) = (m for m in encoder.mlp.layers if isinstance(m, nn.Linear))
    torch.testing.assert_close(encoder(obs), torch.relu(x @ layer.weight.T + layer.bias))
    alone = TrueState(space["time"], hidden=(5,))
    (layer,) = (m for m in alone.mlp.layers if isinstance(m, nn.Linear))
    torch.testing.assert_close(alone(obs["time"]), torch.relu(x[:, 3:] @ layer.weight.T + layer.bias))


def test_cnn_shifts_pictures_only_while_it_learns() -> None:
    torch.manual_seed(0)
    encoder, obs = Cnn(PICTURE, shift=True), torch.randint(0, 256, (4, *PICTURE.shape), dtype=torch.uint8)
    plain = Cnn(PICTURE)
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder.eval()(obs), plain(obs))
    encoder.train()
    assert not torch.equal(encoder(obs), encoder(obs))
    assert torch.equal(plain.train()(obs), plain(obs))


def test_cnn_sees_pictures_between_zero_and_one() -> None:
    encoder, picture = Cnn(PICTURE, features=8), samples(PICTURE)
    torch.testing.assert_close(
        encoder(picture), encoder.network(picture.double().div(255).float()), rtol=1e-5, atol=1e-6
    )


def test_what_stands_beside_a_picture_is_seen_too() -> None:
    encoder = Cnn(spaces.Dict({"image": PICTURE, "direction": spaces.Discrete(4)}), features=8)
    picture = samples(PICTURE, 2)
    features = encoder({"image": picture, "direction": torch.tensor([0, 3])})
    assert features.shape == (2, 12)
    assert torch.equal(features[:, 8:], torch.eye(4)[[0, 3]])
    torch.testing.assert_close(features[:, :8], encoder.network(picture.float() / 255), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- symbolic


def look(kind: int, colour: int, state: int) -> tuple[int, ...] | None:
    """What there is to tell apart in a cell; None: nothing is seen there, or it cannot be."""
    if colour > 5 or state > 3:
        return None
    if kind in (1, 2, 8, 9):  # empty, wall, goal, lava
        return (kind,)
    if kind in (3, 5, 6, 7):  # floor, key, ball, box
        return (kind, colour)
    if (kind == 4 and state < 3) or kind == 10:  # door open, closed, locked; an agent's four directions
        return (kind, colour, state)
    return None


def test_joint_ids_tell_apart_exactly_what_looks_different() -> None:
    table = joint_ids().reshape(16, 16, 16)
    ids: dict[Any, set[int]] = {}
    for kind in range(16):
        for colour in range(16):
            for state in range(16):
                ids.setdefault(look(kind, colour, state), set()).add(int(table[kind, colour, state]))
    assert ids.pop(None) == {0}
    assert all(len(found) == 1 for found in ids.values())
    assert sorted(i for found in ids.values() for i in found) == list(range(1, N_IDS))


def one_hot(view: Tensor) -> Tensor:
    """[B, h, w, 3] -> [B, cells * N_IDS] float64, written cell by cell; an unseen cell is all zero."""
    table, cells = joint_ids().reshape(16, 16, 16), view.flatten(1, 2)
    code = torch.zeros(len(view), cells.shape[1], N_IDS, dtype=torch.float64)
    for b in range(len(view)):
        for c in range(cells.shape[1]):
            kind, colour, state = cells[b, c].tolist()
            if look(kind, colour, state) is not None:
                code[b, c, table[kind, colour, state]] = 1.0
    return code.flatten(1)


@pytest.mark.parametrize("space", [VIEW, SMALL_VIEW, TOLD])
def test_linear_reads_each_cell_one_hot_an_unseen_one_too(space: spaces.Dict) -> None:
    obs = views(space, 20, seed=2)
    cells = one_hot(obs["image"]).unflatten(1, (-1, N_IDS))
    cells[..., 0] = 1 - cells.sum(-1)  # what cannot be told apart is "unseen"
    assert 0 < cells[..., 0].mean() < 1
    wanted = torch.cat([cells.flatten(1), symbols(obs)], 1)
    x = linear.one_hot(obs, space)
    assert x.dtype == torch.float32
    assert torch.equal(x.double(), wanted)
    encoder = Linear(space, features=3)
    torch.testing.assert_close(encoder(obs), x @ encoder.map.weight.T + encoder.map.bias)


def views(space: spaces.Dict, n: int, seed: int) -> dict[str, Tensor]:
    """Symbols that occur: an object of 0..10, a colour of 0..5, a state of 0..3."""
    g, shape = torch.Generator().manual_seed(seed), (n, *space["image"].shape[:2])  # type: ignore[index]
    parts = [torch.randint(limit, shape, generator=g, dtype=torch.uint8) for limit in (11, 6, 4)]
    obs = {"image": torch.stack(parts, -1)}
    if "direction" in space.spaces:
        obs["direction"] = torch.randint(4, (n,), generator=g)
    if "mission" in space.spaces:
        obs["mission"] = torch.randint(5, (n, 3), generator=g)
    return obs


def symbols(obs: dict[str, Tensor]) -> Tensor:
    """[B, 4 + 3 * 5] float64: one-hot direction and tokens, what is there of them."""
    eyes = [torch.eye(4, dtype=torch.float64)[obs["direction"]]] if "direction" in obs else []
    if "mission" in obs:
        eyes.append(torch.eye(5, dtype=torch.float64)[obs["mission"]].flatten(1))
    return torch.cat(eyes, 1) if eyes else torch.zeros(len(obs["image"]), 0, dtype=torch.float64)


def relative_error(value: Tensor, exact: Tensor) -> float:
    return ((value.double() - exact).abs().max() / exact.abs().max()).item()


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([VIEW, SMALL_VIEW, TOLD]), st.integers(0, 2**31), st.integers(1, 9))
def test_symbolic_is_the_one_hot_layer_in_value_and_gradient(space: spaces.Dict, seed: int, n: int) -> None:
    torch.manual_seed(seed % 1000)
    encoder, obs = Symbolic(space, hidden=(12, 6)), views(space, n, seed)
    nn.init.normal_(encoder.bias)
    exact = {name: p.detach().double().requires_grad_() for name, p in encoder.named_parameters()}
    code = torch.cat([one_hot(obs["image"]), symbols(obs)], 1)
    first = code @ exact["weight"] + exact["bias"]
    out = torch.relu(torch.relu(first) @ exact["layers.0.weight"].T + exact["layers.0.bias"])
    pull = torch.randn(n, 6)
    (out * pull).sum().backward()
    features = encoder(obs)
    (features * pull).sum().backward()
    if out.abs().max() > 0:
        assert relative_error(features.detach(), out.detach()) < 1e-5
    for name, parameter in encoder.named_parameters():
        gradient, wanted = parameter.grad, exact[name].grad
        assert gradient is not None
        assert wanted is not None
        if wanted.abs().max() > 0:
            assert relative_error(gradient, wanted) < 1e-5, name


@pytest.mark.parametrize("space", [VIEW, SMALL_VIEW, TOLD])
def test_the_compiled_layer_is_the_plain_layer_with_its_gradient(space: spaces.Dict) -> None:
    encoder = Symbolic(space, hidden=(16,))
    parts = encoder.parts(views(space, 64, 1))
    pull = torch.randn(64, 16)
    results = []
    for layer in (encoder.compiled, encoder.plain):
        out = layer(*parts)
        results.append((out.detach(), *torch.autograd.grad((out * pull).sum(), [encoder.weight, encoder.bias])))
    assert type(encoder.compiled(*parts).grad_fn).__name__ != type(encoder.plain(*parts).grad_fn).__name__
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_unseen_cells_add_nothing_and_learn_nothing() -> None:
    encoder = Symbolic(SMALL_VIEW, hidden=(4,))
    nn.init.ones_(encoder.bias)
    blank = {"image": torch.zeros(2, 3, 2, 3, dtype=torch.uint8)}
    assert torch.equal(encoder(blank), torch.ones(2, 4))
    encoder(blank).sum().backward()
    assert encoder.weight.grad.abs().sum() == 0  # type: ignore[union-attr]
    encoder(views(SMALL_VIEW, 200, 0)).sum().backward()
    rows = torch.arange(6) * N_IDS
    assert encoder.weight.grad[rows].abs().sum() == 0  # type: ignore[index]
    assert encoder.weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def test_no_observation_makes_the_lookup_leave_its_table() -> None:
    encoder = Symbolic(SMALL_VIEW, hidden=(8,))
    every = torch.arange(256, dtype=torch.uint8)  # beyond what the space allows, too
    view = torch.stack(torch.meshgrid(every[::5], every[::5], every[::5], indexing="ij"), -1).reshape(-1, 1, 3)
    view = view[: len(view) // 6 * 6].reshape(-1, 6, 3)
    nothing = torch.empty(len(view), 0, dtype=torch.int64)
    torch.testing.assert_close(encoder.compiled(view, nothing), encoder.plain(view, nothing))
    strange = torch.tensor([[[5, 6, 0], [4, 0, 3], [10, 10, 10]] * 2], dtype=torch.uint8)  # in the space, but nothing
    assert encoder.compiled(strange, nothing[:1]).abs().sum() == 0
    told = Symbolic(TOLD, hidden=(8,))
    for number in (-(2**62), -1, 5, 2**62):  # nor does a token that the space forbids
        tokens = torch.tensor([[0, number, number, number]])
        assert torch.isfinite(told.compiled(torch.zeros(1, 49, 3, dtype=torch.uint8), tokens)).all()


def test_the_place_of_a_symbol_matters() -> None:
    encoder = Symbolic(SMALL_VIEW, hidden=(8,))
    views_ = torch.zeros(2, 3, 2, 3, dtype=torch.uint8)
    views_[0, 0, 1] = views_[1, 2, 0] = torch.tensor([5, 4, 0])
    assert not torch.equal(*encoder({"image": views_}))
    sums = encoder({"image": views_})
    key = int(joint_ids().reshape(16, 16, 16)[5, 4, 0])
    torch.testing.assert_close(sums, encoder.weight[[1 * N_IDS + key, 4 * N_IDS + key]].relu())


def test_a_strided_view_is_read_right() -> None:
    encoder = Symbolic(SMALL_VIEW, hidden=(8,))
    wide = views(SMALL_VIEW, 10, 3)["image"]
    torch.testing.assert_close(encoder({"image": wide[::2]}), encoder({"image": wide[::2].clone()}))
    turned = wide.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    torch.testing.assert_close(encoder({"image": turned}), encoder({"image": wide}))


def test_encoders_do_not_edit_their_observations() -> None:
    for name, space in CASES:
        obs: Any = samples(space)
        before: Any = {k: v.clone() for k, v in obs.items()} if isinstance(obs, dict) else obs.clone()
        encoder_class(name)(space)(obs)
        if isinstance(obs, dict):
            assert all(torch.equal(before[k], obs[k]) for k in obs)
        else:
            assert torch.equal(before, obs)
