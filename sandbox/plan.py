"""From an experiment to a plan: what the configuration leaves open is decided, what cannot run is refused."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._combined import Product, Sum
from agents.encoders import default_encoder
from envs import vector
from sandbox import preflight, registry
from sandbox.config import Experiment, agent_of
from sandbox.errors import UsageError
from sandbox.options import schema
from sandbox.spec import AgentSpec, Part

BATCHED_INTERVAL = 100  # rollouts between checkpoints of a world that saves its state
EPISODES_BETWEEN = 20  # episode limits per copy between checkpoints of one that starts afresh there
SCHEDULES = ("extrinsic_weight", "intrinsic_weight", "anneal")  # settings that may change with the steps
UNKNOWN_LIMIT = 1000  # steps, for an environment that declares no episode limit


@dataclass(frozen=True)
class Plan:
    """An experiment with everything decided: what `--dry-run` prints and the run then does."""

    experiment: Experiment
    spec: AgentSpec
    batched: bool
    copies: int
    n_steps: int
    rollouts: int
    interval: int
    episodes: int
    encoder: str

    @property
    def per_rollout(self) -> int:
        return self.copies * self.n_steps

    @property
    def batch_size(self) -> int:
        """Steps of a minibatch; by default eight minibatches make an epoch, whatever the number of copies."""
        asked = self.experiment.learner.batch_size or max(2, self.per_rollout // 8)
        return min(asked, self.per_rollout)

    @property
    def trains(self) -> bool:
        return self.spec.base.name == "ppo"

    @property
    def pretraining(self) -> int:
        """Rollouts without reward in which an objective trains the encoder that a supervised policy begins with."""
        objective = None if self.trains else self.spec.get("objectives")
        return 0 if objective is None else math.ceil(option(objective, "pretrain_steps") / self.per_rollout)

    @property
    def steps(self) -> int:
        """Environment steps that the run takes, evaluations aside; a few more where labels do not fill all copies."""
        if self.trains:
            return _told(self.spec) + self.rollouts * self.per_rollout
        part = self.spec.supervised
        return self.pretraining * self.per_rollout + (option(part, "labels") if part else 0)

    @property
    def true_state(self) -> bool:
        """Does the agent see the world's labels in place of its view?"""
        return sees_true_state(self.spec)

    def world(self, copies: int) -> VectorEnv:
        """`copies` of the experiment's world on its training levels, not yet reset."""
        return world_of(self.experiment, copies, "train", self.true_state)


