"""What happens between two rollouts: evaluation, checkpoint, re-seeding, and stopping where that is asked for.

A checkpoint belongs to a boundary, where every random stream begins anew. A run that is asked to stop between two of
them is saved where it stands, with the state of its streams, if its world can be saved; any other environment begins
fresh episodes at boundaries and nowhere else, so there the last boundary's checkpoint is what stays.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

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
        self._report(model)
        stop = session.should_stop()
        if stop is not None and (resumed or k == 0 or not (boundary or session.plan.batched)):
            raise stop  # nothing new that could be saved
        if k in self.due and not resumed:
            session.look_at_features(model)
            session.evaluate(model, steps)
        if (boundary or stop is not None) and k > 0 and not resumed:
            self.save()
        if stop is not None:
            raise stop
        if boundary:
            session.cross(model, k // session.plan.interval)

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


def streams(env: object) -> dict[str, Any]:
    """The state of everything that `seed_everything` seeds and, of a world of ours, of its own generator."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": np.random.get_state(),  # noqa: NPY002
        "python": random.getstate(),
        "world": env.np_random.bit_generator.state if isinstance(env, BatchedWorld) else None,
    }


def set_streams(state: dict[str, Any], env: object) -> None:
    """Go on with the streams that `streams` has told."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
    if isinstance(env, BatchedWorld):
        env.np_random.bit_generator.state = state["world"]


def seed_everything(seed: int, stream: int, boundary: int) -> None:
    """All global generators, from SeedSequence (neighbouring seeds share nothing)."""
    words = np.random.SeedSequence([seed, stream, boundary]).generate_state(3)
    torch.manual_seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002 - SB3 permutes minibatches with the global generator
    random.seed(int(words[2]))
