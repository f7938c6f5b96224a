"""NGU: the product by its formula, the clipping of the lifelong factor, and that both halves learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.curiosity.ngu import NGU
from agents.curiosity.pseudo_counts import PseudoCounts
from tests.agents.test_pseudo_counts import context, standing, walk
from tests.agents.worlds import context as learned
from tests.agents.worlds import rollout


def factor(bonus: NGU, data: object) -> torch.Tensor:
    """min(max(alpha, 1), L): what the reward is of the pseudo-counts on the same views."""
    episodic = PseudoCounts(bonus.context, features="random")
    bonus.new_episodes()
    return bonus.reward(data) / episodic.reward(data)  # type: ignore[arg-type]


def set_moments(bonus: NGU, mean: float, std: float) -> None:
    bonus.errors.mean.fill_(mean)
    bonus.errors.var.fill_(std**2)
    bonus.errors.count.fill_(1e9)


def error(bonus: NGU, view: torch.Tensor) -> float:
    """Number by number."""
    difference = bonus.networks.difference(view[None])[0].detach().double().tolist()
    return sum(x * x for x in difference) / len(difference)


def test_reward_equals_the_product_by_loops() -> None:
    torch.manual_seed(0)
    bonus, (data,) = NGU(context(3), features="random"), walk(40, 3, 1, seed=0)
    errors = np.array([[error(bonus, data.next_obs[t, n]) for n in range(3)] for t in range(40)])  # type: ignore[index]
    mean, std = float(np.quantile(errors, 0.3)), float(errors.std() / 4)
    set_moments(bonus, mean, std)
    expected = np.minimum(np.maximum(1 + (errors - mean) / std, 1), 5)
    np.testing.assert_allclose(factor(bonus, data).numpy(), expected, rtol=1e-4)
    assert (expected == 1).any()
    assert (expected == 5).any()
    assert ((expected > 1) & (expected < 5)).any()


def test_the_lifelong_factor_is_clipped_at_1_and_at_l() -> None:
    bonus, data = NGU(context(1), features="random", maximum=3.0), standing(6)
    err = error(bonus, data.next_obs[0, 0])  # type: ignore[index]
    for mean, expected in ((err + 1.0, 1.0), (err, 1.0), (err - 0.5, 1.5), (err - 2.0, 3.0), (err - 9.0, 3.0)):
        set_moments(bonus, mean, 1.0)
        assert factor(bonus, data).flatten().tolist() == pytest.approx([expected] * 6, rel=1e-4)


def test_before_the_first_update_the_pseudo_counts_are_paid_as_they_are() -> None:
    bonus, (data,) = NGU(context(2), features="random"), walk(30, 2, 1, seed=1)
    assert torch.equal(factor(bonus, data), torch.ones(30, 2))


def test_moments_are_those_of_the_errors_met_and_forget() -> None:
    bonus, (first, second) = NGU(context(2), features="random", lr=1e-9), walk(30, 2, 2, seed=2)
    bonus.networks.whitening = torch.nn.Identity()  # type: ignore[assignment]
    bonus.networks.whitening.update = lambda obs: None  # type: ignore[attr-defined]
    met = []
    for data in (first, second):
        bonus.reward(data)
        bonus.update(data)
        met.append([error(bonus, view) for view in data.next_obs.flatten(0, 1)])  # type: ignore[union-attr]
    weights = np.repeat([0.9, 1.0], 60)
    mean = np.average(np.concatenate(met), weights=weights)
    var = np.average((np.concatenate(met) - mean) ** 2, weights=weights)
    assert bonus.errors.mean.item() == pytest.approx(mean, rel=1e-4)
    assert bonus.errors.var.item() == pytest.approx(var, rel=1e-3)


@pytest.mark.parametrize("features", ["inverse", "random"])
def test_features_and_predictor_both_learn(features: str) -> None:
    torch.manual_seed(0)
    bonus, data, metrics = NGU(learned("vector"), features=features, lr=3e-3), rollout("vector", seed=0), []  # type: ignore[arg-type]
    for _ in range(40):
        bonus.reward(data)
        metrics.append(bonus.update(data))
    assert metrics[-1]["rnd_loss"] < 0.5 * metrics[1]["rnd_loss"]
    assert ("loss" in metrics[0]) == (features == "inverse")
    assert features == "random" or metrics[-1]["loss"] < 0.7 * metrics[0]["loss"]


def test_a_large_l_lets_a_large_factor_through() -> None:
    bonus, data = NGU(context(1), features="random", maximum=10.0), standing(6)
    set_moments(bonus, error(bonus, data.next_obs[0, 0]) - 8.0, 1.0)  # type: ignore[index]
    assert factor(bonus, data).flatten().tolist() == pytest.approx([9.0] * 6, rel=1e-4)


@pytest.mark.parametrize(
    ("option", "value"), [("k", 2), ("epsilon", 1.0), ("cluster", 0.5), ("c", 1.0), ("s_max", 1.5), ("memory", 3)]
)
def test_every_option_reaches_the_pseudo_counts(option: str, value: float) -> None:
    (data,), given = walk(60, 2, 1, seed=3), {option: value}
    paid = NGU(context(2), features="random", **given).reward(data)  # type: ignore[arg-type]
    assert torch.equal(paid, PseudoCounts(context(2), features="random", **given).reward(data))  # type: ignore[arg-type]
    assert not torch.equal(paid, PseudoCounts(context(2), features="random").reward(data))


def test_rate_and_share_reach_both_halves() -> None:
    bonus = NGU(learned("vector"), lr=0.25, proportion=0.5)
    assert [group["lr"] for group in bonus.optimiser.param_groups] == [0.25]
    assert bonus.features.shuffle.proportion == bonus.networks.shuffle.proportion == 0.5
