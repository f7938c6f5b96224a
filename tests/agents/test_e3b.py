"""E3B: against numpy's inverse, over episode ends and rollout boundaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents.context import Context
from agents.curiosity.e3b import E3B, _Ellipsoids
from tests.agents.test_pseudo_counts import SPACE, context, scripted, walk
from tests.agents.worlds import context as learned
from tests.agents.worlds import rollout


def test_reward_equals_the_formula_with_a_true_inverse() -> None:
    bonus, rollouts = E3B(context(3), features="random", ridge=0.1), walk(60, 3, rollouts=3, seed=0)
    matrices, begun, expected = [0.1 * np.eye(2)] * 3, [False] * 3, []
    for data in rollouts:
        for t in range(60):
            for n in range(3):
                phi = data.next_obs[t, n].double().numpy()  # type: ignore[index]
                expected.append(phi @ np.linalg.inv(matrices[n]) @ phi if begun[n] else 0.0)
                ended = bool(data.done[t, n])
                matrices[n] = 0.1 * np.eye(2) if ended else matrices[n] + np.outer(phi, phi)
                begun[n] = not ended
    found = torch.cat([bonus.reward(data) for data in rollouts]).flatten().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    for n in range(3):
        np.testing.assert_allclose(bonus.ellipsoids.inverse[n].numpy(), np.linalg.inv(matrices[n]), atol=1e-4)
    assert sum(int(data.done.sum()) for data in rollouts) > 10


def test_the_inverse_stays_true_over_a_long_episode() -> None:
    g = torch.Generator().manual_seed(0)
    mixing = torch.randn(48, 48, generator=g) * torch.logspace(0, -3, 48)  # some directions are hardly ever seen
    phi = (torch.randn(5000, 1, 48, generator=g) @ mixing.T).relu()
    ellipsoids = _Ellipsoids(1, 48, 0.1)
    bonus = ellipsoids.arrive(phi, torch.zeros(5000, 1, dtype=torch.bool))
    x = phi[:, 0].double().numpy()
    expected = np.linalg.inv(0.1 * np.eye(48) + x.T @ x)
    np.testing.assert_allclose(ellipsoids.inverse[0].numpy(), expected, atol=1e-3 * abs(expected).max())
    last = np.linalg.inv(0.1 * np.eye(48) + x[:-1].T @ x[:-1])
    assert bonus[-1].item() == pytest.approx(x[-1] @ last @ x[-1], rel=1e-2)
    assert (bonus >= 0).all()


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_the_first_step_of_an_episode_pays_nothing_even_after_a_rollout(kind: str) -> None:
    bonus, end, none = E3B(context(1), features="random"), [0, 1, 0, 1], [0] * 4
    ends = (end, none) if kind == "terminated" else (none, end)
    first = bonus.reward(scripted([1, 2, 3, 4], [2, 3, 4, 5], *ends))[:, 0]
    second = bonus.reward(scripted([1, 2], [2, 3], [0, 0]))[:, 0]
    assert (torch.cat([first, second]) > 0).tolist() == [False, True, False, True, False, True]


def test_a_repeated_direction_is_paid_about_one_over_its_count_and_a_new_one_in_full() -> None:
    class Axes(FlattenExtractor):
        """Views 0 and 1 are orthogonal."""

        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(observations[:, 0].long(), 2).float()

    bonus = E3B(Context(SPACE, context(1).action_space, 1, lambda: Axes(SPACE)), features="random", ridge=0.1)
    reward = bonus.reward(scripted([0] * 6, [0, 0, 0, 0, 1, 0], [0] * 6))[:, 0]
    expected = [0, 1 / 1.1, 1 / 2.1, 1 / 3.1, 1 / 0.1, 1 / 4.1]
    assert reward.tolist() == pytest.approx(expected, rel=1e-5)


def test_features_learn_inverse_dynamics() -> None:
    torch.manual_seed(0)
    bonus, data, metrics = E3B(learned("vector"), lr=3e-3), rollout("vector", seed=0), []
    for _ in range(60):
        metrics.append(bonus.update(data))
    assert metrics[-1]["accuracy"] > metrics[-1]["chance"] + 0.2
    assert E3B(learned("vector"), features="random").update(data) == {}


def test_a_wrong_number_of_environments_is_refused() -> None:
    with pytest.raises(ValueError, match="3 environments"):
        E3B(context(2), features="random").reward(walk(4, 3, 1, seed=0)[0])
