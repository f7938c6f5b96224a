"""Augmented temporal contrast: from a view, tell what is seen k steps later from what other steps lead to.

L = mean_i -log softmax_j(p_i^T W c_j)_i,   c = g(phi(s_t)),   p = c + h(c),   c_j = g_bar(phi_bar(s_{t+k})) without
gradient,   phi_bar, g_bar <- (1 - tau) (phi_bar, g_bar) + tau (phi, g)

Source: Stooke et al. 2021, "Decoupling Representation Learning from Reinforcement Learning", and the authors' code:
k = 3 (Atari, DMLab), linear g, a residual layer h, W without bias, tau .01, no temperature; the softmax subtracts each
row's maximum. Both views are shifted at random, where they are pictures.

What we do differently: pairs across an episode's end are neither rows nor columns; the authors leave their columns,
which in a rollout would be arbitrary views. Always shifted (theirs with probability .1 in Atari, 1 in control). Latents
of 128 and a layer of 256 (theirs 256 and 512), as the encoders here are smaller. No warm-up, no cosine and no clipping
of its own: the learner's optimiser owns it.

False negatives: in a gridworld many steps of a minibatch lead to the same view, and each is the others' negative. They
stay, as in the paper: negatives are draws of the views' marginal, in which what is frequent occurs often, and the
best logits are still log p(s'|s) / p(s') up to a constant of the row. They raise the least possible loss, and without
augmentation `accuracy` cannot exceed the share of different views (about half of a minibatch in MiniGrid).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from agents.augment import RandomShift
from agents.context import Context
from agents.faults import Unfit
from agents.layers import Dense, Linear, affine
from agents.objectives import Mode, Objective
from agents.objectives._actions import to_floats
from agents.objectives._ahead import Ahead
from agents.objectives._target import follow
from agents.rollout import Index, Rollout, map_obs

IGNORED, NEVER = -100, -1e30  # label of a row, logit of a column that is no pair: sizes that vary would cost more


class ATC(Objective):
    """InfoNCE between a view and the one k steps later, as a moving-average encoder sees it.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        k: steps between the two views.
        tau: share of encoder and projection that their targets take over after each optimiser step.
        latent: size of the projection.
        hidden: units of the residual layer of the anchor.

    Raises:
        ValueError: by `loss`, if a rollout is shorter than k.
    """

    started: Tensor

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
        k: Annotated[int, Field(ge=1)] = 3,
        tau: Annotated[float, Field(gt=0, le=1)] = 0.01,
        latent: Annotated[int, Field(ge=1)] = 128,
        hidden: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.k, self.tau, self.shift = k, tau, RandomShift(context.observation_space)
        self.target = context.make_encoder().requires_grad_(False)
        self.projection = Linear(self.target.features_dim, latent)
        self.target_projection = deepcopy(self.projection).requires_grad_(False)
        self.anchor = nn.Sequential(Dense(latent, hidden), Linear(hidden, latent))
        self.W = Linear(latent, latent, bias=False)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; `accuracy`, how often the true successor has the largest logit; `chance`, 1 / pairs."""
        if not self.started:
            self._start(encoder)
        steps = self._ahead(rollout, index)
        kept, own = steps.reached[:, -1], torch.arange(len(steps.reached), device=steps.reached.device)
        logits = self._logits(encoder, steps, kept)
        pairs = kept.sum().clamp(min=1)
        loss = F.cross_entropy(logits, own.where(kept, IGNORED), ignore_index=IGNORED, reduction="sum") / pairs
        right = kept & (logits.detach().argmax(1) == own)
        return loss, to_floats({"loss": loss, "accuracy": right.sum() / pairs, "chance": 1 / pairs})

    def after_step(self, encoder: BaseFeaturesExtractor) -> None:
        follow(self.target, encoder, self.tau)
        follow(self.target_projection, self.projection, self.tau)

    def _start(self, encoder: BaseFeaturesExtractor) -> None:
        """The target begins as the encoder, which is met here for the first time."""
        self.target.load_state_dict(encoder.state_dict())
        self.started.fill_(True)

    def _ahead(self, rollout: Rollout, index: Index) -> Ahead:
        steps = rollout.shape[0]
        if self.k > steps:
            raise Unfit(f"atc: k={self.k} looks beyond a rollout of {steps} steps; lower k or raise n_steps")
        return self.ahead(rollout, index, self.k)

    def _logits(self, encoder: BaseFeaturesExtractor, steps: Ahead, kept: Tensor) -> Tensor:
        """[M, M]: how well each s_{t+k} (column) fits each s_t (row); none fits a column that is not kept."""
        c = self.projection(encoder(self.shift(steps.obs, encoder)))
        with torch.no_grad():
            later = self.shift(map_obs(lambda x: x[:, -1], steps.next_obs), self.target)
            positive = self.target_projection(self.target(later))
            bias = torch.zeros_like(positive[:, 0]).masked_fill(~kept, NEVER)
        return affine(self.W(c + self.anchor(c)), positive, bias)