def plan(experiment: Experiment) -> Plan:
    """Resolve what the configuration leaves open, and refuse what cannot run.

    Raises:
        UsageError, EnvironmentFailed, NoResources: before anything is allocated.
    """
    spec = agent_of(experiment)
    world = experiment.world
    env = preflight.check_environment(world.id, world.kwargs)
    batched = vector.is_batched(world.id)
    copies = world.copies or (64 if batched else 8)
    told = _told(spec)
    n_steps, left = experiment.learner.n_steps, experiment.steps - told
    if left < copies * n_steps:  # a short try-out: a shorter rollout rather than none
        n_steps = left // copies
        if left >= 0 and n_steps < 2 and (spec.base.name == "ppo" or spec.get("objectives")):
            fewer = f"; raise --steps or ask for fewer {_collected(spec)}" if told else ""
            raise UsageError(
                f"{experiment.steps:,} steps are too few for {copies} copies; at least {told + 2 * copies:,} are needed"
                + fewer
            )
    _check_supervision(spec, env, experiment, batched)
    rollouts = max(1, left // (copies * max(n_steps, 1)))
    limit = env.spec.max_episode_steps if env.spec and env.spec.max_episode_steps else UNKNOWN_LIMIT
    interval = BATCHED_INTERVAL if batched else math.ceil(EPISODES_BETWEEN * limit / max(n_steps, 1))
    resolved = Plan(
        experiment, spec, batched, copies, n_steps, rollouts, experiment.checkpoint_rollouts or interval,
        experiment.evaluation.episodes or (100 if batched else 20), _encoder_name(spec, env.observation_space),
    )  # fmt: skip
    _check_phases(resolved)
    preflight.check_memory(
        preflight.rollout_bytes(experiment, env.observation_space, copies, n_steps),
        f"{copies} copies x {n_steps} steps",
    )
    return resolved


def _told(spec: AgentSpec) -> int:
    """Steps that the labels, or frames, of a learner take before it learns from reward."""
    part = spec.supervised if spec.base.name == "ppo" else None
    return option(part, _collected(spec)) if part else 0


def _collected(spec: AgentSpec) -> str:
    return "frames" if asks(spec) == "nothing" else "labels"


def _encoder_name(spec: AgentSpec, space: gym.Space) -> str:
    chosen, part = spec.get("encoders"), spec.supervised
    if part is not None and (only := registry.load("supervised", part.name).only_encoder):  # type: ignore[attr-defined]
        if chosen is not None and chosen.name != only:
            raise UsageError(f"{str(spec)!r}: {part.name} can fit the encoder {only} only; leave {chosen.name} out")
        return only
    return chosen.name if chosen else default_encoder(space)


def world_of(experiment: Experiment, copies: int, split: Literal["train", "eval"], true_state: bool) -> VectorEnv:
    """`copies` of the experiment's world, not yet reset."""
    world = experiment.world
    pools: dict[str, Any] = {"levels": world.levels, "eval_levels": world.eval_levels, **world.kwargs}
    return vector.make(world.id, copies, split=split, true_state=true_state, **pools)


def sees_true_state(spec: AgentSpec) -> bool:
    """Does the agent's encoder read the world's labels in place of the view?"""
    chosen = spec.get("encoders")
    return chosen is not None and registry.load("encoders", chosen.name).privileged is not None  # type: ignore[attr-defined]


def asks(spec: AgentSpec) -> Literal["oracle", "labels", "nothing"]:
    """What the agent is told: actions (by the world's oracle, or by an expert in its place), states, nothing."""
    part = spec.supervised
    return "nothing" if part is None else registry.load("supervised", part.name).asks  # type: ignore[attr-defined]


def option(part: Part, name: str) -> Any:
    """A part's option as given, else its default; 0 where it has none of that name."""
    known = schema(registry.load(part.kind, part.name)).model_fields
    return part.options.get(name, known[name].default if name in known else 0)


def check_device(device: str) -> None:
    """Stable-baselines3 would take the CPU instead, and the result would name a GPU. What only looks at a run needs no
    GPU and does not ask."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= there:
        raise UsageError(f"device={device}: torch finds {there} such devices here; use device=cpu, or a torch for CUDA")


def _check_supervision(spec: AgentSpec, env: gym.Env, experiment: Experiment, batched: bool) -> None:
    env_id, told = experiment.world.id, asks(spec) == "oracle"
    if experiment.expert is not None and not told:
        raise UsageError(f"{str(spec)!r} takes no action labels, so no expert can give them; leave --expert out")
    needs = spec.base.name == "oracle" or (told and experiment.expert is None)
    if needs and not vector.offers_oracle(env_id, env):
        raise UsageError(
            f"{str(spec)!r} needs an oracle, and {env_id!r} has none; those that have one: DeepSea-v0, this "
            "package's other worlds and the batched MiniGrid ids but Playground (`sandbox list worlds`). Your own "
            "environment offers one by a method oracle() -> action" + (", or --expert RUN labels in its place" * told)
        )
    states = sees_true_state(spec) or asks(spec) == "labels"
    if states and not (batched or hasattr(env.unwrapped, "labels")):
        raise UsageError(f"{str(spec)!r} needs state labels, and {env_id!r} offers none (a method labels() -> dict)")
    bonuses = [factor for part in spec.all("curiosity") for factor in part.factors]
    if any(option(bonus, "state") == "full" for bonus in bonuses) and not batched:
        raise UsageError(f"{str(spec)!r} reads the true state instead of the view, and {env_id!r} offers no labels")


def _check_phases(plan_: Plan) -> None:
    """Labels cost one step each, and so does experience without reward: refuse beforehand what cannot be done."""
    experiment, part, objective = plan_.experiment, plan_.spec.supervised, plan_.spec.get("objectives")
    if part is None:
        _check_pretraining(plan_)
        return
    if objective is not None and option(objective, "mode") == "auxiliary":
        raise UsageError(
            f"{experiment.agent!r}: beside {part.name} an objective trains the encoder first, and then it is kept "
            f"({objective.name}:mode=frozen) or learns slowly on ({objective.name}:mode=finetune); say which"
        )
    what = _collected(plan_.spec)
    asked, before = option(part, what), plan_.pretraining * plan_.per_rollout
    if asked + before > experiment.steps:
        first = f" after {before:,} of pre-training (pretrain_steps)" if before else ""
        less = " or for less pre-training" if before else ""
        raise UsageError(
            f"{experiment.agent!r} takes {asked:,} environment steps to collect its {what}{first}, more than the "
            f"budget of {experiment.steps:,}; raise --steps or ask for fewer {what}{less}"
        )


def _check_pretraining(plan_: Plan) -> None:
    """Of a learner some rollout must see the reward: a rollout that begins in the pre-training does not."""
    objective = plan_.spec.get("objectives")
    if not plan_.trains or objective is None or option(objective, "mode") == "auxiliary":
        return
    blind = option(objective, "pretrain_steps")
    if blind > (plan_.rollouts - 1) * plan_.per_rollout:
        raise UsageError(
            f"{plan_.experiment.agent!r}: {blind:,} steps of pre-training without reward leave no rollout of "
            f"{plan_.per_rollout:,} steps of {plan_.experiment.steps:,}; lower {objective.name}:pretrain_steps or "
            "raise --steps"
        )


def encoder_of(plan_: Plan) -> tuple[type, dict[str, Any]]:
    """The encoder's class and its options."""
    chosen = plan_.spec.get("encoders")
    return registry.load("encoders", plan_.encoder), dict(chosen.options) if chosen else {}


def policy_kwargs(plan_: Plan) -> dict[str, Any]:
    """The network that every arm of an experiment shares."""
    encoder, options = encoder_of(plan_)
    return {
        "features_extractor_class": encoder,
        "features_extractor_kwargs": options,
        "net_arch": list(plan_.experiment.learner.net_arch),
        "optimizer_class": Adam,
        "optimizer_kwargs": {"eps": 1e-5},
    }


def learner_kwargs(plan_: Plan) -> dict[str, Any]:
    """What PPO takes of an experiment, but for the world, the seed, the device and the parts."""
    learner = plan_.experiment.learner
    same = ("n_epochs", "learning_rate", "gamma", "gae_lambda", "clip_range", "ent_coef", "vf_coef", "max_grad_norm")
    ours = ("intrinsic_gamma", "intrinsic_episodic", "bfloat16")
    return {name: getattr(learner, name) for name in same + ours} | {
        "n_steps": plan_.n_steps,
        "batch_size": plan_.batch_size,
        "policy_kwargs": policy_kwargs(plan_),
        **{name: functools.partial(at, getattr(learner, name)) for name in SCHEDULES},
    }


def build(part: Part, context: Context) -> Any:
    """A part of an agent, or the product of several bonuses."""
    if part.factors != (part,):
        return Product(context, {one.name: functools.partial(build, one) for one in part.factors})
    return registry.load(part.kind, part.name)(context, **part.options)


def bonus_of(plan_: Plan) -> Callable[[Context], IntrinsicReward] | None:
    """What builds the agent's bonus: one, a sum of several, or None."""
    makers = {part.name: functools.partial(build, part) for part in plan_.spec.all("curiosity")}
    if len(makers) < 2:
        return next(iter(makers.values()), None)
    return functools.partial(Sum, makers=makers, gamma=plan_.experiment.learner.intrinsic_gamma)


def at(schedule: float | tuple[tuple[int, float], ...], steps: int) -> float:
    """A schedule's value at an absolute environment step."""
    if isinstance(schedule, float | int):
        return float(schedule)
    points, values = zip(*schedule, strict=True)
    return float(np.interp(steps, points, values))
