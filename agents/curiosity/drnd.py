"""Distributional random network distillation: how far is a predictor from several frozen random networks' mean?

r_t = alpha b_1(s_{t+1}) + (1 - alpha) b_2(s_{t+1})
b_1 = mean_k (f_k - mu_k)^2,   b_2 = mean_k sqrt(|f_k^2 - mu_k^2| / (B2_k - mu_k^2))

mu and B2 are the first two moments of the N targets; the predictor f regresses one random target per step. After n
visits the ratio without its modulus has the mean 1/n, which the paper takes the root of; b_2 itself falls more slowly,
towards n^(-1/4), as 2 mu_k (f_k - mu_k) outweighs the square.

Source: Yang et al. 2024, "Exploration and Anti-Exploration with Distributional Random Network Distillation", and the
authors' code (N = 5, alpha = .95, the ratio cut to [1e-6, 1]). What we do differently: means over the features
where they sum, which is a factor; a step's target is its place in the shuffled minibatch, so that every target has the
same share. All else is as in `rnd`.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import descend, in_pieces, n_views, take
from agents.curiosity._distillation import Distillation
from agents.rollout import Obs, Rollout, flatten_obs, map_obs


class DRND(IntrinsicReward):
    """Distance of a predictor from several frozen random networks, and from their spread.

    Args:
        lr: Adam's learning rate.
        targets: N, frozen random networks.
        alpha: weight of the distance from their mean; the rest is the pseudo-count's.
        width: features of the random networks, and units of the predictor's extra layers.
        proportion: share of the views that the predictor learns from; None: min(1, 32 / n_envs).
    """

    optimiser: Adam

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        targets: Annotated[int, Field(ge=2, le=100)] = 5,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.95,
        width: Annotated[int, Field(ge=1)] = 128,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.alpha, self.networks = alpha, Distillation(context, width, proportion)
        self.others = nn.ModuleList(Distillation(context, width, proportion).target for _ in range(targets - 1))
        self.optimiser = Adam(self.networks.predictor.parameters(), lr)

    @property
    def targets(self) -> list[nn.Module]:
        return [self.networks.target, *self.others]

    def reward(self, rollout: Rollout) -> Tensor:
        bonus = in_pieces(self._bonus, flatten_obs(rollout.next_obs))
        return bonus.unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the mean squared error of the views learned from; the targets' spread is its floor."""
        obs = flatten_obs(rollout.next_obs)
        self.networks.whitening.update(obs)
        losses = []
        for index in self.networks.shuffle.draw(n_views(obs)):
            loss = (self.networks.predictor(self._seen(take(obs, index))) - self._drawn(obs, index)).square().mean()
            descend(self.optimiser, loss)
            losses.append(loss.detach())
        return {"loss": float(torch.stack(losses).mean())}

    def _seen(self, obs: Obs) -> Obs:
        return self.networks.whitening(map_obs(lambda x: x.to(self.networks.device), obs))

    def _drawn(self, obs: Obs, index: Tensor) -> Tensor:
        """[M, width]: each view's random target. The index is shuffled, so equal parts of it are random parts."""
        parts = zip(self.targets, index.tensor_split(len(self.targets)), strict=True)
        return torch.cat([target(self._seen(take(obs, part))) for target, part in parts if len(part)])

    def _bonus(self, obs: Obs) -> Tensor:
        """[M, ...] -> [M]"""
        seen = self._seen(obs)
        f, c = self.networks.predictor(seen), torch.stack([target(seen) for target in self.targets])
        mu = c.mean(0)
        variance = (c - mu).square().mean(0)  # B2 - mu^2
        b1 = (f - mu).square().mean(-1)
        ratio = (f.square() - mu.square()).abs() / variance.clamp_min(1e-12)
        return self.alpha * b1 + (1 - self.alpha) * ratio.clamp(1e-6, 1).sqrt().mean(-1)
