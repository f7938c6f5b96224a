"""Supervised baselines: what they are told, how it is split and counted, and that enough labels are enough."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

import agents.supervised
from agents.context import Context
from agents.encoders.mlp import Mlp
from agents.learners._policy import MlpPolicy
from agents.supervised import Supervised, copies_for
from agents.supervised._fit import collect, early_stopping, split
from agents.supervised.bc import BehaviourCloning
from agents.supervised.state import StateSupervision, _Head
from envs import vector
from envs.deep_sea import DeepSea

SIZE = 5
SPACE, ACTIONS = spaces.Box(0, 1, (SIZE, SIZE), np.float32), spaces.Discrete(2)


def context() -> Context:
    options: dict[str, Any] = {
        "features_extractor_class": Mlp,
        "features_extractor_kwargs": {"hidden": (32,)},
        "net_arch": [32],
    }
    make_policy = functools.partial(MlpPolicy, SPACE, ACTIONS, lambda _progress: 1e-3, **options)
    return Context(SPACE, ACTIONS, 1, lambda: Mlp(SPACE, hidden=(32,)), make_policy)


class Counted:
    """Makes the environment and counts what was asked of it."""

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.copies = seed, 0
        self.calls: dict[str, int] = {"step": 0, "oracle": 0, "labels": 0}

    def __call__(self, copies: int) -> tuple[Any, Any]:
        self.copies, world = copies, DeepSea(copies, size=SIZE)
        obs = vector.reset(world, self.seed)
        for name in self.calls:
            setattr(world, name, self._counting(name, getattr(world, name)))
        self.world = world
        return world, obs

    def _counting(self, name: str, method: Callable) -> Callable:
        def call(*args: Any) -> Any:
            self.calls[name] += 1
            return method(*args)

        return call


# ---------------------------------------------------------------------- contract


def names() -> list[str]:
    return sorted(p.stem for p in Path(agents.supervised.__path__[0]).glob("[!_]*.py"))


def part(name: str) -> Any:
    module = importlib.import_module(f"agents.supervised.{name}")
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    (cls,) = [c for c in own if issubclass(c, Supervised) and not c.__name__.startswith("_")]
    return cls


TOLD = [name for name in names() if part(name).asks != "nothing"]


def test_there_is_something_to_test() -> None:
    assert {"bc", "dagger", "state"} <= set(TOLD) < {*names()}


@pytest.mark.parametrize("name", names())
def test_options_are_keyword_only_annotated_bounded_and_have_defaults(name: str) -> None:
    first, *options = inspect.signature(part(name)).parameters.values()
    hints = get_type_hints(part(name).__init__, include_extras=True)
    assert (first.name, hints["context"]) == ("context", Context)
    assert ("labels" in {option.name for option in options}) == (part(name).asks != "nothing")
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY, option.name
        assert option.default is not inspect.Parameter.empty, option.name
        assert hints[option.name] not in (int, float, str), f"{option.name} needs bounds or choices"


@pytest.mark.parametrize("labels", [2, 7, 250, 999, 1001])
@pytest.mark.parametrize("name", TOLD)
def test_the_ledger_counts_what_was_asked(name: str, labels: int) -> None:
    make, baseline = Counted(), part(name)(context(), labels=labels, max_epochs=1)
    metrics = baseline.fit(make, seed=0)
    assert make.copies == copies_for(labels)
    assert baseline.steps == make.calls["step"] * make.copies  # every environment step, the surplus of the last too
    assert labels <= baseline.steps < labels + make.copies
    assert baseline.action_labels + baseline.state_labels == labels
    assert all(type(value) is float for value in metrics.values())


def test_each_baseline_asks_only_for_its_own_kind_of_label() -> None:
    cloning, seeing = (
        BehaviourCloning(context(), labels=20, max_epochs=1),
        StateSupervision(context(), labels=20, max_epochs=1),
    )
    asked = []
    for baseline in (cloning, seeing):
        make = Counted()
        baseline.fit(make, seed=0)
        asked.append((baseline.action_labels, baseline.state_labels, make.calls["labels"] > 0))
    assert asked == [(20, 0, False), (0, 20, True)]
    make = Counted()
    StateSupervision(context(), labels=20, max_epochs=1).fit(make, seed=0)
    # DeepSea's own step asks for the right action once; frames come from a random policy, so nobody else does
    assert make.calls["oracle"] == make.calls["step"]


@pytest.mark.parametrize("name", TOLD)
def test_fit_follows_its_seed(name: str) -> None:
    def learnt(seed: int) -> tuple[dict[str, float], list[Tensor]]:
        torch.manual_seed(0)
        baseline: Any = part(name)(context(), labels=300, max_epochs=3)
        metrics = baseline.fit(Counted(seed), seed)
        module = baseline.encoder if name == "state" else baseline.policy
        return metrics, [p.detach().clone() for p in module.parameters()]

    (first, weights), (again, same), (_, other) = learnt(0), learnt(0), learnt(1)
    assert first == again
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))
    if name != "bc":  # the demonstrations of DeepSea's oracle are all alike
        assert not all(torch.equal(a, b) for a, b in zip(weights, other, strict=True))


# ---------------------------------------------------------------------- enough labels are enough


def test_bc_learns_the_oracle_exactly() -> None:
    torch.manual_seed(0)
    baseline = BehaviourCloning(context(), labels=600)
    metrics = baseline.fit(Counted(), seed=0)
    assert metrics["held_out_accuracy"] == 1.0
    assert metrics["held_out_loss"] < 0.05
    world = DeepSea(2, size=SIZE)
    obs = vector.reset(world, 1)
    for _ in range(SIZE):
        actions, _ = baseline.policy.predict(obs, deterministic=True)
        assert actions.tolist() == world.oracle().tolist()
        obs, *_, infos = world.step(actions)
    assert infos["episode"]["r"] == pytest.approx(0.99)
    assert not baseline.policy.training


def test_bc_learns_nothing_from_an_oracle_that_guesses() -> None:
    class Guessing(Counted):
        def __call__(self, copies: int) -> tuple[Any, Any]:
            world, obs = super().__call__(copies)
            rng = np.random.default_rng(0)
            world.oracle = lambda: rng.integers(2, size=copies)
            return world, obs

    torch.manual_seed(0)
    metrics = BehaviourCloning(context(), labels=500).fit(Guessing(), seed=0)
    assert metrics["held_out_loss"] > 0.6
    assert 0.2 < metrics["held_out_accuracy"] < 0.8


def test_state_supervision_learns_where_the_submarine_is() -> None:
    torch.manual_seed(0)
    baseline = StateSupervision(context(), labels=1500)
    before = [p.detach().clone() for p in baseline.encoder.parameters()]
    metrics = baseline.fit(Counted(), seed=0)
    assert metrics["row_score"] == 1.0
    assert metrics["column_score"] == 1.0
    assert not all(torch.equal(a, b) for a, b in zip(before, baseline.encoder.parameters(), strict=True))


def test_an_environment_without_labels_is_refused() -> None:
    class Mute(Counted):
        def __call__(self, copies: int) -> tuple[Any, Any]:
            world, obs = super().__call__(copies)
            world.labels = dict
            return world, obs

    with pytest.raises(ValueError, match="no state labels"):
        StateSupervision(context(), labels=10).fit(Mute(), seed=0)


# ---------------------------------------------------------------------- collecting


class Clock:
    """Copy n's episodes last n + 2 steps; it shows (copy, episode of the copy, step)."""

    def __init__(self, n: int) -> None:
        self.num_envs, self.now = n, np.array([[i, 0, 0] for i in range(n)])

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self.now[:, 2] += 1
        ended = self.now[:, 2] == self.now[:, 0] + 2
        self.now[ended, 1] += 1
        self.now[ended, 2] = 0
        odd = self.now[:, 0] % 2 == 1
        return self.now.copy(), np.zeros(self.num_envs), ended & odd, ended & ~odd, {}


