"""What every bonus and every objective must keep, on every kind of space: found by listing the files."""

from __future__ import annotations

import importlib
import inspect
from copy import deepcopy
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import agents.curiosity
import agents.objectives
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.objectives import Objective
from agents.rollout import Rollout, map_obs
from tests.agents.worlds import WORLDS, N, T, context, rollout


def part_class(package: Any, name: str) -> type:
    """The registry's rule: the one public subclass whose module is that file."""
    module = importlib.import_module(f"{package.__name__}.{name}")
    base = IntrinsicReward if package is agents.curiosity else Objective
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    public = [c for c in own if issubclass(c, base) and not c.__name__.startswith("_")]
    assert len(public) == 1, f"{name}.py has {len(public)} public parts"
    return public[0]


def names(package: Any) -> list[str]:
    return sorted(p.stem for p in Path(package.__path__[0]).glob("*.py") if not p.stem.startswith("_"))


# What they have met they remember in `reward` and forget with the episode; `update` only teaches them features.
TEACHES_FEATURES = ("e3b", "ngu", "pseudo_counts", "ride")
UPDATES = {"jepa_surprise": 200}  # its features spread first, and only then does the error fall
STILL = {"jepa": {"similarity": 0.0}}  # random views do not change slowly: that term can only shrink features here
BONUSES = {name: part_class(agents.curiosity, name) for name in names(agents.curiosity)}
OBJECTIVES = {name: part_class(agents.objectives, name) for name in names(agents.objectives)}
# Runs are named without their defaults: a changed one would be another experiment under an old name.
CONSTANTS: dict[str, dict[str, Any]] = {
    "byol_explore": {"lr": 1e-4, "tau": 0.01, "decay": 0.99, "hidden": 256},
    "contacts": {"power": 0.25},
    "counts": {"state": "view", "episodic": "first", "lifelong": True},
    "deir": {"lr": 3e-4, "epochs": 2, "queue": 10_000, "memory": 5000},
    "disagreement": {"features": "random", "models": 5, "keep": 0.8, "hidden": 256},
    "drnd": {"targets": 5, "alpha": 0.95, "width": 128},
    "e3b": {"features": "inverse", "ridge": 0.1},
    "fly_bloom": {"cells": 1024, "active": 16, "fan_in": 6, "delta": 0.9, "epsilon": 0.0, "bumps": 16},
    "icm": {"features": "inverse", "stop_gradient": True, "hidden": 256},
    "jepa_surprise": {"lr": 1e-3, "k": 8},
    "lpm": {"features": "random", "lr": 1e-4, "error_lr": 1e-3},
    "ngu": {"features": "inverse", "lr": 5e-4, "k": 10, "epsilon": 1e-4, "cluster": 0.008, "c": 0.001, "s_max": 8.0}
    | {"memory": 5000, "maximum": 5.0},
    "noveld": {"alpha": 0.5, "width": 128, "state": "view"},
    "pseudo_counts": {"features": "inverse", "lr": 5e-4, "k": 10, "epsilon": 1e-4, "cluster": 0.008, "c": 0.001}
    | {"s_max": 8.0, "memory": 5000},
    "re3": {"k": 3},
    "ride": {"beta": 0.1, "hidden": 256, "state": "view"},
    "rnd": {"lr": 1e-4, "width": 128, "proportion": None},
    "simhash": {"k": 32, "bumps": 0},
}


def lr(cls: type, value: float) -> dict[str, float]:
    return {"lr": value} if "lr" in inspect.signature(cls).parameters else {}


def clone(part: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in part.state_dict().items()}


def all_finite(metrics: dict[str, float]) -> bool:
    return all(isinstance(v, float) and np.isfinite(v) for v in metrics.values())


def one_episode(world: str, seed: int) -> Rollout:
    data = rollout(world, seed)
    never = torch.zeros(T, N).bool()
    return Rollout(data.obs, data.actions, data.next_obs, data.rewards, never, never)


def test_there_is_something_to_test() -> None:
    assert {"counts", "rnd", "icm", "noveld"} <= set(BONUSES)
    assert {"inverse", "self_prediction"} <= set(OBJECTIVES)


