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

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from agents.adam import Adam
from envs import msa_grid
from studies import _msa_autoencoder
from studies._msa_nets import Nets, tanh

PIXELS, LATENT, HIDDEN, ACTIONS = msa_grid.SIDE**2, 2, 32, 4
USED, BATCH, LR, EXTRA = 10_000, 2048, 3e-3, 100


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
    pictures = torch.empty(count, 2, steps, PIXELS)
    for s in range(count):
        for ahead in range(2):
            clean = msa_grid.picture(position[ahead : ahead + steps + 1, s], rng)
            clean = (blurred_over_time(clean) if over_time else clean)[:steps]
            seen = clean + msa_grid.noise(clean.shape, rng)
            pictures[s, ahead] = torch.from_numpy(seen).flatten(1)
    return Walks(pictures, torch.from_numpy(actions[:steps].T.copy()))


def new_phi(count: int, generator: torch.Generator) -> Nets:
    """324 -> 32 tanh -> 2 tanh."""
    return Nets(count, (PIXELS, HIDDEN, LATENT), tanh, tanh, generator=generator)


def subset(rng: np.random.Generator, among: int, size: int) -> np.ndarray:
    """`size` of range(among), each set of them as likely, in ascending order."""
    return _floyd(rng.random(size), among)


@njit(cache=True)
def _floyd(uniform: np.ndarray, among: int) -> np.ndarray:
    """Floyd's algorithm (Bentley 1987)."""
    chosen, size = np.zeros(among, np.bool_), len(uniform)
    for k in range(size):
        last = among - size + k
        one = int(uniform[k] * (last + 1))
        chosen[last if chosen[one] else one] = True
    return np.nonzero(chosen)[0]


class Objective(torch.nn.Module):
    """phi with what its loss needs besides."""

    def __init__(self, name: str, count: int, generator: torch.Generator) -> None:
        super().__init__()
        self.name, self.generator = name, generator
        self.phi = new_phi(count, generator)
        if name == "autoencoder":
            self.decoder = Nets(count, (LATENT, HIDDEN, PIXELS), tanh, tanh, generator=generator)
            return
        self.inverse = Nets(count, (2 * LATENT, HIDDEN, ACTIONS), tanh, generator=generator)
        if name == "markov":
            self.discriminator = Nets(count, (2 * LATENT, HIDDEN, 1), tanh, generator=generator)

    def backward(self, data: Walks, drawn: Tensor) -> None:
        """Add each seed's gradient of its mean loss on its `drawn` [S, B] transitions."""
        count, sides, steps, pixels = data.pictures.shape
        flat, rows = data.pictures.view(-1, pixels), drawn + torch.arange(count)[:, None] * sides * steps
        if self.name == "autoencoder":
            nets = self.phi, self.decoder
            weights, biases = ([p for net in nets for p in getattr(net, name)] for name in ("weights", "biases"))
            _msa_autoencoder.backward(flat, rows, weights, biases)
        else:
            z = self.phi.of_rows(flat, torch.cat([rows, rows + steps], 1))
            self.loss(*z.chunk(2, 1), data.actions.gather(1, drawn)).backward()

    def loss(self, z: Tensor, z_next: Tensor, actions: Tensor) -> Tensor:
        """The sum of the seeds' losses; z [S, B, 2], actions [S, B]."""
        logits = self.inverse(torch.cat([z, z_next], -1))
        loss = F.cross_entropy(logits.flatten(0, 1), actions.flatten(), reduction="sum") / actions.shape[1]
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
    count, _, steps, _ = data.pictures.shape
    objective = Objective(name, count, generator)
    optimiser = Adam(objective.parameters(), lr=LR)
    rng = np.random.default_rng(int(torch.randint(2**32, (), generator=generator)))
    for parameter in objective.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(updates):
        drawn = np.stack([subset(rng, steps, batch) for _ in range(count)])
        optimiser.zero_grad(set_to_none=False)
        objective.backward(data, torch.from_numpy(drawn))
        optimiser.step()
    return objective.phi.requires_grad_(False)
