"""Every bonus of ours on recorded steps: its reward and its learning, without learner and world."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.encoders import Encoder, default_encoder
from agents.rollout import Rollout
from benchmarks import recorded
from benchmarks.ours.same_schedule import ENCODER, with_encoder
from envs import vector
from sandbox import registry
from sandbox.options import schema


def spend(bonus: IntrinsicReward, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """CPU seconds of each half of its work, in the order in which a learner asks for it."""
    spent = {"reward": 0.0, "update": 0.0}
    for rollout in rollouts:
        start = time.process_time()
        with torch.no_grad():
            bonus.reward(rollout)
        rewarded = time.process_time()
        bonus.update(rollout)
        spent["reward"] += rewarded - start
        spent["update"] += time.process_time() - rewarded
    return spent


def _defaults() -> dict[str, Callable[[Context], IntrinsicReward]]:
    return {name: registry.load("curiosity", name) for name in registry.names("curiosity")}


def _peer_sized(name: str) -> Callable[[Context], IntrinsicReward]:
    """With an encoder of the peer's size, learning from every step as the peer does."""
    options = schema(registry.load("curiosity", name)).model_fields
    return with_encoder(name, **({"proportion": 1.0} if "proportion" in options else {}))


def make(
    env: str, copies: int, n_steps: int, rollouts: int, peer_sized: bool = False
) -> Callable[[int], dict[str, dict[str, float]]]:
    """A function that measures each bonus in turn on a number of the recorded steps: {bonus: CPU seconds}.

    Args:
        peer_sized: those that RLeXplore has too, at its size.
    """
    torch.manual_seed(0)
    world = vector.make(env, copies)
    space = world.single_observation_space

    def encoder() -> Encoder:
        return registry.load("encoders", default_encoder(space))(space)

    context = Context(space, world.single_action_space, copies, encoder)
    makers = {name: _peer_sized(name) for name in ENCODER} if peer_sized else _defaults()
    bonuses = {name: makers[name](context) for name in sorted(makers)}
    record = recorded.rollouts(world, n_steps, rollouts)

    def run(steps: int) -> dict[str, dict[str, float]]:
        count = steps // (copies * n_steps)
        return {name: spend(bonus, record[:count]) for name, bonus in bonuses.items()}

    return run