@pytest.mark.parametrize("labels", [1, 6, 20, 22])
def test_collect_keeps_observation_answer_and_episode_together(labels: int) -> None:
    env: Any = Clock(3)
    data = collect(env, env.now.copy(), labels, lambda _obs, _told: np.zeros(3), lambda e: {"now": env.now.copy()})
    assert isinstance(data.obs, Tensor)
    assert data.obs.shape == (labels, 3)
    assert torch.equal(data.obs, data.answers["now"])
    named: dict[int, set] = {}
    for row, episode in zip(data.obs.tolist(), data.episodes.tolist(), strict=True):
        named.setdefault(episode, set()).add((row[0], row[1]))
    assert all(len(found) == 1 for found in named.values())  # an episode number names one episode
    assert len({next(iter(found)) for found in named.values()}) == len(named)  # and each has one number
    assert data.obs[:, 0].tolist() == sorted(data.obs[:, 0].tolist())  # copy by copy, each in the order of time


def test_collect_reads_dict_observations() -> None:
    env: Any = Clock(2)

    class Named:
        num_envs = 2

        def step(self, actions: np.ndarray) -> tuple[Any, ...]:
            obs, *rest = env.step(actions)
            return {"copy": obs[:, 0], "time": obs[:, 1:]}, *rest

    first = {"copy": env.now[:, 0].copy(), "time": env.now[:, 1:].copy()}
    data: Any = collect(Named(), first, 5, lambda _obs, _told: np.zeros(2), lambda e: {"x": env.now[:, 2].copy()})  # type: ignore[arg-type]
    assert data.obs["copy"].tolist() == [0, 0, 0, 1, 1]
    assert data.obs["time"][:, 1].tolist() == data.answers["x"].tolist() == [0, 1, 0, 0, 1]


def test_copies_grow_with_the_labels() -> None:
    assert [copies_for(n) for n in (2, 499, 500, 2500, 10**6)] == [1, 1, 2, 10, 64]


# ---------------------------------------------------------------------- splitting


