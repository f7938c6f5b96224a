"""Supervised states: the encoder learns the true state from labelled frames of a random policy, then is frozen.

Loss: sum over labels of cross-entropy (classes) or squared error on standardised values (numbers), from linear heads
that are thrown away; PPO then learns on the fixed features. This is the "supervised" encoder of the S-RL Toolbox
(Raffin et al. 2018) and AtariARI (Anand et al. 2019). Frames come from a random policy, as an unsupervised encoder's
pre-training frames do, so that the two differ by the labels alone.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.faults import Unfit
from agents.supervised import MakeLabelled, Supervised, copies_for
from agents.supervised._fit import Labelled, collect, early_stopping, judging, random_actions, shuffled, split, take


class StateSupervision(Supervised):
    """Frames of a random policy whose true state is told, and the encoder that learns from them.

    Args:
        labels: frames told, one per environment step.
        lr, batch_size: of Adam.
        held_out: share of the episodes on which early stopping judges.
        max_epochs: most passes over the labels.
        patience: epochs without a better held-out loss after which it stops.
        shuffled: the negative control: each frame gets the state of another one.
    """

    asks = "labels"

    def __init__(
        self,
        context: Context,
        *,
        labels: Annotated[int, Field(ge=2, le=10_000_000)] = 1000,
        lr: Annotated[float, Field(gt=0, le=1)] = 1e-3,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        max_epochs: Annotated[int, Field(ge=1)] = 200,
        patience: Annotated[int, Field(ge=1)] = 10,
        shuffled: bool = False,
    ) -> None:
        super().__init__(context)
        self.labels, self.lr, self.batch_size = labels, lr, batch_size
        self.held_out, self.max_epochs, self.patience, self.shuffled = held_out, max_epochs, patience, shuffled
        self.encoder = context.make_encoder()

    def fit(self, make_env: MakeLabelled, seed: int) -> dict[str, float]:
        rng = np.random.default_rng(seed)
        env, obs = make_env(copies_for(self.labels))
        act = random_actions(self.context.action_space, env.num_envs, rng)
        data = collect(env, obs, self.labels, act, lambda e: e.labels())
        if not data.answers:
            raise Unfit("the environment offers no state labels")
        self.state_labels, self.steps = self.labels, data.steps
        data = shuffled(data, rng) if self.shuffled else data
        train, held_out = split(data.episodes, self.held_out, rng)
        heads = nn.ModuleDict(
            {name: _Head(self.encoder.features_dim, told[train]) for name, told in data.answers.items()}
        )
        module = nn.ModuleDict({"encoder": self.encoder, "heads": heads})
        metrics = early_stopping(
            module,
            lambda index: self._loss(heads, data, index),
            train,
            held_out,
            lr=self.lr,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.patience,
        )
        return metrics | self._scores(heads, data, held_out)

    def _loss(self, heads: nn.ModuleDict, data: Labelled, index: Tensor) -> Tensor:
        features = self.encoder(take(data.obs, index))
        return torch.stack([head.loss(features, data.answers[name][index]) for name, head in heads.items()]).sum()  # type: ignore[operator]

    def _scores(self, heads: nn.ModuleDict, data: Labelled, index: Tensor) -> dict[str, float]:
        with judging(self.encoder):
            features = self.encoder(take(data.obs, index))
            return {f"{name}_score": head.score(features, data.answers[name][index]) for name, head in heads.items()}  # type: ignore[operator]


class _Head(nn.Module):
    """A linear reader of one label [n] or [n, k]: classes (integers) or numbers (floats), every column on its own."""

    def __init__(self, features: int, told: Tensor) -> None:
        super().__init__()
        told = told.reshape(len(told), -1)
        self.least = 0 if told.is_floating_point() else min(int(told.min()), 0)  # -1 may stand for "none"
        self.classes = 0 if told.is_floating_point() else int(told.max()) + 1 - self.least
        self.columns = told.shape[1]
        self.linear = nn.Linear(features, self.columns * max(self.classes, 1))
        self.mean, self.std = told.double().mean(0).float(), told.double().std(0).float().clamp(min=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).unflatten(1, (self.columns, max(self.classes, 1)))

    def loss(self, features: Tensor, told: Tensor) -> Tensor:
        told, out = told.reshape(len(told), -1), self(features)
        if self.classes:
            known = (told.long() - self.least).clamp(
                0, self.classes - 1
            )  # one of the held-out part alone cannot be right
            return F.cross_entropy(out.flatten(0, 1), known.flatten())
        return F.mse_loss(out[..., 0], (told - self.mean) / self.std)

    def score(self, features: Tensor, told: Tensor) -> float:
        """Accuracy for classes, R2 (against the training mean) for numbers."""
        told, out = told.reshape(len(told), -1), self(features)
        if self.classes:
            return (out.argmax(-1) + self.least == told).float().mean().item()
        wanted = (told - self.mean) / self.std
        return 1.0 - (F.mse_loss(out[..., 0], wanted) / wanted.square().mean().clamp(min=1e-12)).item()
