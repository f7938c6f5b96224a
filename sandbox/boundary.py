"""What happens between two rollouts: evaluation, checkpoint, re-seeding, and stopping where that is asked for."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from agents.learners.ppo import PPO
from envs.batched import BatchedWorld

if TYPE_CHECKING:
    from sandbox.experiment import Session

LEARN, WORLD, _EVALUATION, LABELS = range(4)  # streams of SeedSequence([seed, stream, boundary])


class Boundary(BaseCallback):
    """At the start of each rollout: evaluate where due, save where due, re-seed there, and stop where asked.

    Args:
        first: environment steps before the first of `rollouts`.
        points: evaluations among them.
    """

    def __init__(self, session: Session, first: int, rollouts: int, points: int) -> None:
        super().__init__()
        self.session, self.first = session, first
        self.resumed_at = session.state["num_timesteps"] if session.state else None
        due = np.linspace(0, rollouts, points + 1)[:-1]  # the last point is the final evaluation
        self.due = {round(k) for k in due}
        self.clock = time.monotonic()

    def _on_rollout_start(self) -> None:
        model: PPO = self.model  # type: ignore[assignment]
        session, steps = self.session, model.num_timesteps
        k = (steps - self.first) // session.plan.per_rollout
        resumed, self.resumed_at = steps == self.resumed_at, None
        boundary = k % session.plan.interval == 0
        if not resumed:
            if k in self.due:
                session.look_at_features(model)
                session.evaluate(model, steps)
            if boundary and k > 0:
                self.save()
        if boundary:
            session.cross(model, k // session.plan.interval)
        self._report(model)
        stop = session.should_stop()
        if stop is not None:
            raise stop

    def save(self) -> None:
        self.session.save(self.model, self.first)  # type: ignore[arg-type]

    def _report(self, model: PPO) -> None:
        successes = model.ep_success_buffer or ()
        metrics = {"success": float(np.mean(successes))} if len(successes) else {}
        episodes = model.ep_info_buffer or ()
        if len(episodes):
            metrics["return"] = float(np.mean([episode["r"] for episode in episodes]))
        self.session.progress(model.num_timesteps, self.session.experiment.steps, metrics)

    def _on_rollout_end(self) -> None:
        self._record_coverage()
        now = time.monotonic()
        cost = self.session.cost()
        self.logger.record("system/cpu_seconds", cost["cpu_seconds"])
        self.logger.record("system/memory_mb", cost["peak_memory_mb"])
        self.logger.record("time/rollout_seconds", now - self.clock)
        self.clock = now

    def _record_coverage(self) -> None:
        env = self.session.vec.env if self.session.vec else None
        if not isinstance(env, BatchedWorld) or env.coverage is None:
            return
        shares = [episode["coverage"] for episode in self.model.ep_info_buffer or ()]
        if shares:
            self.logger.record("rollout/ep_coverage_mean", float(np.mean(shares)))
        for name, value in env.exploration().items():
            self.logger.record(f"rollout/visits_{name}", value)

    def _on_step(self) -> bool:
        return True


def seed_everything(seed: int, stream: int, boundary: int) -> None:
    """All global generators, from SeedSequence (neighbouring seeds share nothing)."""
    words = np.random.SeedSequence([seed, stream, boundary]).generate_state(3)
    torch.manual_seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002 - SB3 permutes minibatches with the global generator
    random.seed(int(words[2]))
