"""A ring of cells, whose every step is known: what an objective must learn from true pairs, and cannot from others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from agents.context import Context
from agents.objectives import Objective
from agents.rollout import Index, Rollout

CELLS, FEATURES = 24, 16
SPACE, ACTIONS = spaces.Box(0, 1, (CELLS,), np.float32), spaces.Discrete(2)


class Encoder(BaseFeaturesExtractor):
    def __init__(self) -> None:
        super().__init__(SPACE, FEATURES)
        self.net = nn.Sequential(nn.Linear(CELLS, FEATURES), nn.Tanh())

    def forward(self, observations: Tensor) -> Tensor:
        return self.net(observations)


CONTEXT = Context(SPACE, ACTIONS, CELLS, Encoder)


def ring(moves: Tensor, ended: Tensor | None = None, starts: Tensor | None = None) -> Rollout:
    """moves [T, N], 1 to the right and 0 to the left; views are one-hot. After an end a copy is where it started."""
    starts = torch.arange(moves.shape[1]) if starts is None else starts
    ended = torch.zeros(moves.shape).bool() if ended is None else ended
    cell, before, after = starts, [], []
    for move, end in zip(moves, ended, strict=True):
        before.append(cell)
        after.append((cell + 2 * move - 1) % CELLS)
        cell = torch.where(end, starts, after[-1])
    views = torch.eye(CELLS)
    return Rollout(
        views[torch.stack(before)], moves, views[torch.stack(after)], torch.zeros(moves.shape), ended, ended & False
    )


def walk(seed: int = 0, steps: int = 12, share_of_ends: float = 0.0) -> Rollout:
    g = torch.Generator().manual_seed(seed)
    moves = torch.randint(2, (steps, CELLS), generator=g)
    return ring(moves, torch.rand(moves.shape, generator=g) < share_of_ends)


def everything(data: Rollout) -> Index:
    t, n = data.shape
    return torch.arange(t).repeat_interleave(n), torch.arange(n).repeat(t)


def train(
    objective: Objective, worlds: Callable[[int], Rollout], *, updates: int, lr: float = 3e-3
) -> dict[str, float]:
    """Metrics averaged over the last quarter of the updates, each on the whole of another rollout."""
    encoder, history = Encoder(), []
    trainable = [p for p in [*objective.parameters(), *encoder.parameters()] if p.requires_grad]
    optimiser = torch.optim.Adam(trainable, lr)
    for update in range(updates):
        data = worlds(update)
        loss, metrics = objective.loss(encoder, data, everything(data))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(encoder)
        history.append(metrics)
    last = history[-updates // 4 :]
    return {name: float(np.mean([metrics[name] for metrics in last])) for name in last[0]}
