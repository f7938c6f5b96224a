"""DAgger: exactly n answers, the learner walks after the first round, and it learns where it drifts to."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.context import Context
from agents.encoders.mlp import Mlp
from agents.learners._policy import MlpPolicy
from agents.supervised._fit import split
from agents.supervised.bc import BehaviourCloning
from agents.supervised.dagger import DAgger, _parts

WIDTH, HEIGHT = 12, 5
SPACE, ACTIONS = spaces.Box(0, 1, (WIDTH, HEIGHT), np.float32), spaces.Discrete(3)
RIGHT, UP, DOWN = range(3)


class Ledge:
    """Right along the lowest row to its end; above it one must come down first. The oracle never goes up."""

    label_spaces: dict[str, spaces.Space] = {}

    def __init__(self, copies: int) -> None:
        self.num_envs, self.place, self.asked = copies, np.zeros((copies, 3), int), 0
        self.walked: list[np.ndarray] = []  # actions that are not the oracle's

    def obs(self) -> np.ndarray:
        x, y, _ = self.place.T
        seen = np.zeros((self.num_envs, WIDTH, HEIGHT), np.float32)
        seen[np.arange(self.num_envs), x, y] = 1
        return seen

    def best(self) -> np.ndarray:
        return np.where(self.place[:, 1] > 0, DOWN, RIGHT)

    def oracle(self) -> np.ndarray:
        self.asked += self.num_envs
        return self.best()

    def labels(self) -> dict[str, np.ndarray]:
        raise AssertionError("no state label was paid for")

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self.walked.append(actions != self.best())
        x, y, time = self.place.T
        x = np.where((actions == RIGHT) & (y == 0), x + 1, x).clip(max=WIDTH - 1)
        y = np.where(actions == UP, y + 1, np.where(actions == DOWN, y - 1, y)).clip(0, HEIGHT - 1)
        self.place = np.stack([x, y, time + 1], 1)
        terminated = (x == WIDTH - 1) & (y == 0)
        truncated = ~terminated & (time + 1 >= 2 * WIDTH)
        self.place[terminated | truncated] = 0
        return self.obs(), terminated.astype(float), terminated, truncated, {}


def context() -> Context:
    options: dict[str, Any] = {
        "features_extractor_class": Mlp,
        "features_extractor_kwargs": {"hidden": (32,)},
        "net_arch": [],
    }
    make_policy = functools.partial(MlpPolicy, SPACE, ACTIONS, lambda _progress: 1e-3, **options)
    return Context(SPACE, ACTIONS, 1, lambda: Mlp(SPACE, hidden=(32,)), make_policy)


def fitted(cls: type, **options: Any) -> tuple[Any, Ledge]:
    worlds: list[Ledge] = []

    def make(copies: int) -> Any:
        worlds.append(Ledge(copies))
        return worlds[0], worlds[0].obs()

    torch.manual_seed(0)
    part = cls(context(), **options)
    part.metrics = part.fit(make, 0)
    (world,) = worlds
    return part, world


@pytest.mark.parametrize(("labels", "rounds"), [(2, 5), (61, 4), (1001, 3)])
def test_all_rounds_together_ask_for_the_labels_that_bc_has(labels: int, rounds: int) -> None:
    part, world = fitted(DAgger, labels=labels, rounds=rounds, max_epochs=1)
    assert part.action_labels == labels
    assert part.steps == world.asked == len(world.walked) * world.num_envs  # one question a step, whoever acts
    assert labels <= world.asked < labels + world.num_envs
    assert part.metrics["rounds"] == min(rounds, -(-labels // world.num_envs))


@pytest.mark.parametrize(("labels", "rounds", "copies"), [(1000, 5, 4), (1001, 7, 4), (3, 5, 1), (10, 1, 1)])
def test_rounds_are_nearly_equal(labels: int, rounds: int, copies: int) -> None:
    parts = _parts(labels, rounds, copies)
    assert sum(parts) == labels
    assert all(part % copies == 0 for part in parts[:-1])
    assert max(parts) - min(parts) < 2 * copies
    assert min(parts) > 0


def test_one_round_is_behaviour_cloning() -> None:
    (cloned, _), (one, _) = fitted(BehaviourCloning, labels=100), fitted(DAgger, labels=100, rounds=1)
    for a, b in zip(cloned.policy.parameters(), one.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_oracle_walks_first_and_the_learner_then() -> None:
    _, world = fitted(DAgger, labels=100, rounds=4, max_epochs=1)
    wrong = np.array(world.walked)[:, 0]
    assert not wrong[:25].any()
    assert wrong[25:].mean() > 0.3  # a policy of one epoch still guesses


def test_it_knows_what_to_do_where_demonstrations_never_were() -> None:
    """A step above the ledge, with equal labels and a hesitant policy: bc goes on to the right and never comes down."""
    shown = torch.zeros(WIDTH - 1, WIDTH, HEIGHT)
    shown[torch.arange(WIDTH - 1), torch.arange(WIDTH - 1), 1] = 1
    right = []
    for cls in (BehaviourCloning, DAgger):
        part, _ = fitted(cls, labels=480, max_epochs=10)
        chosen = part.policy.get_distribution(shown).get_actions(deterministic=True)
        right.append((chosen == DOWN).float().mean().item())
    assert right[0] < 0.2
    assert right[1] > 0.8


def test_shuffled_answers_teach_only_which_is_the_commonest() -> None:
    everywhere, spread = torch.eye(WIDTH * HEIGHT).reshape(-1, WIDTH, HEIGHT), {}
    for control in (False, True):
        part, _ = fitted(DAgger, labels=480, max_epochs=10, lr=1e-2, shuffled=control)
        spread[control] = part.policy.get_distribution(everywhere).distribution.probs.std(0).max().item()
    assert spread[True] < 0.1  # nearly the same answer to every observation
    assert spread[False] > 2 * spread[True]


def test_what_was_held_out_stays_so() -> None:
    rng = np.random.default_rng(0)
    first = np.repeat(np.arange(10), 3)
    kept = np.unique(first[split(first, 0.2, rng)[1]])
    more = np.repeat(np.arange(30), 3)
    train, held_out = split(more, 0.2, rng, kept.tolist())
    assert set(kept) <= set(more[held_out])
    assert len(set(more[held_out])) == 6
    assert not set(more[train]) & set(more[held_out])
