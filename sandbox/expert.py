"""A finished run whose agent gives the action labels, in place of the world's oracle.

It acts on what the learner sees, as it was evaluated: by samples, or by its most likely action. What it cost stands in
its own result and in no ledger but its own; its labels count as the oracle's do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from agents import randomness
from agents.learners._policy import MlpPolicy
from agents.supervised import LabelledEnv
from sandbox import checkpoint
from sandbox._encoders import policy_weights
from sandbox.config import ExpertRef, agent_of
from sandbox.errors import CorruptFile, UsageError
from sandbox.plan import Plan, plan, policy_kwargs
from sandbox.runs import Run
from sandbox.study import read_run
from sandbox.values import quoted

Spaces = tuple[spaces.Space, spaces.Space]  # of one copy: observations, actions


def refer(path: str | Path) -> ExpertRef:
    """The run at `path` as it is now.

    Raises:
        UsageError: no run, not finished, or of an agent that has learned nothing.
    """
    run, experiment = read_run(Path(path).resolve())
    if run.status != "done":
        resume = f"sandbox resume {quoted(path)}"
        raise UsageError(f"expert {path}: the run is not finished ({run.status}); `{resume}` goes on")
    if agent_of(experiment).base.kind == "reference":
        raise UsageError(
            f"expert {path}: {experiment.agent!r} has learned nothing; an expert is a trained run "
            "(without --expert the world's oracle gives the labels)"
        )
    return ExpertRef(path=str(run.path), sha256=_sha256(run))


def describe(reference: ExpertRef) -> str:
    """The expert in words."""
    _, experiment = read_run(Path(reference.path))
    return f"the agent {experiment.agent}, seed {experiment.seed}, of {reference.path}"


@dataclass(frozen=True)
class Expert:
    """A trained policy and how it acts."""

    policy: MlpPolicy
    deterministic: bool

    def act(self, obs: Any) -> np.ndarray:
        """[N, ...] its actions in the present state."""
        return self.policy.predict(obs, deterministic=self.deterministic)[0]


def load(plan_: Plan) -> Expert | None:
    """The expert of an experiment; None where it has none.

    Raises:
        UsageError: not there, of another world, or of one that is seen or acted in otherwise.
        CorruptFile: it changed since the experiment was made.
    """
    reference, learner = plan_.experiment.expert, plan_.experiment
    if reference is None:
        return None
    run, experiment = read_run(Path(reference.path))
    found = _sha256(run)
    if found != reference.sha256:
        raise CorruptFile(
            f"the expert {run.path} changed since the run was made (SHA-256 {found[:12]}, the run has "
            f"{reference.sha256[:12]}). Restore it, or start a new run."
        )
    if experiment.world.id != learner.world.id:
        raise UsageError(
            f"the expert {run.path} is of {experiment.world.id!r}, and the labels are for {learner.world.id!r}; "
            "name a run in the same world"
        )
    own = plan(experiment)
    theirs, ours = _spaces(own), _spaces(plan_)
    for what, one, other in zip(("sees", "acts in"), theirs, ours, strict=True):
        if one != other:
            raise UsageError(
                f"the expert {run.path} {what} {one}, the learner {other}; name a run with the same world.kwargs, and "
                "with true_state where the learner has it"
            )
    with randomness.kept():
        return Expert(load_policy(run, own, ours, _refuse), experiment.evaluation.deterministic)


def _refuse(text: str) -> None:
    """An older checkpoint would give labels under the name of the newest."""
    raise CorruptFile(f"the expert's checkpoint is damaged: {text}")


def load_policy(run: Run, plan_: Plan, of: Spaces, warn: Callable[[str], object] = lambda _text: None) -> MlpPolicy:
    """The policy in the run's newest checkpoint.

    Raises:
        UsageError: it has none.
    """
    weights = policy_weights(run, warn)
    policy = MlpPolicy(*of, lambda _progress: 1.0, **policy_kwargs(plan_))
    policy.load_state_dict({k: v for k, v in weights.items() if not k.startswith("intrinsic_value_net")})
    policy.set_training_mode(False)
    return policy


class Taught:
    """A labelled environment that asks the expert, and not the world, for the right action."""

    def __init__(self, env: LabelledEnv, obs: Any, expert: Expert) -> None:
        self.env, self.obs, self.expert = env, obs, expert
        self.num_envs, self.label_spaces = env.num_envs, env.label_spaces

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        self.obs, *rest = self.env.step(actions)
        return self.obs, *rest

    def oracle(self) -> np.ndarray:
        return self.expert.act(self.obs)

    def labels(self) -> dict[str, np.ndarray]:
        return self.env.labels()


def _spaces(plan_: Plan) -> Spaces:
    env = plan_.world(1)
    try:
        return env.single_observation_space, env.single_action_space
    finally:
        env.close()


def _sha256(run: Run) -> str:
    """Of the configuration and the newest checkpoint's manifest, which vouches for its files."""
    newest = max(run.checkpoints.glob("step-*"), default=None)
    if newest is None or not (newest / checkpoint.MANIFEST).is_file():
        raise CorruptFile(
            f"the expert {run.path} has no checkpoint; name another run, or delete {run.result_file}: then "
            f"`sandbox resume {quoted(run.path)}` makes it anew"
        )
    return hashlib.sha256(run.config_file.read_bytes() + (newest / checkpoint.MANIFEST).read_bytes()).hexdigest()
