"""The representations of Allen et al. 2021, S seeds at once: phi(x) in [-1, 1]^2 from 10,000 random transitions.

    inverse       L = -log p(a | phi(x), phi(x'))
    markov        L = inverse + BCE(d(phi(x), phi(x')), d(phi(x), phi(x~))),  x~ a successor from elsewhere in the batch
    autoencoder   L = mean (x - decode(phi(x)))^2

Source: the paper's equations for L_inv and L_ratio, and the authors' code (camall3n/markov-state-abstractions:
`gridworld/train_rep.py`, `models/`), which the numbers were made with. From the code, and not in the paper:

* A random walk of 20,000 steps from (0, 0), never reset and without a goal; only its first half trains, the second
  feeds a log (and is not made here).
* The blur runs over the whole array of pictures [t, row, column], so also over time: each training picture holds a
  sixth of the brightness of the one before it and the one after, which the agent's pictures later do not
  (`over_time=False`: each picture by itself).
* `updates` is 3,000 or 30,000, and 100 more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from envs import msa_grid
from studies._msa_nets import Nets, is_faster_short, tanh

PIXELS, LATENT, HIDDEN, ACTIONS = msa_grid.SIDE**2, 2, 32, 4
USED, BATCH, LR, EXTRA = 10_000, 2048, 3e-3, 100
ONE, QUARTER, LOW, HIGH = (np.float32(x) for x in (1, 0.25, -9, 9))
A, B = np.float32([135135, 17325, 378, 1]), np.float32([135135, 62370, 3150, 28])


@dataclass(frozen=True)
class Walks:
    """Pictures [S, 2, T, 324] of x and of x', actions [S, T]."""

    pictures: Tensor
    actions: Tensor


def blurred_over_time(pictures: np.ndarray) -> np.ndarray:
    """The third direction of the authors' blur: [T, ...], the first and the last picture go on beyond the ends."""
    before, after = np.concatenate([pictures[:1], pictures[:-1]]), np.concatenate([pictures[1:], pictures[-1:]])
    aside, centre = (np.float32(weight) for weight in msa_grid.KERNEL[:2])
    return centre * pictures + aside * (before + after)


def walks(count: int, rng: np.random.Generator, *, steps: int = USED, over_time: bool = True) -> Walks:
    """S random walks."""
    position, actions = np.zeros((steps + 2, count, 2), np.int64), rng.integers(ACTIONS, size=(steps + 1, count))
    for t in range(steps + 1):
        position[t + 1] = msa_grid.move(position[t], actions[t])
    dtype = torch.bfloat16 if is_faster_short() else torch.float32
    pictures = torch.empty(count, 2, steps, PIXELS, dtype=dtype)
    for s in range(count):
        for ahead in range(2):
            clean = msa_grid.picture(position[ahead : ahead + steps + 1, s], rng)
            clean = (blurred_over_time(clean) if over_time else clean)[:steps]
            seen = clean + msa_grid.noise(clean.shape, rng)
            pictures[s, ahead] = torch.from_numpy(seen).flatten(1).to(dtype)
    return Walks(pictures, torch.from_numpy(actions[:steps].T.copy()))


def new_phi(count: int, generator: torch.Generator, short: bool = False) -> Nets:
    """324 -> 32 tanh -> 2 tanh."""
    return Nets(count, (PIXELS, HIDDEN, LATENT), tanh, tanh, short=short, generator=generator)


@njit(cache=True, fastmath=True, error_model="numpy")  # a division that can raise is not made a vector one
def _tanh(x: float) -> float:
    """Within 2e-7: Lambert's continued fraction at x / 4, and tanh 2u = 2 tanh u / (1 + tanh^2 u) twice."""
    u = min(max(x, LOW), HIGH) * QUARTER
    s = u * u
    over, under = A[0] + s * (A[1] + s * (A[2] + s * A[3])), B[0] + s * (B[1] + s * (B[2] + s * B[3]))
    t = u * over / under
    t = (t + t) / (ONE + t * t)
    return (t + t) / (ONE + t * t)


@njit(cache=True, fastmath=True, error_model="numpy")
def _error_and_slope(y: np.ndarray, bias: np.ndarray, target: np.ndarray) -> float:
    """mean (target - tanh(y + bias))^2; the gradient by y [B, P] takes the place of y.

    torch takes a dozen passes over arrays that leave the cache between them, and more time than the products.
    """
    total, scale = 0.0, np.float32(2 / y.size)
    for b in range(len(y)):
        row, wanted, squares = y[b], target[b], np.float32(0)
        for i in range(len(row)):
            value = _tanh(row[i] + bias[i])
            error = value - wanted[i]
            squares += error * error
            row[i] = error * (ONE - value * value) * scale
        total += squares
    return total / y.size


