"""Minigrid's symbolic view: one learned row per (cell, object-colour-state), summed; then ordinary layers.

h_1 = relu(b + sum_c W[c, id(c)] + W[direction] + sum_j W[j, token_j]) is exactly a linear layer over the one-hot code
of the joint ids, the direction and the mission's tokens, without ever forming the code. Cells that are not seen add
nothing (their row is fixed at zero: the bias holds it), which loses no function and saves half of the additions. The
compiled sum and its backward run on the CPU; elsewhere the same sum is an `embedding_bag`.
"""

from __future__ import annotations

from typing import Annotated, Any

import numba
import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from agents.encoders import Encoder, is_symbolic_view
from agents.layers import dense_layers
from agents.rollout import Obs

UNSEEN, EMPTY, WALL, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA, AGENT = range(11)
COLOURS, STATES = 6, 3
NOTHING = 0  # the weight's row of "the first cell is not seen": always zero
CHUNK = 8  # rows added at a time
Width = Annotated[int, Field(ge=1, le=65536)]


def joint_ids() -> np.ndarray:
    """[16 ** 3] uint8: (object, colour, state), four bits each -> joint id; 0 is "unseen", or what cannot occur.

    Four bits hold every number that the space allows: no observation can make the compiled lookup leave the table.
    """
    table = np.zeros((16, 16, 16), np.uint8)
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