@pytest.mark.parametrize("seed", range(5))
def test_whole_episodes_are_held_out(seed: int) -> None:
    episodes = np.repeat(np.arange(20), np.random.default_rng(seed).integers(1, 9, 20))
    train, held_out = split(episodes, 0.25, np.random.default_rng(seed))
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(len(episodes)))
    assert not set(episodes[train]) & set(episodes[held_out])
    assert len(set(episodes[held_out])) == 5


def test_the_split_follows_its_generator() -> None:
    episodes = np.repeat(np.arange(20), 3)
    first, again, other = (split(episodes, 0.25, np.random.default_rng(s))[1].tolist() for s in (0, 0, 1))
    assert first == again != other


def test_one_episode_is_cut_in_time_and_one_label_is_both() -> None:
    train, held_out = split(np.zeros(10, int), 0.3, np.random.default_rng(0))
    assert (train.tolist(), held_out.tolist()) == ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9])
    train, held_out = split(np.zeros(1, int), 0.1, np.random.default_rng(0))
    assert train.tolist() == held_out.tolist() == [0]


# ---------------------------------------------------------------------- early stopping


class Number(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(()))


def test_early_stopping_restores_the_best_epoch() -> None:
    module, seen = Number(), []

    def loss(index: Tensor) -> Tensor:
        if index.tolist() == [0]:  # training: upwards without end, by .1 an epoch
            return -module.x
        seen.append(module.x.item())
        return (module.x - 0.32).square()

    metrics = early_stopping(
        module, loss, torch.tensor([0]), torch.tensor([1]), lr=0.1, batch_size=1, max_epochs=50, patience=4
    )
    assert metrics["best_epoch"] == 3
    assert metrics["epochs"] == 7
    assert seen == pytest.approx([0.1 * k for k in range(1, 8)], rel=1e-4)
    assert module.x.item() == pytest.approx(0.3, rel=1e-4)
    assert metrics["held_out_loss"] == pytest.approx((0.3 - 0.32) ** 2, rel=1e-2)


def test_early_stopping_ends_at_the_last_epoch_and_weighs_uneven_parts() -> None:
    module = Number()
    held_out = torch.arange(8193)  # judged in a part of 8192 and one of 1

    def loss(index: Tensor) -> Tensor:
        return module.x.square() * 0 + index.double().mean() if len(index) > 1 or index[0] == 8192 else -module.x

    metrics = early_stopping(module, loss, torch.tensor([0]), held_out, lr=0.1, batch_size=1, max_epochs=3, patience=9)
    assert metrics["epochs"] == 3
    assert metrics["held_out_loss"] == pytest.approx(4096)
    assert metrics["best_epoch"] == 1


# ---------------------------------------------------------------------- heads


def test_a_head_reads_classes_column_by_column() -> None:
    told = torch.tensor([[0, 2], [1, 0], [1, 1]])
    head, features = _Head(4, told), torch.randn(3, 4)
    logits = head.linear(features).double().reshape(3, 2, 3)
    wanted = np.mean([
        -(logits[i, c, told[i, c]] - logits[i, c].logsumexp(0)).item() for i in range(3) for c in range(2)
    ])  # fmt: skip
    assert head.loss(features, told).item() == pytest.approx(wanted, rel=1e-5)
    best = logits.argmax(-1)
    assert head.score(features, told) == pytest.approx((best == told).double().mean().item())
    assert head.score(features, torch.full((3, 2), 9)) == 0.0  # classes that training never saw


def test_a_head_reads_numbers_in_standard_units() -> None:
    told = torch.tensor([10.0, 30.0, 50.0])
    head, features = _Head(2, told), torch.randn(3, 2)
    standard = (told - 30) / 20
    out = head.linear(features)[:, 0]
    assert head.loss(features, told).item() == pytest.approx((out - standard).square().mean().item(), rel=1e-5)
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    assert head.score(features, told) == pytest.approx(0.0, abs=1e-6)  # the training mean scores nothing
    assert _Head(2, torch.ones(3)).loss(features, torch.ones(3)).isfinite()  # a number that never varies


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_classes_may_be_any_integers_and_minus_one_may_stand_for_none(dtype: torch.dtype) -> None:
    told = torch.tensor([-1, 0, 2], dtype=dtype)
    head, features = _Head(4, told), torch.randn(3, 4)
    assert head.classes == 4
    logits = head.linear(features)
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 3]))
    torch.testing.assert_close(head.loss(features, told), wanted)
    assert head.score(features, logits.argmax(-1).to(dtype) - 1) == 1.0


def test_an_epoch_is_judged_as_the_module_acts_and_not_as_it_trains() -> None:
    class Shifting(Number):
        def loss(self, index: Tensor) -> Tensor:
            modes.append((int(index[0]), self.training))
            return (self.x - 1).square()

    modes: list[tuple[int, bool]] = []
    module = Shifting()
    early_stopping(
        module, module.loss, torch.tensor([0]), torch.tensor([1]), lr=0.1, batch_size=1, max_epochs=2, patience=2
    )
    assert modes == [(0, True), (1, False)] * 2 and module.training