class Reconstruction(torch.autograd.Function):
    """mean (x_s - tanh(h_s W_s + b_s))^2 of each seed, [S], from h [S, B, 32] and x [S, B, 324].

    One seed after the other, forward and backward at once.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        losses, gradients = h.new_empty(len(h)), [torch.empty_like(t) for t in (h, weight, bias)]
        dtype = x.dtype
        for s, (h_s, w, target) in enumerate(zip(h.to(dtype), weight.to(dtype), x, strict=True)):
            y = (h_s @ w).float()
            losses[s] = _error_and_slope(y.numpy(), bias[s, 0].numpy(), target.float().numpy())
            delta = y.to(dtype)
            for into, value in zip(gradients, (delta @ w.T, h_s.T @ delta, y.sum(0, keepdim=True)), strict=True):
                into[s] = value
        ctx.save_for_backward(*gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        h, weight, bias = (outer[:, None, None] * inner for inner in ctx.saved_tensors)
        return h, weight, bias, None


class Objective(torch.nn.Module):
    """phi with what its loss needs besides. `loss` is the sum over the S seeds of each one's mean loss."""

    def __init__(self, name: str, count: int, generator: torch.Generator) -> None:
        super().__init__()
        self.name, self.generator = name, generator
        short = is_faster_short()
        self.phi = new_phi(count, generator, short)
        if name == "autoencoder":
            self.decoder = Nets(count, (LATENT, HIDDEN), tanh, tanh, generator=generator)
            self.screen = Nets(count, (HIDDEN, PIXELS), tanh, generator=generator)
            return
        self.inverse = Nets(count, (2 * LATENT, HIDDEN, ACTIONS), tanh, generator=generator)
        if name == "markov":
            self.discriminator = Nets(count, (2 * LATENT, HIDDEN, 1), tanh, generator=generator)

    def loss(self, x: Tensor, actions: Tensor) -> Tensor:
        """x [S, B or 2 B, 324]: the pictures, then (but for the autoencoder) their successors; actions [S, B]."""
        z = self.phi(x)
        if self.name == "autoencoder":
            return Reconstruction.apply(self.decoder(z), self.screen.weights[0], self.screen.biases[0], x).sum()
        z, z_next = z.chunk(2, 1)
        batch = actions.shape[1]
        logits = self.inverse(torch.cat([z, z_next], -1))
        loss = F.cross_entropy(logits.flatten(0, 1), actions.flatten(), reduction="sum") / batch
        return loss + self.ratio(z, z_next) if self.name == "markov" else loss

    def ratio(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Is the successor another transition's? The same shuffle for all seeds, whose batches differ."""
        batch = z.shape[1]
        other = z_next[:, torch.randperm(batch, generator=self.generator)]
        pairs = torch.cat([torch.cat([z, z_next], -1), torch.cat([z, other], -1)], 1)
        fake = torch.cat([torch.zeros(batch), torch.ones(batch)]).expand(len(z), -1)
        logits = self.discriminator(pairs).squeeze(-1)
        return F.binary_cross_entropy_with_logits(logits, fake, reduction="sum") / (2 * batch)


def train(name: str, data: Walks, updates: int, generator: torch.Generator, *, batch: int = BATCH) -> Nets:
    """S trained phis, frozen."""
    count, sides, steps, pixels = data.pictures.shape
    objective = Objective(name, count, generator)
    optimiser = torch.optim.Adam(objective.parameters(), lr=LR, fused=True)
    sides = 1 if name == "autoencoder" else sides
    flat, first = data.pictures.view(-1, pixels), torch.arange(count)[:, None] * 2 * steps
    for _ in range(updates):
        drawn = torch.stack([torch.randperm(steps, generator=generator)[:batch] for _ in range(count)]).sort(1).values
        rows = torch.cat([first + side * steps + drawn for side in range(sides)], 1)
        x = flat.index_select(0, rows.flatten()).view(count, -1, pixels)
        optimiser.zero_grad(set_to_none=True)
        objective.loss(x, data.actions.gather(1, drawn)).backward()
        optimiser.step()
    return objective.phi.requires_grad_(False)