# ---------------------------------------------------------------------- schema


@pytest.mark.parametrize("cls", [*BONUSES.values(), *OBJECTIVES.values()])
def test_every_option_is_keyword_only_annotated_and_has_a_default(cls: type) -> None:
    first, *options = inspect.signature(cls).parameters.values()
    hints = get_type_hints(cls.__init__, include_extras=True)
    assert first.name == "context"
    assert hints["context"] is Context
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY, option.name
        assert option.default is not inspect.Parameter.empty, option.name
        assert option.name in hints, option.name
        assert hints[option.name] not in (int, float, str), f"{option.name} needs bounds or choices"


@pytest.mark.parametrize("cls", OBJECTIVES.values())
def test_objectives_list_the_options_of_their_base(cls: type) -> None:
    own, base = inspect.signature(cls).parameters, inspect.signature(Objective).parameters
    for name, option in base.items():
        assert (own[name].default, own[name].annotation) == (option.default, option.annotation)


@pytest.mark.parametrize("name", BONUSES)
def test_the_defaults_are_those_that_runs_are_named_by(name: str) -> None:
    options = inspect.signature(BONUSES[name]).parameters
    assert {option: options[option].default for option in CONSTANTS[name]} == CONSTANTS[name]


# ---------------------------------------------------------------------- bonuses


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", BONUSES)
def test_reward_is_finite_without_gradient_and_changes_no_parameter(name: str, world: str) -> None:
    bonus, data = BONUSES[name](context(world)), rollout(world, seed=0)
    before = {k: v.detach().clone() for k, v in bonus.named_parameters()}
    generator = torch.get_rng_state()
    reward = bonus.reward(data)
    assert reward.shape == (T, N)
    assert reward.dtype == torch.float32
    assert not reward.requires_grad
    assert torch.isfinite(reward).all()
    assert (reward >= 0).all()
    assert reward.sum() > 0
    assert all(torch.equal(before[k], v) for k, v in bonus.named_parameters())
    assert torch.equal(generator, torch.get_rng_state())


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", BONUSES)
def test_an_equal_state_gives_equal_rewards_and_equal_learning(name: str, world: str) -> None:
    bonus, resumed = BONUSES[name](context(world)), BONUSES[name](context(world))
    past, future = rollout(world, seed=1), rollout(world, seed=2)
    bonus.reward(past)
    bonus.update(past)
    resumed.load_state_dict(clone(bonus))
    if bonus.optimiser is not None:
        resumed.optimiser.load_state_dict(deepcopy(bonus.optimiser.state_dict()))
    for _ in range(2):
        assert torch.equal(bonus.reward(future), resumed.reward(future))
        assert bonus.update(future) == resumed.update(future)
    state, other = bonus.state_dict(), resumed.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[k], other[k]) for k in state)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", BONUSES)
def test_update_is_finite_and_repeated_data_wears_out(name: str, world: str) -> None:
    torch.manual_seed(0)
    bonus, data = BONUSES[name](context(world), **lr(BONUSES[name], 3e-3)), rollout(world, seed=3)
    metrics, rewards = [], []
    for _ in range(UPDATES.get(name, 60)):
        bonus.new_episodes()
        rewards.append(bonus.reward(data).mean())
        metrics.append(bonus.update(data))
        assert all_finite(metrics[-1])
    if "loss" in metrics[0]:
        assert metrics[-1]["loss"] < 0.7 * metrics[1]["loss"]
    spreads = name == "jepa_surprise" and world != "symbols"  # features of random numbers, and their error
    if name not in TEACHES_FEATURES and not spreads:
        most = max(rewards) if name == "lpm" else rewards[0]  # progress is paid once there is some
        assert rewards[-1] < 0.7 * most


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", BONUSES)
def test_what_repeats_pays_less_than_what_is_new(name: str, world: str) -> None:
    torch.manual_seed(0)
    bonus = BONUSES[name](context(world), **lr(BONUSES[name], 3e-3))
    known, new, paid = one_episode(world, 3), one_episode(world, 4), []
    for _ in range(150):
        bonus.new_episodes()
        paid.append(bonus.reward(known).mean())
        bonus.update(known)
    bonus.new_episodes()
    bonus.reward(known)  # seen in earlier episodes, and now in this one
    before = clone(bonus)
    again = bonus.reward(known).mean()
    bonus.load_state_dict(before)
    pays_progress = name == "lpm"  # and none is made on the unknown before something of it was learned
    assert again < (max(paid) if pays_progress else bonus.reward(new).mean())


