"""Double DQN on a representation, S learners in lock step, each on its own copy of the world.

y = r + gamma (1 - terminated) Q'(phi(x'), argmax_a Q(phi(x'), a)),   loss = smooth-L1(Q(phi(x), a), y)

Sources: van Hasselt et al. 2016, "Deep reinforcement learning with double Q-learning", equation 4; the head, its
constants and its order of events are those of camall3n/markov-state-abstractions (`gridworld/agents/dqnagent.py`,
`gridworld/train_agent.py`). A step is random while fewer than 500 are stored, then with probability epsilon, which
falls from 1 to 0.05 over the next 2,500 stored ones; each step from the 500th on is followed by one update on 16
different stored ones. An episode cut at its step limit bootstraps. All learners have stored equally many steps, so one
clock serves them all; who has finished its episodes goes on unheard.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from envs.msa_grid import MarkovGrid
from studies._msa_nets import Nets

ACTIONS, HIDDEN, LR, BATCH, COPY, CAPACITY = 4, 32, 3e-3, 16, 50, 10_000
FIRST, DECAY, EPSILON, GAMMA = 500, 2500, 0.05, 0.9


class Learner(Protocol):
    """S learners."""

    def act(self, obs: np.ndarray) -> np.ndarray: ...

    def learn(
        self, obs: np.ndarray, actions: np.ndarray, rewards: np.ndarray, next_obs: np.ndarray, terminated: np.ndarray
    ) -> None: ...


class Random:
    """Uniform actions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self.rng.integers(ACTIONS, size=len(obs))

    def learn(self, *step: Any) -> None:
        pass


def different(n: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """[count, size]: in each row `size` different numbers below n, every set as likely as any other."""
    index = torch.randint(n, (count, size), generator=generator)
    while (again := (index.sort(1).values.diff(dim=1) == 0).any(1)).any():
        index[again] = torch.randint(n, (int(again.sum()), size), generator=generator)
    return index


def double_q_targets(q: Tensor, target_q: Tensor, rewards: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """q, target_q [..., A] at the successors; rewards, terminated [...] -> [...]"""
    best = q.argmax(-1, keepdim=True)
    return rewards + gamma * target_q.gather(-1, best).squeeze(-1) * (1 - terminated)


class DQN:
    """S learners. What is stored is phi(x) where phi is frozen (the same, computed once), else x.

    Args:
        count: S.
        phi: [S, B, pixels] -> [S, B, 2]; None: the observation itself.
        train_phi: let the loss train phi too (end to end). The targets see the present phi.
        generator: of all draws.
    """

    def __init__(self, count: int, phi: Nets | None, *, train_phi: bool = False, generator: torch.Generator) -> None:
        self.count, self.phi, self.train_phi, self.generator = count, phi, train_phi, generator
        self.q, self.target = (Nets(count, (2, HIDDEN, ACTIONS), torch.relu, generator=generator) for _ in range(2))
        self.target.load_state_dict(self.q.state_dict())
        learned = [*self.q.parameters(), *(phi.parameters() if phi is not None and train_phi else ())]
        self.optimiser = torch.optim.Adam(learned, lr=LR, fused=True)
        self.stored, self.updates, self.rows = 0, 0, torch.arange(count)[:, None]
        width = 2 if not train_phi or phi is None else phi.weights[0].shape[1]
        self.before, self.after = torch.empty(2, count, CAPACITY, width)
        self.actions = torch.empty(count, CAPACITY, dtype=torch.int64)
        self.rewards, self.terminated = torch.empty(2, count, CAPACITY)

    def features(self, x: Tensor) -> Tensor:
        return x if self.phi is None else self.phi(x)

    def epsilon(self) -> float:
        return 1 + (EPSILON - 1) * min(max((min(self.stored, CAPACITY) - FIRST) / DECAY, 0.0), 1.0)

    @torch.no_grad()
    def act(self, obs: np.ndarray) -> np.ndarray:
        actions = torch.randint(ACTIONS, (self.count,), generator=self.generator)
        if self.stored >= FIRST:
            best = self.q(self.features(self._batch(obs))).squeeze(1).argmax(-1)
            explore = torch.rand(self.count, generator=self.generator) < self.epsilon()
            actions = torch.where(explore, actions, best)
        return actions.numpy()

    @torch.no_grad()
    def store(
        self, obs: np.ndarray, actions: np.ndarray, rewards: np.ndarray, after: np.ndarray, ended: np.ndarray
    ) -> None:
        at, x = self.stored % CAPACITY, torch.cat([self._batch(obs), self._batch(after)], 1)
        self.before[:, at], self.after[:, at] = (x if self.train_phi else self.features(x)).unbind(1)
        self.actions[:, at], self.rewards[:, at] = torch.from_numpy(actions), torch.from_numpy(rewards)
        self.terminated[:, at] = torch.from_numpy(ended)
        self.stored += 1

    def learn(
        self, obs: np.ndarray, actions: np.ndarray, rewards: np.ndarray, next_obs: np.ndarray, terminated: np.ndarray
    ) -> None:
        self.store(obs, actions, rewards, next_obs, terminated)
        if self.stored >= FIRST:
            self.update(different(min(self.stored, CAPACITY), self.count, BATCH, self.generator))

    def update(self, index: Tensor) -> None:
        """One step of every learner on its stored steps `index` [S, B]."""
        rows = self.rows
        x, after = self.before[rows, index], self.after[rows, index]
        z = self.features(x) if self.train_phi else x
        with torch.no_grad():
            z_next = self.features(after) if self.train_phi else after
            rewards, terminated = self.rewards[rows, index], self.terminated[rows, index]
            y = double_q_targets(self.q(z_next), self.target(z_next), rewards, terminated, GAMMA)
        predicted = self.q(z).gather(-1, self.actions[rows, index].unsqueeze(-1)).squeeze(-1)
        self.optimiser.zero_grad(set_to_none=True)
        F.smooth_l1_loss(predicted, y, reduction="none").mean(1).sum().backward()
        self.optimiser.step()
        self.updates += 1
        if self.updates % COPY == 0:
            self.target.load_state_dict(self.q.state_dict())

    def _batch(self, obs: np.ndarray) -> Tensor:
        """[S, ...] -> [S, 1, D]"""
        return torch.from_numpy(obs).reshape(self.count, 1, -1)


def play(world: MarkovGrid, learner: Learner, episodes: int, seed: int) -> np.ndarray:
    """Each copy's returns of its first `episodes` episodes, [S, episodes]."""
    returns, done = np.zeros((world.num_envs, episodes)), np.zeros(world.num_envs, np.int64)
    obs, _ = world.reset(seed=seed)
    while (done < episodes).any():
        actions = learner.act(obs)
        next_obs, rewards, terminated, truncated, infos = world.step(actions)
        reached: Any = infos.get("final_obs", next_obs)
        learner.learn(obs, actions, rewards, reached, terminated)
        for s in np.flatnonzero((terminated | truncated) & (done < episodes)):
            returns[s, done[s]] = infos["episode"]["r"][s]
            done[s] += 1
        obs = next_obs
    return returns