@numba.njit(cache=True)
def find_rows(
    view: np.ndarray, symbols: np.ndarray, offsets: np.ndarray, table: np.ndarray, rows: np.ndarray, counts: np.ndarray
) -> None:
    """Which rows of the weight each observation adds up: rows [B, R], the first counts [B] of them, then zeros."""
    n_ids = offsets[0]
    for b in range(rows.shape[0]):
        k = 0
        for c in range(view.shape[1]):
            i = table[(view[b, c, 0] & 15) << 8 | (view[b, c, 1] & 15) << 4 | (view[b, c, 2] & 15)]
            if i:
                rows[b, k] = c * n_ids + i
                k += 1
        for j in range(symbols.shape[1]):
            symbol = symbols[b, j]
            if 0 <= symbol < offsets[j + 2] - offsets[j + 1]:
                rows[b, k] = offsets[j + 1] + symbol
                k += 1
        counts[b] = k
        for j in range(k, -(-k // CHUNK) * CHUNK):
            rows[b, j] = NOTHING


@numba.njit(cache=True, fastmath=True)
def add_rows(rows: np.ndarray, counts: np.ndarray, weight: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """out = max(0, bias + the sum of the rows). Eight rows a time: what is summed is read and written once for them."""
    for b in range(out.shape[0]):
        total = out[b]
        for d in range(len(bias)):
            total[d] = bias[d]
        for j in range(0, counts[b], CHUNK):
            w0, w1, w2, w3 = weight[rows[b, j]], weight[rows[b, j + 1]], weight[rows[b, j + 2]], weight[rows[b, j + 3]]
            w4, w5 = weight[rows[b, j + 4]], weight[rows[b, j + 5]]
            w6, w7 = weight[rows[b, j + 6]], weight[rows[b, j + 7]]
            for d in range(len(bias)):
                total[d] += ((w0[d] + w1[d]) + (w2[d] + w3[d])) + ((w4[d] + w5[d]) + (w6[d] + w7[d]))
        for d in range(len(bias)):
            total[d] = max(total[d], np.float32(0))


@numba.njit(cache=True, fastmath=True)
def add_gradient(
    rows: np.ndarray, counts: np.ndarray, grad: np.ndarray, out: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> None:
    """The gradient [B, D] of `out` added to those of `weight` and `bias`."""
    passed = np.empty(len(bias), np.float32)
    for b in range(len(grad)):
        shone, given = out[b], grad[b]
        for d in range(len(bias)):
            passed[d] = given[d] if shone[d] > 0 else np.float32(0)
        for d in range(len(bias)):
            bias[d] += passed[d]
        for j in range(counts[b]):
            row = weight[rows[b, j]]
            for d in range(len(bias)):
                row[d] += passed[d]


def _room(n: int, most: int) -> tuple[Tensor, Tensor]:
    """Empty rows [n, R] and counts [n] for observations with at most `most` rows each."""
    return torch.empty(n, -(-most // CHUNK) * CHUNK, dtype=torch.int32), torch.empty(n, dtype=torch.int32)


class _Rows(torch.autograd.Function):
    """relu(bias + sum of `weight`'s rows [n, R]), of which `counts` [n] count: [n, D]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = torch.empty(len(rows), len(bias))
        add_rows(rows.numpy(), counts.numpy(), weight.detach().numpy(), bias.detach().numpy(), out.numpy())
        ctx.save_for_backward(rows, counts, out)
        ctx.n_rows = len(weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, Tensor]:
        rows, counts, out = ctx.saved_tensors
        weight, bias = torch.zeros(ctx.n_rows, out.shape[1]), torch.zeros(out.shape[1])
        found = rows.numpy(), counts.numpy()
        add_gradient(*found, grad.contiguous().numpy(), out.numpy(), weight.numpy(), bias.numpy())
        return None, None, weight, bias


def _symbols(space: spaces.Dict) -> list[tuple[str, list[int]]]:
    """Parts of the observation beside the view: (name, numbers of values of its components)."""
    parts = []
    if isinstance(space.spaces.get("direction"), spaces.Discrete):
        parts.append(("direction", [int(space.spaces["direction"].n)]))  # type: ignore[attr-defined]
    if isinstance(space.spaces.get("mission"), spaces.MultiDiscrete):
        parts.append(("mission", [int(n) for n in space.spaces["mission"].nvec]))  # type: ignore[attr-defined]
    return parts


class Symbolic(Encoder):
    """Dict{"image": [B, h, w, 3] uint8, "direction": [B], "mission": [B, L] (the last two if there)} -> [B, D].

    Args:
        hidden: widths of the layers; the first is the lookup's, the last is D.

    Raises:
        ValueError: if the space has no symbolic `image`, or there is no layer.
    """

    table: Tensor
    offsets: Tensor

    def __init__(self, observation_space: spaces.Space, *, hidden: tuple[Width, ...] = (128, 128)) -> None:
        space = observation_space.spaces.get("image") if isinstance(observation_space, spaces.Dict) else None
        if not is_symbolic_view(space) or not hidden:
            raise ValueError("the encoder `symbolic` reads a dict with Minigrid's symbolic `image` and needs a layer")
        super().__init__(observation_space, features_dim=hidden[-1])
        assert space is not None and space.shape is not None and isinstance(observation_space, spaces.Dict)
        self.cells = space.shape[0] * space.shape[1]
        parts = _symbols(observation_space)
        self.symbols = [name for name, _ in parts]
        sizes = [n for _, ns in parts for n in ns]
        offsets = np.cumsum([self.cells * N_IDS, *sizes])  # where each component's rows begin, and the end
        self.register_buffer("offsets", torch.from_numpy(np.array([N_IDS, *offsets], np.int64)), persistent=False)
        self.register_buffer("table", torch.from_numpy(joint_ids()), persistent=False)
        self.weight = nn.Parameter(torch.empty(int(offsets[-1]), hidden[0]))
        self.bias = nn.Parameter(torch.zeros(hidden[0]))
        nn.init.normal_(self.weight, std=self.cells**-0.5)  # unit variance of the sum over all cells
        self.weight.data[: self.cells * N_IDS : N_IDS] = 0  # what is not seen; no gradient ever reaches these rows
        self.layers = dense_layers(hidden)

    def forward(self, obs: Obs) -> Tensor:
        view, symbols = self.parts(obs)
        if view.device.type == "cpu" and view.dtype == torch.uint8 and self.weight.dtype == torch.float32:
            return self.layers(self.compiled(view, symbols))
        return self.layers(self.plain(view, symbols))

    def parts(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """The view [B, cells, 3], and direction and tokens, one component a column: [B, S] int64."""
        assert isinstance(obs, dict)
        view = obs["image"].flatten(1, 2).contiguous()
        columns = [obs[name].long().reshape(len(view), -1) for name in self.symbols]
        if len(columns) == 1:
            return view, columns[0]
        return view, torch.cat(columns, 1) if columns else view.new_empty((len(view), 0), dtype=torch.int64)

    @property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """What `find_rows` reads: `offsets` and `table`."""
        return self.offsets.numpy(), self.table.numpy()

    def room(self, n: int) -> tuple[Tensor, Tensor]:
        """Empty rows and counts for n observations: what `find_rows` fills."""
        return _room(n, self.cells + len(self.offsets) - 2)

    def compiled(self, view: Tensor, symbols: Tensor) -> Tensor:
        """The first layer on the CPU."""
        rows, counts = self.room(len(view))
        find_rows(view.numpy(), symbols.numpy(), *self.tables, rows.numpy(), counts.numpy())
        return _Rows.apply(rows, counts, self.weight, self.bias)

    def plain(self, view: Tensor, symbols: Tensor) -> Tensor:
        """The first layer without compiled code: for CUDA, and as the test's reference."""
        triple = view.long() & 15
        ids = self.table[triple[..., 0] << 8 | triple[..., 1] << 4 | triple[..., 2]].long()
        rows = ids + torch.arange(self.cells, device=view.device) * N_IDS
        seen = (ids > 0).to(self.weight.dtype)
        rows = torch.cat([rows, symbols + self.offsets[1:-1]], 1)
        seen = torch.cat([seen, torch.ones_like(symbols, dtype=seen.dtype)], 1)
        return torch.relu(self.bias + F.embedding_bag(rows, self.weight, mode="sum", per_sample_weights=seen))