@pytest.mark.parametrize("name", BONUSES)
def test_new_episodes_makes_the_reward_what_it_was(name: str) -> None:
    bonus, data = BONUSES[name](context("symbols")), one_episode("symbols", 4)
    first, again = bonus.reward(data), bonus.reward(data)
    if BONUSES[name].new_episodes is not IntrinsicReward.new_episodes:
        assert not torch.equal(again, first)  # the episode goes on, and has seen it all
    bonus.new_episodes()
    assert torch.equal(bonus.reward(data), first)


@pytest.mark.parametrize("name", BONUSES)
def test_the_optimiser_owns_exactly_what_is_trainable(name: str) -> None:
    bonus = BONUSES[name](context("vector"))
    groups = bonus.optimiser.param_groups if bonus.optimiser else []
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in bonus.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", BONUSES)
def test_rewards_do_not_depend_on_where_a_rollout_is_cut(name: str) -> None:
    whole, parts = BONUSES[name](context("symbols")), BONUSES[name](context("symbols"))
    parts.load_state_dict(clone(whole))
    data = rollout("symbols", seed=5)

    def cut(rows: slice) -> Rollout:
        fields = {k: v[rows] for k, v in vars(data).items() if isinstance(v, Tensor)}
        obs, next_obs = (map_obs(lambda x: x[rows], o) for o in (data.obs, data.next_obs))
        return Rollout(obs, next_obs=next_obs, **fields)

    pieces = torch.cat([parts.reward(cut(slice(0, 7))), parts.reward(cut(slice(7, T)))])
    torch.testing.assert_close(pieces, whole.reward(data), rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------- objectives


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_is_a_finite_scalar_that_reaches_the_encoder(name: str, world: str) -> None:
    objective, encoder, data = OBJECTIVES[name](context(world)), context(world).make_encoder(), rollout(world, seed=6)
    before = deepcopy(data)
    loss, metrics = objective.loss(encoder, data, (torch.arange(10), torch.arange(10) % N))
    assert loss.shape == ()
    assert all_finite(metrics)
    assert metrics["loss"] == pytest.approx(loss.item())
    loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())
    assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)
    for old, new in ((before.obs, data.obs), (before.next_obs, data.next_obs)):
        pairs = [(old[k], new[k]) for k in old] if isinstance(old, dict) else [(old, new)]
        assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_falls_on_repeated_data(name: str, world: str) -> None:
    torch.manual_seed(0)
    objective, encoder = OBJECTIVES[name](context(world), **STILL.get(name, {})), context(world).make_encoder()
    data = rollout(world, seed=7)
    index = torch.arange(T).repeat_interleave(N), torch.arange(N).repeat(T)
    trainable = [p for p in [*objective.parameters(), *encoder.parameters()] if p.requires_grad]
    optimiser, losses = torch.optim.Adam(trainable, lr=3e-3), []
    for _ in range(100):
        loss, metrics = objective.loss(encoder, data, index)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(encoder)
        losses.append(metrics["loss"])
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_resumes_from_its_state(name: str) -> None:
    objective, resumed = (OBJECTIVES[name](context("vector")) for _ in range(2))
    encoder, data, index = (
        context("vector").make_encoder(),
        rollout("vector", seed=8),
        (torch.arange(9), torch.arange(9) % N),
    )

    def learn() -> None:
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))

    objective.loss(encoder, data, index)
    learn()
    objective.after_step(encoder)
    resumed.load_state_dict(clone(objective))
    learn()  # what lags behind is now neither the encoder nor the one that was met first
    for _ in range(2):
        assert torch.equal(objective.loss(encoder, data, index)[0], resumed.loss(encoder, data, index)[0])
        for one in (objective, resumed):
            one.after_step(encoder)
