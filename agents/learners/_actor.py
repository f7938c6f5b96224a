"""The policy as one compiled call, for acting: the weights of a rollout do not change, so they are laid out once.

lookup rows -> ReLU layers -> heads -> sampled action, log-probability and values, a row at a time. A product skips
units that are off: after a ReLU about half of them. At the 64 rows of a step torch would spend more time on calling its
operations than on their arithmetic. Only the encoder `symbolic` with the heads directly on top is compiled; every other
policy acts by itself, and a test holds the two together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from agents.encoders.symbolic import Symbolic, add_rows, find_rows
from agents.faults import NonFinite
from agents.learners._compiled import sample
from agents.learners._policy import TwoHeads
from agents.rollout import Obs

CHUNK = 8  # units added at a time
LANES = 16  # widths are padded to whole vectors


@njit(cache=True, fastmath=True)
def _layer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, live: np.ndarray, out: np.ndarray) -> None:
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


@njit(cache=True)
def _rectify(x: np.ndarray) -> None:
    for n in range(len(x)):
        for d in range(x.shape[1]):
            x[n, d] = max(x[n, d], np.float32(0))


def _padded(weight: Tensor, bias: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """torch's [D, K] and [D] as [K, D'] and [D'], D' a multiple of `LANES`."""
    d, k = weight.shape
    wide = -(-d // LANES) * LANES
    w, b = np.zeros((k, wide), np.float32), np.zeros(wide, np.float32)
    w[:, :d], b[:d] = weight.detach().numpy().T, bias.detach().numpy()
    return w, b


class Actor:
    """The policy's `act` on observations [N, ...], with the weights that it had when this was made.

    Raises:
        ValueError: the policy is not of the kind that is compiled (see `fits`).
    """

    def __init__(self, policy: TwoHeads, n_envs: int) -> None:
        if not fits(policy):
            raise ValueError("only a discrete policy with heads directly on the encoder `symbolic` is compiled")
        encoder = policy.features_extractor
        assert isinstance(encoder, Symbolic)
        self.encoder, self.n_actions = encoder, int(policy.action_space.n)  # type: ignore[attr-defined]
        self.heads = len(policy.value_nets)
        heads: list[Any] = [policy.action_net, *policy.value_nets]
        joined = torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])
        self.layers = [_padded(layer.weight, layer.bias) for layer in encoder.layers]  # type: ignore[arg-type]
        self.layers.append(_padded(*joined))
        self.first = encoder.weight.detach().numpy(), encoder.bias.detach().numpy()
        self.rows, self.counts = (room.numpy() for room in encoder.room(n_envs))
        widths = [len(self.first[1]), *(len(bias) for _, bias in self.layers)]
        self.units = [np.empty((n_envs, width), np.float32) for width in widths]
        self.live = np.empty(max(widths) + CHUNK, np.int32)

    def act(self, obs: Obs) -> tuple[Tensor, Tensor, Tensor]:
        """Sampled actions [N], values [heads, N], log-probabilities [N]."""
        view, symbols = self.encoder.parts(obs)
        find_rows(view.numpy(), symbols.numpy(), *self.encoder.tables, self.rows, self.counts)
        add_rows(self.rows, self.counts, *self.first, self.units[0])
        for k, layer in enumerate(self.layers):
            _layer(self.units[k], *layer, self.live, self.units[k + 1])
            if k < len(self.layers) - 1:
                _rectify(self.units[k + 1])
        chosen = sample(self.units[-1], self.n_actions, self.heads)
        if chosen is None:
            raise NonFinite("the policy's action probabilities diverged: a logit is not finite")
        return chosen


def fits(policy: TwoHeads) -> bool:
    """Is this policy of the kind that is compiled?"""
    return policy.compiled and isinstance(policy.features_extractor, Symbolic) and not policy.net_arch
