"""A policy or an encoder that was given: what is taken over, what stays as it is, and how much the rest moves."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from agents.context import Context
from agents.curiosity.counts import Counts
from agents.encoders.mlp import Mlp
from agents.learners._policy import MlpPolicy
from agents.learners.ppo import FINETUNE_RATE, PPO
from agents.supervised.bc import BehaviourCloning
from agents.supervised.state import StateSupervision
from agents.vec_env import GymnasiumVecEnv
from envs import vector
from envs.deep_sea import DeepSea

SIZE = 5
SPACE, ACTIONS = spaces.Box(0, 1, (SIZE, SIZE), np.float32), spaces.Discrete(2)


def options(net_arch: list[int]) -> dict[str, Any]:
    return {
        "features_extractor_class": Mlp,
        "features_extractor_kwargs": {"hidden": (32,)},
        "net_arch": net_arch,
    }


def context(net_arch: list[int]) -> Context:
    make_policy = functools.partial(MlpPolicy, SPACE, ACTIONS, lambda _progress: 1e-3, **options(net_arch))
    return Context(SPACE, ACTIONS, 1, lambda: Mlp(SPACE, hidden=(32,)), make_policy)


def make(copies: int) -> tuple[Any, Any]:
    world = DeepSea(copies, size=SIZE)
    return world, vector.reset(world, 0)


def views() -> Tensor:
    return torch.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE)


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


# ---------------------------------------------------------------------- a policy for a learner


def learner(net_arch: list[int], compiled: bool = True) -> PPO:
    env = GymnasiumVecEnv(DeepSea(4, size=SIZE))
    kwargs = options(net_arch) | ({} if compiled else {"optimizer_class": torch.optim.Adam})
    return PPO(
        "MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=2, ent_coef=0.1, seed=0, intrinsic=Counts,
        policy_kwargs=kwargs, device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("net_arch", [[], [16]])
def test_the_learner_acts_exactly_as_the_cloned_policy(net_arch: list[int]) -> None:
    torch.manual_seed(0)
    part, model = BehaviourCloning(context(net_arch), labels=100), learner(net_arch)
    fresh = weights(model.policy)
    part.fit(make, 0)
    model.take_policy(part.policy)
    logits = [policy.get_distribution(views()).distribution.logits for policy in (part.policy, model.policy)]
    assert torch.equal(*logits)
    kept = [name for name, value in model.policy.state_dict().items() if torch.equal(value, fresh[name])]
    assert {"value_net.weight", "intrinsic_value_net.weight"} <= set(kept)
    assert ("mlp_extractor.value_net.0.weight" in kept) == bool(net_arch)
    assert "action_net.weight" not in kept
    assert "features_extractor.layers.0.weight" not in kept


@pytest.mark.parametrize(("net_arch", "compiled"), [([], True), ([16], True), ([], False)])
def test_at_first_only_the_value_heads_learn(net_arch: list[int], compiled: bool) -> None:
    model = learner(net_arch, compiled)
    model.policy_from = 2 * 64
    before = weights(model.policy)
    model.learn(2 * 64)
    after = weights(model.policy)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {"value_net.weight", "intrinsic_value_net.weight"} <= moved
    assert all("value_net" in name for name in moved)
    model.learn(64, reset_num_timesteps=False)
    later = {name for name, value in model.policy.state_dict().items() if not torch.equal(value, after[name])}
    assert {"action_net.weight", "features_extractor.layers.0.weight"} <= later


def test_the_policys_moments_begin_with_the_policy() -> None:
    model = learner([])
    model.policy_from = 2 * 64
    model.learn(3 * 64)
    steps = {name: model.policy.optimizer.state[p]["step"].item() for name, p in model.policy.named_parameters()}
    assert steps["value_net.weight"] == 3 * 8  # epochs x minibatches of each rollout
    assert steps["action_net.weight"] == steps["features_extractor.layers.0.weight"] == 8


# ---------------------------------------------------------------------- an encoder for a policy


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return float(sum((a[name] - b[name]).abs().sum() for name in a))


def test_a_given_encoder_is_fixed_or_learns_a_hundred_times_less() -> None:
    given = Mlp(SPACE, hidden=(32,))
    moved = {}
    for rate in (1.0, FINETUNE_RATE, 0.0):
        torch.manual_seed(0)
        part = BehaviourCloning(context([]), labels=100, max_epochs=2, patience=2)
        head = weights(part.policy.action_net)
        part.take_encoder(given, rate)
        part.fit(make, 0)
        moved[rate] = distance(weights(part.policy.features_extractor), weights(given))
        assert distance(weights(part.policy.action_net), head) > 0
    assert moved[0.0] == 0.0
    assert moved[FINETUNE_RATE] / moved[1.0] == pytest.approx(FINETUNE_RATE, rel=0.2)


# ---------------------------------------------------------------------- the negative control


def test_shuffled_answers_are_learned_no_better_than_chance() -> None:
    torch.manual_seed(0)
    scores = {}
    for control in (False, True):
        cloned = BehaviourCloning(context([]), labels=600, shuffled=control).fit(make, 0)
        seen = StateSupervision(context([]), labels=1000, shuffled=control).fit(make, 0)
        scores[control] = cloned["held_out_loss"], seen["row_score"]
    assert scores[False][0] < 0.05
    right = make(1)[0].right_action.diagonal().mean()  # what the oracle answers on its way, as often
    assert scores[True][0] > -0.95 * (right * np.log(right) + (1 - right) * np.log(1 - right))
    assert scores[False][1] == 1.0
    assert scores[True][1] < 0.35  # five rows, equally often
