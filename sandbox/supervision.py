"""The supervised phases of a run: pre-training without reward, labels and who learns from them, hand-over to RL."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from agents.context import Context
from agents.learners.ppo import FINETUNE_RATE, PPO
from agents.supervised import LabelledEnv, Supervised
from envs import vector
from sandbox import checkpoint, expert
from sandbox.boundary import LABELS, seed_everything
from sandbox.errors import UsageError
from sandbox.plan import asks, build

if TYPE_CHECKING:
    from sandbox.experiment import Session

CRITIC_ROLLOUTS = 5  # in which a learner that took over a policy learns to judge it, and leaves it as it is


def fit_policy(session: Session) -> tuple[Any, int]:
    """A policy that learned to act from labels, and the environment steps that it took.

    Where the agent has an objective, that has trained the encoder before, on experience without reward.
    """
    saved, objective = session.state, session.plan.spec.get("objectives")
    if saved is not None and "optimizer" not in saved:  # from after the labels, and not from the pre-training
        part = build(session.plan.spec.base, _context(session))
        part.policy.load_state_dict(saved["policy"])
        session.ledger |= saved["ledger"]
        return part.policy, int(saved["label_steps"])
    trained = pretrain(session) if objective else None
    part = build(session.plan.spec.base, _context(session))
    if trained is not None:
        assert trained.objective is not None
        rate = FINETUNE_RATE if trained.objective.mode == "finetune" else 0.0
        part.take_encoder(trained.policy.features_extractor, rate)
    steps = _fit(session, part, trained.num_timesteps if trained else 0)
    tree = {"policy": part.policy.state_dict(), "ledger": dict(session.ledger), "label_steps": steps}
    tree |= {"position": session.writer.position(steps), "cost": session.cost()}
    checkpoint.save(session.run.path / "checkpoints", steps, tree)
    return part.policy, steps


def pretrain(session: Session) -> PPO:
    """A learner whose encoder an objective has trained, and which has seen no reward.

    It acts for its bonus; without one it acts at random (all logits 0; a Gaussian of deviation 1 where actions are
    continuous), as nothing moves its policy.
    """
    model, rollouts = session.new_learner(), session.plan.pretraining
    if model.intrinsic is None:
        for weights in model.policy.action_net.parameters():
            nn.init.zeros_(weights)
        model.policy_from = rollouts * session.plan.per_rollout
    session.learn(model, 0, rollouts, evaluations=0)
    session.ledger["terminations"] += model.num_timesteps
    seed_everything(session.experiment.seed, LABELS, 1)  # resumed or not, the labels' phase begins alike
    return model


def teach(session: Session, model: PPO) -> int:
    """Give a learner what its supervised part learned: an encoder, or a policy; returns the steps that took."""
    wanted, saved = session.plan.spec.get("supervised"), session.state
    if wanted is None:
        return 0
    if saved is not None:  # the checkpoint holds the trained weights; the ledger is a matter of count
        session.ledger |= {kind: saved["ledger"][kind] for kind in ("actions", "states")}
        steps = int(saved["label_steps"])
    else:
        part = build(wanted, _context(session))
        steps = _fit(session, part, 0)
        if session.plan.spec.hands_over:
            model.take_policy(part.policy)
        else:
            model.load_encoder(part.encoder)
    if session.plan.spec.hands_over:
        per_rollout = session.plan.per_rollout
        left = (session.experiment.steps - steps) // per_rollout
        model.policy_from = steps + per_rollout * min(CRITIC_ROLLOUTS, left // 2)
    return steps


def privileged(session: Session) -> list[str]:
    """What the agent was told, or is shown, that others cannot see."""
    spec, reference = session.plan.spec, session.experiment.expert
    part, names = spec.supervised, []
    if part is not None and asks(spec) == "labels":
        names.append(f"{part.name}: state labels")
    elif asks(spec) == "oracle" or spec.base.name == "oracle":
        teacher = "the world's oracle" if reference is None else expert.describe(reference)
        names.append(f"{(part or spec.base).name}: {teacher}")
    if session.plan.true_state:
        names.append("true_state: the world's labels instead of the view")
    return names


def _fit(session: Session, part: Supervised, before: int) -> int:
    """Collect labels after `before` steps and learn from them; returns the steps so far."""
    budget = session.experiment.steps
    sequence = np.random.SeedSequence([session.experiment.seed, LABELS])
    metrics = part.fit(functools.partial(_labelled_env, session, sequence), int(sequence.generate_state(1)[0]))
    steps = before + part.steps
    if steps > budget:
        raise UsageError(
            f"{session.experiment.agent!r} takes {steps} environment steps to collect what it is fitted to, more than "
            f"the budget of {budget}; raise --steps"
        )
    session.ledger["actions"] += part.action_labels
    session.ledger["states"] += part.state_labels
    for name, value in metrics.items():
        session.logger.record(f"supervised/{name}", value)
    session.logger.dump(steps)
    session.progress(steps, budget, metrics)
    return steps


def _labelled_env(session: Session, sequence: np.random.SeedSequence, copies: int) -> tuple[LabelledEnv, Any]:
    """Copies of the world that answer, and their first observations."""
    env = session.plan.world(copies)
    obs = vector.reset(env, sequence)
    told, teacher = vector.told(env), expert.load(session.plan)
    return (told if teacher is None else expert.Taught(told, obs, teacher)), obs


def _context(session: Session) -> Context:
    space = session.evaluator.env.single_observation_space, session.evaluator.env.single_action_space
    return Context(*space, 1, session.new_encoder, functools.partial(session.new_policy, *space))
