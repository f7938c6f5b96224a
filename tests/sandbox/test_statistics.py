"""Statistics against hand-computed numbers, literal loops and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sandbox.statistics import (
    Estimate,
    band,
    difference,
    interval,
    iqm,
    mean,
    median,
    probability_of_improvement,
    student,
    verdict,
    wide_difference,
)

X = np.array([0.1, 0.4, 0.35, 0.8, 0.65, 0.2, 0.9])
Y = np.array([0.0, 0.3, 0.45, 0.5, 0.25, 0.1, 0.7])


def test_iqm_by_hand() -> None:
    assert iqm([10, 1, 2, 3, 4, 100, 5, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)  # 8 values: two off each end
    assert iqm([0, 1, 2, 3, 100]) == pytest.approx(2)  # 5 values: floor(5 / 4) = 1 off each end
    assert iqm([1, 2, 6]) == pytest.approx(3)  # fewer than four: the mean
    assert iqm([[1, 2], [3, 4]]) == pytest.approx(2.5)  # runs and tasks together: (2 + 3) / 2


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_iqm_is_scipys_trimmed_mean(values: list[float]) -> None:
    assert iqm(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25), rel=1e-12, abs=1e-6)


def test_statistics_along_an_axis() -> None:
    x = np.arange(24.0).reshape(4, 6) ** 2
    for statistic in (iqm, mean, median):
        np.testing.assert_allclose(statistic(x, axis=1), [statistic(row) for row in x])
        np.testing.assert_allclose(statistic(x, axis=0), [statistic(column) for column in x.T])


@pytest.mark.parametrize("statistic", [iqm, mean, median])
def test_interval_is_scipys_percentile_bootstrap(statistic) -> None:
    x = np.random.default_rng(0).normal(size=20)
    ours = interval(x, statistic, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (x,), statistic, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(statistic(x))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_interval_is_the_exact_bootstrap_of_three_runs() -> None:
    x = [0.0, 1.0, 5.0]
    every_draw = [np.mean(draw) for draw in itertools.product(x, repeat=3)]  # all 27
    ours = interval(x, mean, level=0.8, resamples=20_000)
    assert [ours.low, ours.high] == pytest.approx(np.quantile(every_draw, [0.1, 0.9]), abs=1e-9)


def test_runs_are_drawn_within_each_task() -> None:
    x = np.stack([np.full(6, 0.0), np.full(6, 10.0)], axis=1)  # tasks differ, runs do not
    assert interval(x, mean).degenerate  # drawing across tasks would move the mean


def test_tasks_are_drawn_independently() -> None:
    x = np.array([[0.0, 0.0], [1.0, 1.0]])
    ours = interval(x, mean, level=0.5, resamples=40_000)
    # two fair draws per task, four in all: P(mean <= 1/4) = 5/16 and P(mean <= 0) = 1/16, so the quartiles are 1/4, 3/4
    assert (ours.low, ours.high) == (0.25, 0.75)


def test_same_data_same_bytes_and_the_global_generator_is_untouched() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert interval(X) == interval(X.copy()) == interval(list(X))
    assert difference(X, Y) == difference(X, Y)
    assert interval(X) != interval(X + 1e-9)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_probability_of_improvement_is_mann_whitney() -> None:
    x, y = [1, 2, 2, 5, 7], [2, 3, 0, 5]
    by_hand = sum((a > b) + 0.5 * (a == b) for a in x for b in y) / 20
    result = probability_of_improvement(x, y)
    assert result.value == pytest.approx(by_hand) == pytest.approx(scipy.stats.mannwhitneyu(x, y).statistic / 20)
    assert result.low is not None
    assert 0 <= result.low < result.value < result.high <= 1
    assert result.runs == (5, 4)


def test_probability_of_improvement_interval_is_the_literal_bootstrap() -> None:
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(4000):
        a, b = rng.choice(X, len(X)), rng.choice(Y, len(Y))
        draws.append(((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / a.size / b.size)
    result = probability_of_improvement(X, Y, resamples=4000)
    assert [result.low, result.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)


def test_probability_of_improvement_averages_tasks() -> None:
    x, y = np.array([[1, 0], [1, 0]]), np.array([[0, 1], [0, 1], [0, 1]])
    assert probability_of_improvement(x, y).value == pytest.approx(0.5)


def test_paired_difference_is_the_literal_bootstrap_over_seeds() -> None:
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(4000):
        seeds = rng.integers(len(X), size=len(X))
        draws.append(iqm(X[seeds]) - iqm(Y[seeds]))
    result = difference(X, Y, resamples=4000)
    assert result.paired
    assert result.value == pytest.approx(iqm(X) - iqm(Y))
    assert [result.low, result.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)


def test_unpaired_difference_is_the_literal_bootstrap_of_both_sides() -> None:
    rng = np.random.default_rng(0)
    draws = [iqm(rng.choice(X, len(X))) - iqm(rng.choice(Y[:5], 5)) for _ in range(4000)]
    result = difference(X, Y[:5], resamples=4000)
    assert not result.paired  # unequal numbers of seeds cannot be
    assert result.runs == (7, 5)
    assert [result.low, result.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)


def test_pairing_removes_what_the_seeds_share() -> None:
    shared = np.linspace(0, 100, 10)
    x, y = shared + 1, shared
    assert difference(x, y, statistic=mean).degenerate  # the same gain at every seed
    assert verdict("a", "b", difference(x, y, paired=False)).startswith("a against b: no evidence of a difference")


def test_one_seed_has_no_interval() -> None:
    for result in (interval([0.3]), difference([0.3], [0.1]), difference([0.3], [0.1, 0.2]), band([[1, 2, 3]])):
        low, high = (result.low, result.high) if isinstance(result, Estimate) else result[1:]
        assert low is None
        assert high is None
    assert interval([0.3]).note == "1 seed: no interval"
    assert interval(np.ones((1, 4))).low is None  # several tasks do not replace seeds


def test_no_spread_is_flagged() -> None:
    result = interval([0.1] * 7)
    assert result.degenerate
    assert (result.low, result.high) == pytest.approx((0.1, 0.1))
    assert not interval([0.1, 0.2, 0.3, 0.4]).degenerate
    assert "no width" in verdict("a", "b", difference([1.0] * 6, [0.0] * 6))


@pytest.mark.parametrize(
    ("scores", "named"),
    [([0, float("nan")], r"scores\[1\] is nan"), ([[0, 1], [2, float("-inf")]], r"scores\[1, 1\] is -inf")],
)
def test_what_is_not_finite_is_named(scores: list, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        interval(scores)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"y\[0\] is inf"):
        difference([1.0], [np.inf])
    with pytest.raises(ValueError, match="not empty"):
        interval([])
    with pytest.raises(ValueError, match="x has 2 tasks, y has 3"):
        difference(np.zeros((4, 2)), np.zeros((4, 3)))


def test_band_is_the_literal_bootstrap_of_whole_curves() -> None:
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(6, 4)).cumsum(axis=1)
    middle, low, high = band(curves, resamples=4000)
    draws = np.array([[iqm(column) for column in curves[rng.integers(6, size=6)].T] for _ in range(4000)])
    np.testing.assert_allclose(middle, [iqm(column) for column in curves.T])
    np.testing.assert_allclose([low, high], np.quantile(draws, [0.025, 0.975], axis=0), atol=0.12)


def estimate(value: float, low: float, high: float, n: int = 5) -> Estimate:
    return Estimate(value, low, high, (n, n), paired=True)


def test_verdicts_claim_no_more_than_the_interval() -> None:
    assert verdict("A", "B", estimate(0.3, 0.1, 0.5)) == "A is above B by 0.3 [0.1, 0.5] (5 seeds)"
    assert verdict("A", "B", estimate(-0.3, -0.5, -0.1)) == "A is below B by 0.3 [0.1, 0.5] (5 seeds)"
    none = "A against B: no evidence of a difference, 0.1 [-0.1, 0.3] (5 seeds)"
    assert verdict("A", "B", estimate(0.1, -0.1, 0.3)) == none
    assert verdict("A", "B", estimate(0.1, 0.0, 0.3)).startswith("A against B: no evidence")  # zero is in it


def test_under_five_seeds_no_winner_is_named() -> None:
    assert verdict("A", "B", difference([1, 1.1, 1.2], [0, 0.1, 0.1])) == "A against B, 3 seeds: no winner named"
    assert verdict("A", "B", difference([1], [0])) == "A against B, 1 seed: no winner named"
    assert verdict("A", "B", difference([1] * 9, [0] * 4)) == "A against B, 9 and 4 seeds: no winner named"
    assert verdict("A", "B", estimate(0, -0.01, 0.01, n=4), margin=1.0) == "A against B, 4 seeds: no winner named"


def test_equal_needs_a_margin_that_holds_the_whole_interval() -> None:
    result = estimate(0.0, -0.04, 0.03)
    assert "no evidence" in verdict("A", "B", result)
    assert verdict("A", "B", result, margin=0.05) == "A equals B within 0.05: 0 [-0.04, 0.03] (5 seeds)"
    assert "no evidence" in verdict("A", "B", result, margin=0.035)
    with pytest.raises(ValueError, match="above 0"):
        verdict("A", "B", result, margin=0.0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_turning_the_comparison_turns_the_estimate(x: list[float], y: list[float]) -> None:
    there, back = difference(x, y, resamples=50), difference(y, x, resamples=50)
    assert there.value == pytest.approx(-back.value)
    chance = probability_of_improvement(x, y, resamples=50).value + probability_of_improvement(y, x, resamples=50).value
    assert chance == pytest.approx(1)


# ---------------------------------------------------------------------- few seeds, levels near one


@pytest.mark.parametrize("df", [1, 2, 4, 9, 99])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.9, 0.975, 0.9979])
def test_students_quantiles_are_scipys(p: float, df: int) -> None:
    assert student(p, df) == pytest.approx(scipy.stats.t.ppf(p, df), rel=1e-3, abs=1e-6)


def test_a_wide_difference_is_the_formula() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 6, 2))
    found = wide_difference(x, y, level=0.99, resamples=4000)
    draws = []
    for _ in range(4000):
        rows = rng.integers(6, size=(6, 2))  # seeds of each task by themselves, the same on both sides
        draws.append(iqm(x[rows, [0, 1]]) - iqm(y[rows, [0, 1]]))
    half = scipy.stats.t.ppf(0.995, 5) * np.std(draws) * (6 / 5) ** 0.5
    assert found.value == pytest.approx(iqm(x) - iqm(y))
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=0.05)


def test_a_wide_difference_misses_no_more_than_its_level_where_percentiles_do() -> None:
    rng = np.random.default_rng(0)
    missed = {difference: 0, wide_difference: 0}
    for _ in range(300):
        x, y = rng.normal(size=(2, 5))
        for method in missed:
            found = method(x, y, level=0.99, resamples=400)
            missed[method] += not found.low <= 0 <= found.high
    assert missed[wide_difference] <= 9 < missed[difference]  # 1 % of 300 is 3


def test_a_wide_difference_of_what_does_not_vary_or_of_one_seed_says_so() -> None:
    assert wide_difference([1.0] * 5, [0.0] * 5).degenerate
    assert wide_difference([1.0], [0.0]).low is None
    with pytest.raises(ValueError, match="the same seeds"):
        wide_difference([1.0, 2.0], [0.0])
