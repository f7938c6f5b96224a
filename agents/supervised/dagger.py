"""Dataset aggregation: the learner acts, the oracle tells what it would have done there.

pi_i = beta_i pi* + (1 - beta_i) pi^_i acts in round i;   D <- D + {(s, pi*(s))};   pi^_{i+1} learns from D

Ross, Gordon & Bagnell 2011, algorithm 3.1, with beta_1 = 1 and 0 from then on (their parameter-free choice): the first
round is behaviour cloning. Cloned behaviour drifts to states that no demonstration shows; here those states are what
is labelled. Each round learns from the first weights again, as each pi^ is trained on D in the paper: the last policy
is what bc would make of these labels, while one that goes on could have learned what is held out now. Loss, network,
held-out episodes and early stopping are bc's.

What differs: all rounds together have the labels that bc has, in equal parts; copies walk on where they stand instead
of beginning episodes anew, as a round of few labels would never see an episode's end; the policy acts by samples, as it
is evaluated; what was held out in one round stays so in the next (a single odd episode, held out for the first time,
would stop a round of few labels at once); and the last policy is kept, as choosing one by rollouts would cost steps.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from agents.context import Context
from agents.supervised import MakeLabelled, copies_for
from agents.supervised._fit import Answers, Labelled, collect, joined, shuffled, split
from agents.supervised.bc import BehaviourCloning


class DAgger(BehaviourCloning):
    """The oracle acts in the first round, the policy in the others; the oracle tells its action at every step.

    Args:
        labels: answers of the oracle in all rounds together, one per environment step.
        rounds: in how many parts; 1 is bc.
        lr, batch_size: of Adam.
        held_out: share of the episodes on which early stopping judges.
        max_epochs: most passes over the labels, in each round.
        patience: epochs without a better held-out loss after which a round stops.
        shuffled: the negative control: each observation gets the answer to another one.
    """

    def __init__(
        self,
        context: Context,
        *,
        labels: Annotated[int, Field(ge=2, le=10_000_000)] = 1000,
        rounds: Annotated[int, Field(ge=1, le=1000)] = 5,
        lr: Annotated[float, Field(gt=0, le=1)] = 1e-3,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        max_epochs: Annotated[int, Field(ge=1)] = 200,
        patience: Annotated[int, Field(ge=1)] = 10,
        shuffled: bool = False,
    ) -> None:
        super().__init__(
            context, labels=labels, lr=lr, batch_size=batch_size, held_out=held_out, max_epochs=max_epochs,
            patience=patience, shuffled=shuffled,
        )  # fmt: skip
        self.rounds = rounds

    def fit(self, make_env: MakeLabelled, seed: int) -> dict[str, float]:
        env, obs = make_env(copies_for(self.labels))
        rng = np.random.default_rng(seed)
        first = {name: tensor.clone() for name, tensor in self.policy.state_dict().items()}
        parts: list[Labelled] = []
        numbers, metrics, kept = None, {}, np.array([], np.int64)
        for labels in _parts(self.labels, self.rounds, env.num_envs):
            act = self._act if parts else lambda _obs, told: told["action"]
            parts.append(collect(env, obs, labels, act, lambda e: {"action": e.oracle()}, numbers))
            obs, numbers = parts[-1].last
            self.policy.load_state_dict(first)
            data = shuffled(joined(parts), rng) if self.shuffled else joined(parts)
            train, held_out = split(data.episodes, self.held_out, rng, kept.tolist())
            metrics, kept = self._clone(data, train, held_out), np.unique(data.episodes[held_out])
        self.action_labels, self.steps = self.labels, sum(part.steps for part in parts)
        return metrics | {"rounds": float(len(parts))}

    def _act(self, obs: Any, _told: Answers) -> np.ndarray:
        return self.policy.predict(obs, deterministic=False)[0]


def _parts(labels: int, rounds: int, copies: int) -> list[int]:
    """Labels of each round: nearly equal numbers of steps of all copies, and what is left in the last one."""
    steps = -(-labels // copies)
    bounds = np.unique(np.linspace(0, steps, min(rounds, steps) + 1).round().astype(int)) * copies
    return np.diff(np.minimum(bounds, labels)).tolist()
