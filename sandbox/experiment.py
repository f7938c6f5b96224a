"""One experiment from its configuration to its result: the wiring, in the order in which the data flows.

Exact resume: at a checkpoint boundary (a whole number of rollouts) every random stream is seeded anew from
SeedSequence([seed, stream, boundary]), interrupted or not; worlds of ours save their arrays; any other environment
starts fresh episodes there, interrupted or not. Between boundaries a run that is asked to stop saves its streams too.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.logger import Logger

from agents.learners._policy import MlpPolicy
from agents.learners.ppo import PPO
from agents.vec_env import GymnasiumVecEnv
from envs import vector
from envs.batched import BatchedWorld
from sandbox import checkpoint, expert, registry, supervision
from sandbox.boundary import LEARN, WORLD, Boundary, seed_everything, set_streams, streams
from sandbox.energy import Meter
from sandbox.errors import SandboxError, UsageError
from sandbox.evaluate import Evaluation, Evaluator
from sandbox.files import write_json
from sandbox.metrics import RunWriter
from sandbox.plan import Plan, bonus_of, build, encoder_of, learner_kwargs, policy_kwargs
from sandbox.representation import Watch, points
from sandbox.runs import Run

Progress = Callable[[int, int, dict[str, float]], None]


def evaluate_run(run: Run, plan_: Plan, seed: int, warn: Callable[[str], None]) -> Evaluation:
    """The newest checkpoint's agent, evaluated again with `seed`; nothing in the run's folder changes.

    Raises:
        UsageError: the run has no checkpoint yet.
    """
    torch.set_num_threads(1)
    asked, base = plan_.experiment.model_copy(update={"seed": seed}), plan_.spec.base
    evaluator = Evaluator(asked, plan_.episodes, batched=plan_.batched, true_state=plan_.true_state)
    space = evaluator.env.single_observation_space, evaluator.env.single_action_space
    try:
        if base.kind == "reference":
            return evaluator(registry.load("reference", base.name)(space[1], seed=seed))
        return evaluator(expert.load_policy(run, plan_, space, warn))
    finally:
        evaluator.close()


def execute(
    run: Run,
    plan_: Plan,
    *,
    progress: Progress = lambda _done, _total, _metrics: None,
    should_stop: Callable[[], SandboxError | None] = lambda: None,
    warn: Callable[[str], None] = lambda _text: None,
    command: str = "",
) -> dict[str, Any]:
    """Run (or resume) one experiment in its folder to its result, which is also written to result.json.

    Raises:
        SandboxError: the run stopped; its last verified checkpoint stays.
    """
    torch.set_num_threads(1)
    expert.load(plan_)  # also where its labels have been told: a changed one is refused
    found = checkpoint.latest(run.path / "checkpoints", warn)
    state = found[1] if found else None
    with Meter(gpu=plan_.experiment.device != "cpu") as meter:
        writer = RunWriter(run.path, position=state["position"] if state else None, warn=warn)
        session = Session(run, plan_, writer, progress, should_stop, meter, state)
        try:
            if state is None:
                session.describe(command)
            result = session.execute()
        finally:
            session.close()
    write_json(run.path / "result.json", result)
    return result


class Session:
    """The parts of a run that live in this process."""

    def __init__(
        self,
        run: Run,
        plan_: Plan,
        writer: RunWriter,
        progress: Progress,
        should_stop: Callable[[], SandboxError | None],
        meter: Meter,
        state: dict[str, Any] | None,
    ) -> None:
        self.run, self.plan, self.writer, self.progress = run, plan_, writer, progress
        self.should_stop, self.meter, self.state = should_stop, meter, state
        self.experiment = plan_.experiment
        self.logger = Logger(folder=str(run.path), output_formats=[writer])
        self.evaluator = Evaluator(self.experiment, plan_.episodes, batched=plan_.batched, true_state=plan_.true_state)
        self.ledger = {"actions": 0, "states": 0, "rewards": 0, "terminations": 0}
        self.privileged: list[str] = []  # what parts were told that the agent cannot see
        self.spent = state["cost"] if state else None
        self.vec: GymnasiumVecEnv | None = None
        self.watch: Watch | None = None

    def describe(self, command: str) -> None:
        """Configuration and command as text in TensorBoard."""
        config = json.dumps(self.run.config, indent=2)
        self.writer.text("configuration", f"```json\n{config}\n```", 0)
        if command:
            self.writer.text("command", f"    {command}", 0)

    def close(self) -> None:
        self.evaluator.close()
        if self.vec is not None:
            self.vec.close()
        self.writer.close()

    # -------------------------------------------------------------- by kind of agent

    def execute(self) -> dict[str, Any]:
        base = self.plan.spec.base
        seed_everything(self.experiment.seed, LEARN, 0)
        if self.plan.trains:
            predictor, steps = self._train()
        elif base.kind == "reference":
            space = self.evaluator.env.single_action_space
            predictor, steps = registry.load("reference", base.name)(space, seed=self.experiment.seed), 0
        else:
            predictor, steps = supervision.fit_policy(self)
        evaluation = self.evaluate(predictor, steps)
        return self._result(evaluation, steps)

    # -------------------------------------------------------------- reinforcement learning

    def _train(self) -> tuple[PPO, int]:
        model, budget = self.new_learner(), self.experiment.steps
        first = supervision.teach(self, model)  # steps that labels took: the learner's count begins there
        rollouts = (budget - first) // self.plan.per_rollout
        if rollouts <= 0:
            raise UsageError(f"no environment steps are left for learning after {first} for labels; raise --steps")
        self.learn(model, first, rollouts, self.experiment.evaluation.points)
        self.ledger |= {
            "rewards": model.num_timesteps - first - self._reward_free(model, first),
            "terminations": model.num_timesteps - first,
        }
        return model, model.num_timesteps

    def learn(self, model: PPO, first: int, rollouts: int, evaluations: int) -> None:
        """`rollouts` after `first` steps, from their beginning or from the checkpoint."""
        total = first + rollouts * self.plan.per_rollout
        model.set_logger(self.logger)
        boundary = Boundary(self, first, rollouts, evaluations)
        if self.state is None:
            model.ep_info_buffer, model.ep_success_buffer = deque(maxlen=100), deque(maxlen=100)
            model.num_timesteps = first
            self._fresh_episodes(model, 0)
        else:
            self._restore(model, self.state)
        if model.num_timesteps < total:
            model.learn(total - model.num_timesteps, callback=boundary, reset_num_timesteps=False)
            self.look_at_features(model)
            self.logger.dump(model.num_timesteps)
            boundary.save()
        if model.objective is not None and not self.plan.true_state:  # whose encoder reads no frames
            self.writer.embedding("features", *points(model.policy.features_extractor, self.experiment.world))

    def _reward_free(self, model: PPO, first: int) -> int:
        """Steps in which the reward was not looked at, in whole rollouts: an objective's pre-training, weight 0."""
        objective, per = model.objective, self.plan.per_rollout
        pretraining = objective.pretrain_steps if objective is not None and objective.mode != "auxiliary" else 0
        starts = range(first, model.num_timesteps, per)
        return per * sum(start < pretraining or model.extrinsic_weight(start) == 0 for start in starts)

    def new_encoder(self) -> Any:
        encoder, options = encoder_of(self.plan)
        return encoder(self.evaluator.env.single_observation_space, **options)

    def new_policy(self, observation_space: gym.Space, action_space: gym.Space) -> MlpPolicy:
        rate = self.experiment.learner.learning_rate
        return MlpPolicy(observation_space, action_space, lambda _progress: rate, **policy_kwargs(self.plan))

    def new_learner(self) -> PPO:
        """The learner in its world, with its parts."""
        env = self.plan.world(self.plan.copies)
        self.vec = GymnasiumVecEnv(env)
        spec = self.plan.spec
        objective = spec.get("objectives")
        model = PPO(
            MlpPolicy,
            self.vec,
            **learner_kwargs(self.plan),
            seed=int(np.random.SeedSequence([self.experiment.seed, LEARN]).generate_state(1)[0]),
            device=self.experiment.device,
            intrinsic=bonus_of(self.plan),
            objective=functools.partial(build, objective) if objective else None,
            freeze_encoder=spec.get("supervised") is not None and not spec.hands_over,
        )
        self.watch = Watch(model, self.writer.warn) if model.objective else None
        self._show_labels(model, env)
        return model

    def _show_labels(self, model: PPO, env: Any) -> None:
        """Put ground truth into the rollouts where a bonus reads it."""
        told = model.intrinsic.privileged if model.intrinsic else None
        if told is None:
            return
        if not isinstance(env, BatchedWorld) or not env.label_spaces:
            raise UsageError(
                f"{self.experiment.agent!r} reads {told}, and {self.experiment.world.id!r} offers no labels"
            )
        env.emit_state = env.state_key() is not None  # the whole state in one number, where a world has it
        env.emit_labels = not env.emit_state
        self.privileged.append(f"{'+'.join(part.name for part in self.plan.spec.all('curiosity'))}: {told}")

    # -------------------------------------------------------------- boundaries

    def _fresh_episodes(self, model: PPO, boundary: int) -> None:
        assert self.vec is not None
        sequence = np.random.SeedSequence([self.experiment.seed, WORLD, boundary])
        model._last_obs = self.vec.begin(vector.reset(self.vec.env, sequence))  # type: ignore[assignment]
        model._last_episode_starts = np.ones(self.plan.copies, bool)
        if model.intrinsic is not None:
            model.intrinsic.new_episodes()

    def cross(self, model: PPO, boundary: int) -> None:
        """Seed every stream anew; interrupted or not, the run goes on identically from here."""
        assert self.vec is not None
        seed_everything(self.experiment.seed, LEARN, boundary)
        if isinstance(self.vec.env, BatchedWorld):
            self.vec.env.reseed(np.random.SeedSequence([self.experiment.seed, WORLD, boundary]))
        elif boundary > 0:
            self._fresh_episodes(model, boundary)

    def save(self, model: PPO, first: int) -> None:
        assert self.vec is not None and model.ep_info_buffer is not None and model.ep_success_buffer is not None
        env = self.vec.env
        tree = {
            "policy": model.policy.state_dict(),
            "optimizer": model.policy.optimizer.state_dict(),
            "intrinsic": model.intrinsic.state_dict() if model.intrinsic else None,
            "intrinsic_optimisers": {name: o.state_dict() for name, o in _optimisers(model).items()},
            "intrinsic_scale": model.intrinsic_scale.state_dict(),
            "objective": model.objective.state_dict() if model.objective else None,
            "world": env.state_dict() if isinstance(env, BatchedWorld) else None,
            "vec": self.vec.state_dict(),
            "last_obs": model._last_obs,
            "last_episode_starts": model._last_episode_starts,
            "num_timesteps": model.num_timesteps,
            "n_updates": model._n_updates,
            "episodes": list(model.ep_info_buffer),
            "successes": list(model.ep_success_buffer),
            "position": self.writer.position(model.num_timesteps),
            "ledger": dict(self.ledger),
            "label_steps": first,
            "cost": self.cost(),
            "streams": streams(env),
        }
        checkpoint.save(self.run.path / "checkpoints", model.num_timesteps, tree)

    def _restore(self, model: PPO, state: dict[str, Any]) -> None:
        assert self.vec is not None
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        model.intrinsic_scale.load_state_dict(state["intrinsic_scale"])
        if model.intrinsic is not None:
            model.intrinsic.load_state_dict(state["intrinsic"])
            for name, optimiser in _optimisers(model).items():
                optimiser.load_state_dict(state["intrinsic_optimisers"][name])
        if model.objective is not None:
            model.objective.load_state_dict(state["objective"])
        if isinstance(self.vec.env, BatchedWorld):
            vector.reset(self.vec.env, 0)  # a world must have begun before its state can be set
            self.vec.env.load_state_dict(state["world"])
        self.vec.load_state_dict(state["vec"])
        model._last_obs, model._last_episode_starts = state["last_obs"], state["last_episode_starts"]
        model.num_timesteps, model._n_updates = state["num_timesteps"], state["n_updates"]
        model.ep_info_buffer = deque(state["episodes"], maxlen=100)
        model.ep_success_buffer = deque(state["successes"], maxlen=100)
        if "streams" in state:  # of an older version: saved at a boundary, which seeds them
            set_streams(state["streams"], self.vec.env)

    # -------------------------------------------------------------- measuring

    def look_at_features(self, model: PPO) -> None:
        """Where an objective shapes the encoder: is it collapsing?"""
        for name, value in (self.watch(model) if self.watch else {}).items():
            self.logger.record(f"representation/{name}", value)

    def evaluate(self, predictor: Any, steps: int) -> Evaluation:
        evaluation = self.evaluator(predictor)
        self.logger.record("eval/mean_reward", evaluation.mean_return)
        self.logger.record("eval/mean_ep_length", float(np.mean(evaluation.lengths)))
        metrics = {"return": evaluation.mean_return}
        if evaluation.success_rate is not None:
            self.logger.record("eval/success_rate", evaluation.success_rate)
            metrics["success"] = evaluation.success_rate
        if evaluation.coverages is not None:
            self.logger.record("eval/coverage", float(np.mean(evaluation.coverages)))
        self.logger.dump(steps)
        self.progress(steps, self.experiment.steps, metrics)
        return evaluation

    def cost(self) -> dict[str, Any]:
        """What this run has cost so far, earlier processes of it included."""
        return self.meter.reading(self.spent)

    def _coverage(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """What was visited: an evaluation episode's mean share; of training `exploration` and the map of visits."""
        if evaluation.coverages is None:
            return None
        found: dict[str, Any] = {"evaluation": float(np.mean(evaluation.coverages))}
        env = self.vec.env if self.vec else None
        if isinstance(env, BatchedWorld) and env.coverage is not None and env.cell_shape is not None:
            found["training"] = env.exploration()
            found["visits"] = env.coverage.visits.reshape(env.cell_shape).tolist()
        return found

    def _result(self, evaluation: Evaluation, steps: int) -> dict[str, Any]:
        success = evaluation.successes
        shown_states = steps if self.plan.true_state else 0  # one at every step
        result = {
            "schema": 1,
            "status": "done",
            "agent": self.experiment.agent,
            "env": self.experiment.world.id,
            "seed": self.experiment.seed,
            "steps": steps,
            "evaluation": {
                "episodes": len(evaluation.returns),
                "levels": evaluation.levels,
                "deterministic": self.experiment.evaluation.deterministic,
            },
            "return": {"mean": evaluation.mean_return, "episodes": evaluation.returns},
            "success": None if success is None else {"mean": float(np.mean(success)), "episodes": success},
            "coverage": self._coverage(evaluation),
            "labels": self.ledger | {"states": self.ledger["states"] + shown_states},
            "privileged": supervision.privileged(self) + self.privileged,
            "cost": self.cost(),
        }
        shown = {"eval/mean_reward": evaluation.mean_return}
        if success is not None:
            shown["eval/success_rate"] = float(np.mean(success))
        self.writer.hparams(self.run.config, shown)
        return result


def _optimisers(model: PPO) -> dict[str, torch.optim.Optimizer]:
    return model.intrinsic.optimisers() if model.intrinsic else {}
