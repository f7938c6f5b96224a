"""Behaviour cloning: the actor learns the oracle's action at every observation of its demonstrations.

Loss: -mean log pi(a_oracle | obs) (Pomerleau 1991). The network is the learner's own actor-critic, so that the
comparison is about labels and not about size; whole demonstrations are held out for early stopping, and count as
labels. Unlike the default of the `imitation` library (two layers of 32, a fixed number of epochs) the baseline is
meant to be strong: an undertrained one would flatter the arms without labels.

`bc:labels=n+inverse:mode=frozen` gives it an encoder that an objective has trained without labels; `ppo+bc:labels=n`
hands its policy to PPO, which goes on from reward (see `PPO.take_policy`).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from torch.nn import functional as F

from agents.context import Context
from agents.supervised import MakeLabelled, Supervised, copies_for
from agents.supervised._fit import Labelled, collect, early_stopping, shuffled, split, take


class BehaviourCloning(Supervised):
    """The oracle acts and tells its action at every step; the policy learns them.

    Args:
        labels: answers of the oracle, one per environment step of its demonstrations.
        lr, batch_size: of Adam.
        held_out: share of the episodes on which early stopping judges.
        max_epochs: most passes over the labels.
        patience: epochs without a better held-out loss after which it stops.
        shuffled: the negative control: each observation gets the answer to another one.
    """

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
        assert context.make_policy is not None, "behaviour cloning needs a policy to train"
        self.labels, self.lr, self.batch_size = labels, lr, batch_size
        self.held_out, self.max_epochs, self.patience, self.shuffled = held_out, max_epochs, patience, shuffled
        self.policy = context.make_policy()

    def fit(self, make_env: MakeLabelled, seed: int) -> dict[str, float]:
        env, obs = make_env(copies_for(self.labels))
        data = collect(env, obs, self.labels, lambda _obs, told: told["action"], lambda e: {"action": e.oracle()})
        self.action_labels, self.steps = self.labels, data.steps
        rng = np.random.default_rng(seed)
        data = shuffled(data, rng) if self.shuffled else data
        return self._clone(data, *split(data.episodes, self.held_out, rng))

    def _clone(self, data: Labelled, train: torch.Tensor, held_out: torch.Tensor) -> dict[str, float]:
        """Learn from the indices `train` of `data`, judged by the others; returns metrics."""
        actions = data.answers["action"].to(torch.float32 if self._continuous else torch.int64)
        policy = self.policy
        device, space = policy.device, self.context.action_space

        def loss(index: torch.Tensor) -> torch.Tensor:
            views, told = policy.obs_to_device(take(data.obs, index)), actions[index].to(device)
            if isinstance(space, spaces.Discrete):
                return F.cross_entropy(policy.outputs(views)[:, : space.n], told)
            return -policy.evaluate(views, told, detach_encoder=False)[1].mean()

        policy.set_training_mode(True)
        metrics = early_stopping(
            policy,
            loss,
            train,
            held_out,
            lr=self.lr,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.patience,
            slow=policy.features_extractor if self.encoder_rate < 1 else None,
            share=self.encoder_rate,
        )
        policy.set_training_mode(False)
        return metrics | {"held_out_accuracy": self._accuracy(take(data.obs, held_out), actions[held_out])}

    @property
    def _continuous(self) -> bool:
        return isinstance(self.context.action_space, spaces.Box)

    @torch.no_grad()
    def _accuracy(self, obs: object, actions: torch.Tensor) -> float:
        chosen = self.policy.get_distribution(self.policy.obs_to_device(obs)).get_actions(deterministic=True)  # type: ignore[arg-type]
        return (chosen.cpu().reshape(actions.shape) == actions).float().mean().item()
