"""Contrastive predictive coding: from the views so far, tell which view comes k steps later among those of others.

L = mean over i, tau, k of -log softmax_j((W_k c_{i,tau})^T z_{j,tau+k})_i,   c_{i,tau} = GRU(z_{i,0} ... z_{i,tau}),
z = phi(s)

Source: van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding", eqs. 3-4; details after
the code of Anand et al. 2019 (AtariARI): gradient through both sides, no temperature, W_k with bias. The context starts
with its sequence, and a sequence stops where its episode ends.

What is smaller than published, because a curiosity learner's minibatch has to take milliseconds: sequences of 8 steps
(theirs of 100) that begin at every 8th step of the minibatch, so that nine views are encoded for eight of its steps;
one GRU layer of 128 (two of 256); k up to 3 (every fourth up to 97 there, 30 in van den Oord's DMLab agents). The
negatives of a prediction are the views at the same place of the other sequences (theirs: at every place of every
sequence, 8 times as many), which also keeps a view's own neighbours from being its negatives. The mean over k is
taken, not the sum.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from agents.context import Context
from agents.faults import Unfit
from agents.layers import Linear
from agents.objectives import Mode, Objective
from agents.objectives._actions import to_floats
from agents.objectives._sequences import features, starts, views
from agents.rollout import Index, Rollout

IGNORED, NEVER = -100, -1e30  # label of a row, logit of a column behind the end of its episode


class CPC(Objective):
    """InfoNCE between a recurrent context and the views of the next k steps.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        length: steps of a sequence.
        k: how many steps ahead are predicted.
        hidden: units of the GRU.

    Raises:
        ValueError: if `k` is larger than `length`.
    """

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
        length: Annotated[int, Field(ge=1, le=100)] = 8,
        k: Annotated[int, Field(ge=1, le=100)] = 3,
        hidden: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        if k > length:
            raise Unfit(f"cpc: k={k} looks beyond sequences of length={length} steps; lower k or raise length")
        self.length, d = length, context.features_dim
        self.gru = nn.GRU(d, hidden, batch_first=True)
        self.W = nn.ModuleList(Linear(hidden, d) for _ in range(k))

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; `accuracy`, how often the true view has the largest logit; `chance`, that of a guess."""
        steps = self.ahead(rollout, starts(index, self.length), self.length)
        z = features(encoder, views(steps))
        c, _ = self.gru(z[:, :-1])
        terms = [self._contrast(W(c[:, : z.shape[1] - k]), z[:, k:], steps.reached[:, k - 1 :]) for k, W in self._ahead]
        loss, right, blocks, rows = (torch.stack(term).sum() for term in zip(*terms, strict=True))
        return loss / rows, to_floats({"loss": loss / rows, "accuracy": right / rows, "chance": blocks / rows})

    @property
    def _ahead(self) -> list[tuple[int, nn.Module]]:
        return list(enumerate(self.W, 1))

    @staticmethod
    def _contrast(predicted: Tensor, z: Tensor, reached: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predictions and what came, [M, P, D], of which `reached` [M, P] count -> sums over rows: the loss, how many
        are right, how many places have a row at all, how many rows there are."""
        m, places = reached.shape
        logits = (predicted.transpose(0, 1) @ z.permute(1, 2, 0)).masked_fill(~reached.T[:, None], NEVER)
        own = torch.arange(m, device=z.device).expand(places, m)
        labels = own.where(reached.T, IGNORED)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        right = (logits.detach().argmax(-1) == labels).sum()
        return loss, right, reached.any(0).sum(), reached.sum()
