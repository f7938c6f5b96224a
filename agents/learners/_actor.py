"""The policy as few compiled calls, for acting: the weights of a rollout do not change, so they are laid out once.

first layer -> dense layers, actor's and critic's side by side -> heads -> sampled action, log-probability and values.
At the few rows of a step torch spends more time on calling its modules than on arithmetic. A wide product behind raw
numbers or a ReLU skips the units that are off, about half of them; all other products are MKL's. Compiled are discrete
policies on the encoders `symbolic`, `mlp` and `flat`, with layers of ReLU or tanh; every other policy acts by itself,
and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from agents.encoders.flat import Flat
from agents.encoders.mlp import Mlp, flatten
from agents.encoders.symbolic import Symbolic, add_rows, find_rows
from agents.faults import NonFinite
from agents.layers import Dense
from agents.learners._compiled import sample
from agents.learners._policy import TwoHeads
from agents.rollout import Obs

CHUNK = 8  # units added at a time
LANES = 16  # widths are padded to whole vectors
Activation = Callable[..., Any] | None
Layer = tuple[Tensor, Tensor, Activation]  # weight [D, K], bias [D]


@njit(cache=True, fastmath=True)
def _product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, live: np.ndarray, out: np.ndarray) -> None:
    """out [N, D] = bias + x [N, K] weight [K, D], over the units of x that are on; `live` [K + CHUNK] is scratch."""
    for n in range(len(x)):
        unit, total, count = x[n], out[n], 0
        for k in range(len(unit)):
            live[count] = k
            count += unit[k] != 0
        for d in range(len(bias)):
            total[d] = bias[d]
        whole = count // CHUNK * CHUNK
        for j in range(0, whole, CHUNK):
            k0, k1, k2, k3 = live[j], live[j + 1], live[j + 2], live[j + 3]
            k4, k5, k6, k7 = live[j + 4], live[j + 5], live[j + 6], live[j + 7]
            w0, w1, w2, w3, w4, w5, w6, w7 = (
                weight[k0], weight[k1], weight[k2], weight[k3], weight[k4], weight[k5], weight[k6], weight[k7],
            )  # fmt: skip
            x0, x1, x2, x3, x4, x5, x6, x7 = (
                unit[k0], unit[k1], unit[k2], unit[k3], unit[k4], unit[k5], unit[k6], unit[k7],
            )  # fmt: skip
            for d in range(len(bias)):
                total[d] += (x0 * w0[d] + x1 * w1[d] + x2 * w2[d] + x3 * w3[d]) + (
                    x4 * w4[d] + x5 * w5[d] + x6 * w6[d] + x7 * w7[d]
                )
        for j in range(whole, count):
            w, x_j = weight[live[j]], unit[live[j]]
            for d in range(len(bias)):
                total[d] += x_j * w[d]


def _skipping(weight: np.ndarray, bias: np.ndarray, out: np.ndarray) -> Callable[[np.ndarray], object]:
    """Fills `out` with the product of what it is given, over the units that are on."""
    live = np.empty(len(weight) + CHUNK, np.int32)
    return lambda x: _product(x, weight, bias, live, out)


def _by_mkl(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, out: np.ndarray) -> Callable[[np.ndarray], object]:
    """Fills `out` with the product of `x`, where the layer before has left its output."""
    operands = [torch.from_numpy(array) for array in (bias, x, weight)]
    into = torch.from_numpy(out)
    return lambda _x: torch.addmm(*operands, out=into)


def _relu(x: np.ndarray, out: np.ndarray) -> None:
    np.maximum(x, np.float32(0), out=out)


def _padded(weight: Tensor, bias: Tensor, k_wide: int) -> tuple[np.ndarray, np.ndarray]:
    """torch's [D, K] and [D] as [K', D'] and [D'], D' a multiple of `LANES`, K' the width of what comes in."""
    d, k = weight.shape
    wide = -(-d // LANES) * LANES
    w, b = np.zeros((k_wide, wide), np.float32), np.zeros(wide, np.float32)
    w[:k, :d], b[:d] = weight.detach().numpy().T, bias.detach().numpy()
    return w, b


def _layers(net: nn.Module) -> list[Layer] | None:
    """The layers of a sequence of `Dense`, or of linear layers each followed by ReLU or tanh; None: it is neither."""
    found: list[Layer] = []
    functions: dict[type, Activation] = {nn.ReLU: _relu, nn.Tanh: np.tanh}
    for module in net.children():
        if isinstance(module, nn.Linear):
            found.append((module.weight, module.bias, _relu if isinstance(module, Dense) else None))
        elif type(module) in functions and found and found[-1][2] is None:
            found[-1] = (*found[-1][:2], functions[type(module)])
        else:
            return None
    return found if all(layer[2] for layer in found) else None


def _joined(policy: TwoHeads) -> list[Layer] | None:
    """Actor's and critic's layers side by side, and the heads; None: their layers do not match."""
    pi, vf = _layers(policy.mlp_extractor.policy_net), _layers(policy.mlp_extractor.value_net)
    if pi is None or vf is None or [layer[2] for layer in pi] != [layer[2] for layer in vf]:
        return None
    heads: list[Any] = [policy.action_net, *policy.value_nets]
    values = torch.cat([head.weight for head in heads[1:]])
    biases = torch.cat([head.bias for head in heads])
    if not pi:
        return [(torch.cat([heads[0].weight, values]), biases, None)]
    out: list[Layer] = []
    for k, (a, b) in enumerate(zip(pi, vf, strict=True)):
        weight = torch.cat([a[0], b[0]]) if k == 0 else torch.block_diag(a[0], b[0])
        out.append((weight, torch.cat([a[1], b[1]]), a[2]))
    return [*out, (torch.block_diag(heads[0].weight, values), biases, None)]


def fits(policy: TwoHeads) -> bool:
    """Is this policy of the kind that is compiled?"""
    encoder = policy.features_extractor
    shared = policy.compiled and policy.share_features_extractor
    return shared and isinstance(encoder, Symbolic | Mlp | Flat) and _joined(policy) is not None


class Actor:
    """The policy's `act` on observations [N, ...], with the weights that it had when this was made.

    Raises:
        ValueError: the policy is not of the kind that is compiled (see `fits`).
    """

    def __init__(self, policy: TwoHeads, n_envs: int) -> None:
        joined, encoder = _joined(policy), policy.features_extractor
        if joined is None or not fits(policy):
            raise ValueError("this policy is not compiled: it needs discrete actions and dense layers")
        self.encoder, self.space = encoder, policy.observation_space
        self.n_actions, self.heads = int(policy.action_space.n), len(policy.value_nets)  # type: ignore[attr-defined]
        layers = ([] if isinstance(encoder, Flat) else _layers(encoder.layers) or []) + joined  # type: ignore[arg-type]
        width = layers[0][0].shape[1]
        if isinstance(encoder, Symbolic):
            self.first = encoder.weight.detach().numpy(), encoder.bias.detach().numpy()
            self.rows, self.counts = (room.numpy() for room in encoder.room(n_envs))
            self.units = np.empty((n_envs, width), np.float32)
        self.layers: list[Any] = []
        for weight, bias, activation in layers:
            w, b = _padded(weight, bias, width)
            width = len(b)
            out, last = np.empty((n_envs, width), np.float32), self.layers[-1] if self.layers else None
            dense = last is not None and (last[-1] is not _relu or width == LANES)
            product = _by_mkl(last[0], w, b, out) if dense else _skipping(w, b, out)  # type: ignore[index]
            self.layers.append((out, product, activation))

    def act(self, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
        """Sampled actions [N], values [heads, N], log-probabilities [N]."""
        x = self._first(obs)
        for out, product, activation in self.layers:
            product(x)
            if activation is not None:
                activation(out, out=out)
            x = out
        chosen = sample(x, self.n_actions, self.heads)
        if chosen is None:
            raise NonFinite("the policy's action probabilities diverged: a logit is not finite")
        return chosen

    def _first(self, obs: Obs) -> np.ndarray:
        if not isinstance(self.encoder, Symbolic):
            return flatten(obs, self.space).numpy()
        view, symbols = self.encoder.parts(obs)
        offsets, table = self.encoder.tables
        find_rows(view.numpy(), symbols.numpy(), offsets, table, self.rows, self.counts)
        add_rows(self.rows, self.counts, *self.first, self.units)
        return self.units
