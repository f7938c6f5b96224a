"""BYOL-Explore: predict what an older self will see in the next view; pay for errors above the usual.

l_t = || g_t / ||g_t|| - z_t / ||z_t|| ||^2,   g_t = g(phi(s_t), a_t),   z_t = phi_bar(s_{t+1}) without gradient
r_t = max(l_t - mu, 0),   mu a running mean of l;   phi_bar <- (1 - tau) phi_bar + tau phi

Source: Guo et al. 2022, "BYOL-Explore: Exploration by Bootstrapped Prediction" (latent loss, target network, reward
prioritisation). One loss trains the representation, the world model and the pay. What we do differently: phi sees one
view where theirs is a recurrent belief over the history, and g looks one step ahead where their open-loop model is
rolled out over many, so what only a memory or a longer plan foresees counts as new here; phi is the bonus's own encoder
and not the policy's; the scale is left to `normalise.py`; mu is taken before this rollout (0 in the first), and its
start is corrected as in Adam.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import Shuffle, before_and_after, descend, in_pieces, take
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions
from agents.rollout import Obs, Rollout, flatten_obs, map_obs


class BYOLExplore(IntrinsicReward):
    """Error of a one-step prediction in the latent space of a slow copy of the encoder.

    Args:
        lr: Adam's learning rate.
        tau: what the slow copy takes from the encoder at each gradient step.
        decay: what the mean error keeps of itself at each rollout.
        hidden: units of the prediction's hidden layer.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    optimiser: Adam
    mean: Tensor
    weight: Tensor

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        tau: Annotated[float, Field(gt=0, le=1)] = 0.01,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
        hidden: Annotated[int, Field(ge=1)] = 256,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.tau, self.decay = tau, decay
        self.actions, self.shuffle = Actions(context.action_space), Shuffle(context.n_envs, proportion)
        self.encoder = context.make_encoder()
        self.target = deepcopy(self.encoder).requires_grad_(False)
        d = self.encoder.features_dim
        self.prediction = nn.Sequential(Dense(d + self.actions.size, hidden), Linear(hidden, d))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))  # of the errors, weighted
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))  # of all of them together
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)

    def reward(self, rollout: Rollout) -> Tensor:
        mu = float(self.mean / self.weight.clamp_min(1e-12))
        return (self._errors(rollout) - mu).clamp_min(0).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the mean error of the steps learned from; `mean`, the next rollout's mu."""
        self.mean.lerp_(self._errors(rollout).double().mean().to(self.mean), 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)
        obs, next_obs, actions = flatten_obs(rollout.obs), flatten_obs(rollout.next_obs), rollout.actions.flatten(0, 1)
        losses = []
        for index in self.shuffle.draw(len(actions)):
            with torch.no_grad():
                z = self.target(self._here(take(next_obs, index)))
            phi = self.encoder(self._here(take(obs, index)))
            loss = self._error(phi, actions[index.to(actions.device)], z).mean()
            descend(self.optimiser, loss)
            self._follow()
            losses.append(loss.detach())
        return {"loss": float(torch.stack(losses).mean()), "mean": float(self.mean / self.weight)}

    def _here(self, obs: Obs) -> Obs:
        return map_obs(lambda x: x.to(self.mean.device), obs)

    def _errors(self, rollout: Rollout) -> Tensor:
        """l_t, [T, N]"""
        before, _ = before_and_after(lambda obs: self.encoder(self._here(obs)), rollout)
        z = in_pieces(lambda obs: self.target(self._here(obs)), flatten_obs(rollout.next_obs))
        with torch.no_grad():
            return self._error(before.flatten(0, 1), rollout.actions.flatten(0, 1), z).unflatten(0, rollout.shape)

    def _error(self, phi: Tensor, actions: Tensor, z: Tensor) -> Tensor:
        """[M]"""
        g = self.prediction(torch.cat([phi, self.actions.vector(actions.to(phi.device))], -1))
        return (F.normalize(g, dim=-1) - F.normalize(z, dim=-1)).square().sum(-1)

    @torch.no_grad()
    def _follow(self) -> None:
        for slow, fast in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, self.tau)
