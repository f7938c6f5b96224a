"""Learning-progress monitoring: pay for how much better the world model has become, not for how wrong it is.

r_t = max(exp(u_t) - exp(u_t - d_t), 0),   an error network: u(s_t, a_t) ~ log e',   d(s_t, a_t) ~ log e' - log e
e = mean_k (phi^_k(phi(s_t), a_t) - phi_k(s_{t+1}))^2 of the present world model, e' of the one before it last learned

Source: Hou, An & Du 2025, "Beyond Noisy-TVs: Noise-Robust Exploration via Learning Progress Monitoring", and the
authors' code, whose reward is exp(u_t) - e. Noise that nobody can foresee has the same error before and after. What we
do differently: the fall of the error is foreseen as well, from both models on the same fresh steps, because a single
error scatters on noise and, cut at 0 (no bonus here is negative), that scatter would be paid for ever; as those steps
must be new to both models, what is paid is the progress of one update earlier; their weight .4
of exp(u_t) is left out; the world model predicts random features where theirs decodes pixels; one epoch per rollout,
over the same share of the steps as in `rnd`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import PIECE, descend
from agents.curiosity._features import Features, Kind
from agents.curiosity._transitions import add_up, inputs_and_targets
from agents.layers import Dense, Linear
from agents.objectives._actions import Actions
from agents.rollout import Rollout


class LPM(IntrinsicReward):
    """Expected fall of a forward model's error from one rollout to the next.

    Args:
        lr: Adam's learning rate for the world model (and the features).
        error_lr: Adam's learning rate for the error network.
        features: `random` leaves the encoder as it was made, `inverse` and `autoencoder` train it.
        hidden: units of the hidden layer of the world model and of the error network.
        proportion: share of the steps to learn from; None: min(1, 32 / n_envs).

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    optimiser: Adam

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        error_lr: Annotated[float, Field(gt=0)] = 1e-3,
        features: Kind = "random",
        hidden: Annotated[int, Field(ge=1)] = 256,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.actions, self.features = Actions(context.action_space), Features(context, features, proportion=proportion)
        d = self.features.dim
        self.world_model = nn.Sequential(Dense(d + self.actions.size, hidden), Linear(hidden, d))
        self.previous = deepcopy(self.world_model).requires_grad_(False)
        self.optimiser = Adam([p for p in self.parameters() if p.requires_grad], lr)
        self.errors = nn.Sequential(Dense(d + self.actions.size, hidden), _expecting_progress(hidden))
        self.optimiser.add_param_group({"params": list(self.errors.parameters()), "lr": error_lr})

    def reward(self, rollout: Rollout) -> Tensor:
        x, _ = inputs_and_targets(self.features, self.actions, rollout)
        with torch.no_grad():
            u, d = torch.cat([self.errors(piece) for piece in x.split(PIECE)]).unbind(-1)
        return (u.exp() - (u - d).exp()).clamp_min(0).unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `forward_loss`, the mean of e; `loss`, with the features' if they learn; `progress`, mean e' - e."""
        x, phi_next = inputs_and_targets(self.features, self.actions, rollout)
        batches = [index.to(x.device) for index in self.features.shuffle.draw(len(x))]
        fallen = torch.cat([self._monitor(x[index], phi_next[index]) for index in batches])
        self.previous.load_state_dict(self.world_model.state_dict())
        forward = torch.stack([self._learn(x[index], phi_next[index]) for index in batches])
        metrics = add_up(forward.mean(), self.features.learn(rollout, self.optimiser))
        return metrics | {"progress": float(fallen.mean())}

    def _monitor(self, x: Tensor, phi_next: Tensor) -> Tensor:
        """One gradient step of the error network, on steps that neither world model has learned from; e' - e [M]."""
        with torch.no_grad():
            previous, present = _error(self.previous, x, phi_next), _error(self.world_model, x, phi_next)
            u, v = (previous + 1e-6).log(), (present + 1e-6).log()
        descend(self.optimiser, (self.errors(x) - torch.stack([u, u - v], -1)).square().mean())
        return previous - present

    def _learn(self, x: Tensor, phi_next: Tensor) -> Tensor:
        """One gradient step of the world model; its mean error before it."""
        loss = _error(self.world_model, x, phi_next).mean()
        descend(self.optimiser, loss)
        return loss.detach()


def _error(model: nn.Module, x: Tensor, phi_next: Tensor) -> Tensor:
    """[M]"""
    return (model(x) - phi_next).square().mean(-1)


def _expecting_progress(hidden: int) -> Linear:
    """Before anything is learned every step promises the same: u = -4, an error usual for untrained features; d = 1."""
    layer = Linear(hidden, 2)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([-4.0, 1.0]))
    return layer
