"""The backward pass without autograd against autograd in float64, layer by layer and for whole policies."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.encoders import flat, mlp
from agents.encoders.flat import Flat
from agents.encoders.mlp import Mlp, flatten
from agents.encoders.symbolic import Symbolic
from agents.layers import Dense, Linear
from agents.learners._backward import Backward, fits
from agents.learners._policy import MultiInputPolicy
from agents.stack import Layer, Stack, layers_of

SPACE = spaces.Dict({"image": spaces.Box(0, 10, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)})
NETS: dict[str, Any] = {
    "dense": lambda: nn.Sequential(Dense(6, 5), Dense(5, 4), Linear(4, 3)),
    "tanh": lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3), nn.Tanh()),
    "relu": lambda: nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 3)),
    "large": lambda: nn.Sequential(Dense(6, 200), Dense(200, 300), Linear(300, 3)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rows", [1, 300])
def test_a_stacks_gradients_are_autograds(name: str, rows: int) -> None:
    torch.manual_seed(0)
    net = NETS[name]()
    exact = copy.deepcopy(net).double()
    x, pull = torch.randn(rows, 6), torch.randn(rows, 3)
    wanted_x = x.double().requires_grad_()
    wanted = exact(wanted_x)
    wanted.backward(pull.double())
    layers = layers_of(net)
    assert layers is not None
    stack = Stack(layers)
    with torch.no_grad():
        out = stack(x)
        back = stack.backward(pull, through=True)
    torch.testing.assert_close(out.double(), wanted.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(back.double(), wanted_x.grad, rtol=1e-4, atol=1e-4)
    for a, b in zip(net.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-4, atol=1e-3)


def test_layers_side_by_side_are_one_and_their_gradients_apart() -> None:
    torch.manual_seed(0)
    a, b = nn.Linear(4, 2), nn.Linear(4, 3)
    x, pull = torch.randn(7, 4), torch.randn(7, 5)
    torch.cat([a(x), b(x)], 1).backward(pull)
    wanted = [p.grad.clone() for p in (*a.parameters(), *b.parameters())]  # type: ignore[union-attr]
    stack = Stack([Layer([a, b], None)])
    with torch.no_grad():
        torch.testing.assert_close(stack(x), torch.cat([a(x), b(x)], 1))
        stack.backward(pull, through=False)
    for p, gradient in zip((*a.parameters(), *b.parameters()), wanted, strict=True):
        assert p.grad is not None
        assert p.grad.is_contiguous()  # what the compiled Adam needs
        torch.testing.assert_close(p.grad, gradient)


def test_other_layers_are_not_for_it() -> None:
    assert layers_of(nn.Sequential(nn.Linear(2, 2), nn.ELU())) is None
    assert layers_of(nn.Sequential(nn.Tanh())) is None
    assert layers_of(nn.Sequential()) == []


def policy(encoder: Any, heads: int, **network: Any) -> MultiInputPolicy:
    torch.manual_seed(1)
    made = MultiInputPolicy(
        SPACE, spaces.Discrete(5), lambda _: 1e-3, features_extractor_class=encoder,
        intrinsic_value=heads == 2, **{"net_arch": []} | network,
    )  # fmt: skip
    for p in made.parameters():
        nn.init.normal_(p, std=0.3)
    if isinstance(made.features_extractor, Symbolic):
        made.features_extractor.weight.data[0] = 0  # the row that no view may touch
    return made


def observations(total: int) -> dict[str, Tensor]:
    """Some of them equal."""
    g = torch.Generator().manual_seed(2)
    kind = torch.randint(total // 2, (total,), generator=g)
    image = torch.stack([torch.randint(n, (total, 7, 7), generator=g) for n in (9, 6, 3)], -1).byte()
    return {"image": image[kind], "direction": kind % 4}


POLICIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "default": (Symbolic, {}),
    "symbolic and layers": (Symbolic, {"net_arch": [16]}),
    "the lookup alone": (Symbolic, {"features_extractor_kwargs": {"hidden": (16,)}}),
    "mlp": (Mlp, {"net_arch": {"pi": [9], "vf": []}, "activation_fn": nn.ReLU}),
    "SB3's standard network": (Flat, {"net_arch": [64, 64]}),
    "linear": (Flat, {}),
}


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("name", POLICIES)
def test_a_policys_gradients_are_autograds(
    name: str, heads: int, through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, network = POLICIES[name]
    made, obs, index = policy(encoder, heads, **network), observations(400), torch.randperm(400)[:256]
    assert fits(made)
    exact = copy.deepcopy(made).double()
    batch = {name: part[index] for name, part in obs.items()}
    pull = torch.randn(len(index), 5 + heads)
    for module in (flat, mlp):
        monkeypatch.setattr(module, "flatten", lambda obs, space: flatten(obs, space).double())
    pi, vf = exact._latents(batch, detach_encoder=not through)
    wanted = torch.cat([exact.action_net(pi), *(head(vf) for head in exact.value_nets)], 1)
    wanted.backward(pull.double())
    monkeypatch.undo()
    backward = Backward(made, obs, through_encoder=through)
    outputs, where = backward.outputs(index)
    assert len(outputs) < len(index)  # equal views were met once
    torch.testing.assert_close(outputs[where].double(), wanted.detach(), rtol=1e-3, atol=1e-3)
    backward.pull = torch.zeros_like(outputs).index_add_(0, where, pull)
    backward.backward()
    for (parameter, p), (_, q) in zip(made.named_parameters(), exact.named_parameters(), strict=True):
        if q.grad is None:
            assert p.grad is None, parameter
        else:
            assert p.grad is not None, parameter
            torch.testing.assert_close(p.grad.double(), q.grad, rtol=1e-3, atol=1e-2, msg=parameter)


@pytest.mark.parametrize("other", [{"activation_fn": nn.ELU, "net_arch": [4]}, {"share_features_extractor": False}])
def test_other_policies_take_autograd(other: dict[str, Any]) -> None:
    assert not fits(policy(Flat, 1, **other))
