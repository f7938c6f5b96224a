"""A small deterministic world for objectives: a chain of cells, seen as one-hot vectors, whose actions move by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from agents.context import Context
from agents.objectives import Objective
from agents.rollout import Index, Rollout

CELLS, T, N = 12, 32, 16
SPACE, ACTIONS = spaces.Box(-10, 10, (CELLS,), np.float32), spaces.Discrete(2)
ALL = torch.arange(T).repeat_interleave(N), torch.arange(N).repeat(T)


class Encoder(BaseFeaturesExtractor):
    """Two layers, [M, cells] -> [M, 16]."""

    def __init__(self) -> None:
        super().__init__(SPACE, 16)
        self.net = nn.Sequential(nn.Linear(CELLS, 32, bias=False), nn.ReLU(), nn.Linear(32, 16, bias=False))

    def forward(self, observations: Tensor) -> Tensor:
        return self.net(observations)


CONTEXT = Context(SPACE, ACTIONS, N, Encoder)


@cache
def walk(seed: int = 0, ends: float = 0.1) -> Rollout:
    """A walk on a ring of cells; with probability `ends` a step is an episode's last, and a cell is drawn anew."""
    g = torch.Generator().manual_seed(seed)
    actions, ended = torch.randint(2, (T, N), generator=g), torch.rand(T, N, generator=g) < ends
    fresh = torch.randint(CELLS, (T, N), generator=g)
    cells, after = torch.empty(T, N, dtype=torch.long), torch.empty(T, N, dtype=torch.long)
    now = fresh[0]
    for t in range(T):
        cells[t] = now
        after[t] = (now + 2 * actions[t] - 1) % CELLS
        now = torch.where(ended[t], fresh[t], after[t])
    one_hot = torch.eye(CELLS)
    return Rollout(one_hot[cells], actions, one_hot[after], torch.zeros(T, N), ended, torch.zeros_like(ended))


def some(m: int, seed: int = 0) -> Index:
    """`m` different steps of a walk, in random order."""
    flat = torch.randperm(T * N, generator=torch.Generator().manual_seed(seed))[:m]
    return flat // N, flat % N


def learn(objective: Objective, updates: int, lr: float = 3e-3, m: int = 256) -> tuple[Encoder, list[dict[str, float]]]:
    """Train on eight walks in turn; the encoder, and the metrics of each update."""
    encoder, history = Encoder(), []
    own = [p for p in objective.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam([*own, *encoder.parameters()], lr)
    for i in range(updates):
        loss, metrics = objective.loss(encoder, walk(i % 8), some(m, i))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(encoder)
        history.append(metrics)
    return encoder, history


@torch.no_grad()
def signal(objective: Objective, encoder: Encoder) -> float:
    """How many times larger the loss is on a new walk if its pairs are drawn at random: 1 if nothing was learned."""
    losses, (t, n) = {}, some(T * N)
    whole = t < T - 8  # so that all sequences are equally long
    for objective.shuffled in (True, False):
        losses[objective.shuffled] = objective.loss(encoder, walk(99, 0.0), (t[whole], n[whole]))[0].item()
    return losses[True] / losses[False]


def signals(
    make: Callable[[bool], Objective], updates: int = 150, lr: float = 3e-3, m: int = 256
) -> tuple[float, float]:
    """`signal` of an objective that learned, and of its control."""
    found = []
    for shuffled in (False, True):
        torch.manual_seed(0)
        objective = make(shuffled)
        encoder, _ = learn(objective, updates, lr, m)
        found.append(signal(objective, encoder))
    return found[0], found[1]


def looks_beyond_an_end(objective: Objective) -> tuple[bool, bool]:
    """Does the loss of steps 0 to 3 depend on what comes after step 3, if an episode ends there, and if none does?"""
    encoder, index = Encoder(), (torch.arange(4).repeat_interleave(N), torch.arange(N).repeat(4))
    answers = []
    for ended in (True, False):
        data, other = walk(0, 0.0), walk(1, 0.0)
        done = data.done.clone()
        done[3] = ended
        data = replace(data, terminated=done)
        changed = {name: torch.cat([getattr(data, name)[:4], getattr(other, name)[4:]]) for name in PARTS}
        before, after = (objective.loss(encoder, one, index)[0].item() for one in (data, replace(data, **changed)))
        answers.append(before != after)
    return answers[0], answers[1]


PARTS = ("obs", "actions", "next_obs")
