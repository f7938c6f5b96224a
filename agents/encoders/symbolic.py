"""Minigrid's symbolic view: one learned row per (cell, object-colour-state), summed; then ordinary layers.

h_1 = b + sum_c W[c, id(c)] + W_direction[direction] is exactly a linear layer over the one-hot code of the joint ids,
without ever forming the code. Cells that are not seen add nothing (their row is fixed at zero: the bias holds it),
which loses no function and saves half of the additions. The compiled lookup and its backward run on the CPU where
numba is there; elsewhere the same sum is an `embedding_bag`.
"""

from __future__ import annotations

from typing import Annotated, Any

import numba
import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from agents.encoders import Encoder, is_symbolic_view
from agents.rollout import Obs

UNSEEN, EMPTY, WALL, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA, AGENT = range(11)
COLOURS, STATES = 6, 3
Width = Annotated[int, Field(ge=1, le=65536)]


def joint_ids() -> np.ndarray:
    """[16 ** 3] int64: (object, colour, state), four bits each -> joint id; 0 is "unseen", or what cannot occur.

    Four bits hold every number that the space allows: no observation can make the compiled lookup leave the table.
    """
    table = np.zeros((16, 16, 16), np.int64)
    count = 1
    for kind in (EMPTY, WALL, GOAL, LAVA):  # one look each, whatever the colour
        table[kind, :COLOURS, :4] = count
        count += 1
    for kind in (FLOOR, KEY, BALL, BOX):
        table[kind, :COLOURS, :4] = (count + np.arange(COLOURS))[:, None]
        count += COLOURS
    for kind, states in ((DOOR, STATES), (AGENT, 4)):
        table[kind, :COLOURS, :states] = count + np.arange(COLOURS * states).reshape(COLOURS, states)
        count += COLOURS * states
    return table.ravel()


N_IDS = int(joint_ids().max()) + 1


@numba.njit(cache=True, fastmath=True)
def _row_of(view: np.ndarray, b: int, c: int, table: np.ndarray) -> int:
    return table[(view[b, c, 0] & 15) << 8 | (view[b, c, 1] & 15) << 4 | (view[b, c, 2] & 15)]


@numba.njit(cache=True, fastmath=True)
def _lookup(view: np.ndarray, table: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    n_ids = weight.shape[0] // view.shape[1]
    for b in range(view.shape[0]):
        for c in range(view.shape[1]):
            i = _row_of(view, b, c, table)
            if i:
                row = c * n_ids + i
                for d in range(weight.shape[1]):  # an explicit loop: numba turns it into vector instructions
                    out[b, d] += weight[row, d]


@numba.njit(cache=True, fastmath=True)
def _scatter(view: np.ndarray, table: np.ndarray, grad_out: np.ndarray, grad_weight: np.ndarray) -> None:
    n_ids = grad_weight.shape[0] // view.shape[1]
    for b in range(view.shape[0]):
        for c in range(view.shape[1]):
            i = _row_of(view, b, c, table)
            if i:
                row = c * n_ids + i
                for d in range(grad_weight.shape[1]):
                    grad_weight[row, d] += grad_out[b, d]


class _Lookup(torch.autograd.Function):
    """sum_c weight[c, id(c)] for a uint8 view [B, cells, 3] and weight [cells * ids, D]."""

    @staticmethod
    def forward(ctx: Any, view: Tensor, weight: Tensor, table: Tensor) -> Tensor:
        out = torch.zeros(len(view), weight.shape[1])
        _lookup(view.numpy(), table.numpy(), weight.detach().numpy(), out.numpy())
        ctx.save_for_backward(view, table)
        ctx.weight_shape = weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        view, table = ctx.saved_tensors
        grad_weight = torch.zeros(ctx.weight_shape)
        _scatter(view.numpy(), table.numpy(), grads[0].contiguous().numpy(), grad_weight.numpy())
        return None, grad_weight, None


class Symbolic(Encoder):
    """Dict{"image": [B, h, w, 3] uint8, "direction": [B]} -> [B, D].

    Args:
        hidden: widths of the layers; the first is the lookup's, the last is D.
    """

    def __init__(self, observation_space: spaces.Space, *, hidden: tuple[Width, ...] = (128, 128)) -> None:
        space = observation_space.spaces.get("image") if isinstance(observation_space, spaces.Dict) else None
        if not is_symbolic_view(space) or not hidden:
            raise ValueError("the encoder `symbolic` reads a dict with Minigrid's symbolic `image` and needs a layer")
        super().__init__(observation_space, features_dim=hidden[-1])
        assert space is not None and space.shape is not None
        self.cells = space.shape[0] * space.shape[1]
        self.weight = nn.Parameter(torch.empty(self.cells * N_IDS, hidden[0]))
        has_direction = "direction" in observation_space.spaces  # type: ignore[attr-defined]
        self.direction = nn.Parameter(torch.empty(4, hidden[0])) if has_direction else None
        self.bias = nn.Parameter(torch.zeros(hidden[0]))
        for table in (self.weight, self.direction):
            if table is not None:
                nn.init.normal_(table, std=self.cells**-0.5)  # unit variance of the sum over all cells
        self.register_buffer("table", torch.from_numpy(joint_ids()), persistent=False)
        pairs = zip(hidden, hidden[1:], strict=False)
        self.layers = nn.Sequential(*(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())))

    def forward(self, obs: Obs) -> Tensor:
        assert isinstance(obs, dict)
        view = obs["image"].flatten(1, 2).contiguous()
        first = self.bias + self._sum(view)
        if self.direction is not None:
            first = first + self.direction[obs["direction"].long().reshape(-1)]
        return self.layers(torch.relu(first))

    def _sum(self, view: Tensor) -> Tensor:
        if view.device.type == "cpu" and view.dtype == torch.uint8:
            return _Lookup.apply(view, self.weight, self.table)
        return self.plain_sum(view)

    def plain_sum(self, view: Tensor) -> Tensor:
        """The same sum without numba: for CUDA, and as the test's reference."""
        triple = view.long() & 15
        ids = self.table[triple[..., 0] << 8 | triple[..., 1] << 4 | triple[..., 2]]  # type: ignore[index]
        rows = ids + torch.arange(self.cells, device=view.device) * N_IDS
        return F.embedding_bag(rows, self.weight, mode="sum", per_sample_weights=(ids > 0).to(self.weight.dtype))
