"""Statistics over seeds: a point estimate never travels without its interval, its number of seeds and its doubts.

Seeds are the replicates (not episodes): a bootstrap draws whole runs again, within each task and never across tasks,
and the percentiles of the statistic over those draws are its interval:

    IQM(x)    = mean of x without its lowest and its highest floor(n / 4) values
    interval  = quantiles (1 - level)/2 and (1 + level)/2 of statistic(x*), x* drawn from x with replacement
    P(X > Y)  = #{x > y} + #{x = y}/2  over all n*m pairs  (Mann-Whitney U / (n m)), averaged over tasks

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (section 4: IQM,
stratified bootstrap, probability of improvement). Different here: the generator is seeded from the data (equal input,
equal bytes, the global generator untouched), non-finite scores are refused, and an interval that says nothing (one
seed, no spread) says so. With few seeds a percentile interval is too narrow (see `verdict`).

Axes: scores are [n_runs, n_tasks], or [n_runs] for one task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[..., Any]  # (scores, axis=None) -> the statistic over `axis`, or over everything

MIN_SEEDS = 5  # below this no winner is named
NO_WIDTH = "the interval has no width: nothing varies between seeds"
ONE_SEED = "1 seed: no interval"


@dataclass(frozen=True)
class Estimate:
    """A statistic and its bootstrap interval; `low` and `high` are None where some side has a single seed."""

    value: float
    low: float | None
    high: float | None
    runs: tuple[int, ...]  # seeds on each side: (n,) or (n_x, n_y)
    paired: bool = False
    note: str = ""

    @property
    def n(self) -> int:
        """Seeds of the smaller side."""
        return min(self.runs)

    @property
    def degenerate(self) -> bool:
        """True where the interval has no width: every draw gave the same number, so it measures no doubt."""
        return self.note == NO_WIDTH


def iqm(scores: ArrayLike, axis: int | None = None) -> Any:
    """Interquartile mean over `axis` (None: over all runs and tasks together); the plain mean under four values."""
    values = np.asarray(scores, np.float64)
    if axis is None:
        values, axis = values.ravel(), 0
    n = values.shape[axis]
    return np.take(np.sort(values, axis), np.arange(n // 4, n - n // 4), axis).mean(axis)


def mean(scores: ArrayLike, axis: int | None = None) -> Any:
    """Mean over `axis`, or over everything."""
    return np.asarray(scores, np.float64).mean(axis)


def median(scores: ArrayLike, axis: int | None = None) -> Any:
    """Median over `axis`, or over everything."""
    return np.median(np.asarray(scores, np.float64), axis)


def interval(
    scores: ArrayLike, statistic: Statistic = iqm, level: float = 0.95, resamples: int = 2000, name: str = "scores"
) -> Estimate:
    """`statistic` of `scores` ([n_runs] or [n_runs, n_tasks]) and its stratified bootstrap percentile interval.

    Raises:
        ValueError: if `scores` is empty or not finite (the message names the entry `name[run, task]`).
    """
    x = _checked(scores, name)
    draws = statistic(_resample(x, _generator(x), resamples).reshape(resamples, -1), axis=-1)
    return _estimate(float(statistic(x)), draws, level, (len(x),))


def difference(
    x: ArrayLike,
    y: ArrayLike,
    paired: bool = True,
    statistic: Statistic = iqm,
    level: float = 0.95,
    resamples: int = 2000,
) -> Estimate:
    """statistic(x) - statistic(y) and its interval; x is [n_x(, n_tasks)], y is [n_y(, n_tasks)].

    Paired: row i of both is the same seed, and a draw takes the same seeds on both sides. Sides with unequal
    numbers of seeds cannot be paired and are drawn independently; the result's `paired` says which it was.

    Raises:
        ValueError: if a side is empty or not finite, or the tasks differ in number.
    """
    a, b = _sides(x, y)
    paired = paired and a.shape == b.shape
    draws = _differences(a, b, paired, statistic, resamples)
    return _estimate(float(statistic(a) - statistic(b)), draws, level, (len(a), len(b)), paired)


def wide_difference(x: ArrayLike, y: ArrayLike, level: float = 0.95, resamples: int = 2000) -> Estimate:
    """IQM(x) - IQM(y), paired, with an interval for few seeds and levels near 1, where percentiles are too narrow.

        value +- t s,   s^2 = n/(n - 1) x variance of the bootstrap draws,   t Student's with n - 1 degrees of freedom

    Raises:
        ValueError: as `difference`, or if the sides have unequal numbers of seeds.
    """
    a, b = _sides(x, y)
    if a.shape != b.shape:
        raise ValueError(f"paired sides have the same seeds; x has {len(a)}, y has {len(b)}")
    value, n = float(iqm(a) - iqm(b)), len(a)
    if n == 1:
        return Estimate(value, None, None, (n, n), True, ONE_SEED)
    draws = _differences(a, b, True, iqm, resamples)
    half = half_width(draws, n, level)
    return Estimate(value, value - half, value + half, (n, n), True, NO_WIDTH if half <= 1e-12 else "")


def half_width(draws: ArrayLike, n: int, level: float) -> float:
    """t s of `wide_difference`, from the draws of a statistic of n > 1 seeds."""
    return student((1 + level) / 2, n - 1) * float(np.std(np.asarray(draws, np.float64))) * (n / (n - 1)) ** 0.5


def student(p: float, df: int) -> float:
    """The quantile p of Student's t: with t = sqrt(df) tan(u) its density in u is that of cos(u)^(df - 1)."""
    u = np.linspace(-np.pi / 2, np.pi / 2, 200_001)
    density = np.cos(u).clip(0) ** (df - 1)
    total = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(df**0.5 * np.tan(np.interp(p, total / total[-1], u)))


def _differences(a: Array, b: Array, paired: bool, statistic: Statistic, resamples: int) -> Array:
    """[resamples] of statistic(a*) - statistic(b*)."""
    rng = _generator(a, b)
    if paired:
        both = _resample(np.stack([a, b], axis=-1), rng, resamples)
        draws_a, draws_b = both[..., 0], both[..., 1]
    else:
        draws_a, draws_b = _resample(a, rng, resamples), _resample(b, rng, resamples)
    of_a, of_b = (statistic(draws.reshape(resamples, -1), axis=-1) for draws in (draws_a, draws_b))
    return of_a - of_b


def probability_of_improvement(x: ArrayLike, y: ArrayLike, level: float = 0.95, resamples: int = 2000) -> Estimate:
    """P(a run of x scores above a run of y), ties counted half, averaged over tasks; 0.5 is no difference.

    Raises:
        ValueError: if a side is empty or not finite, or the tasks differ in number.
    """
    a, b = _sides(x, y)
    wins = _wins(a, b)  # [n_x, n_y, n_tasks]
    rng = _generator(a, b)
    task = np.arange(a.shape[1])
    rows, columns = (rng.integers(n, size=(resamples, n, len(task))) for n in (len(a), len(b)))
    draws = wins[rows[:, :, None], columns[:, None], task].mean((1, 2, 3))
    return _estimate(float(wins.mean()), draws, level, (len(a), len(b)))


def band(
    curves: ArrayLike, statistic: Statistic = iqm, level: float = 0.95, resamples: int = 2000
) -> tuple[Array, Array | None, Array | None]:
    """Pointwise intervals of learning curves [n_runs, K]: (statistic [K], low [K], high [K]; None, None for one run).

    A draw takes whole curves. Raises ValueError as `interval` does.
    """
    x = _checked(curves, "curves")
    if len(x) == 1:
        return x[0], None, None
    draws = statistic(x[_generator(x).integers(len(x), size=(resamples, len(x)))], axis=1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return statistic(x, axis=0), low, high


def verdict(a: str, b: str, result: Estimate, margin: float | None = None) -> str:
    """What `result` = difference(a, b) allows to say, in one sentence.

    Under five seeds no winner is named. "Equal" needs an equivalence `margin` (> 0, in the unit of the scores) that
    holds the whole interval. Five is a floor, not a licence: of 100 comparisons of arms that are truly alike, the
    paired 95 % interval misses zero in 10 (normal scores) to 15 (seeds that either solve the task or fail) at 5 seeds,
    6 to 8 at 10 seeds, 5 to 7 at 20; measured over 2,000 comparisons each.

    Raises:
        ValueError: if `margin` is not above zero.
    """
    if margin is not None and not margin > 0:
        raise ValueError(f"the equivalence margin must be above 0, got {margin}")
    seeds = _seeds(result)
    if result.n < MIN_SEEDS or result.low is None or result.high is None:
        return f"{a} against {b}, {seeds}: no winner named"
    size = f"{_short(result.value)} [{_short(result.low)}, {_short(result.high)}]"
    doubt = f"; {result.note}" if result.note else ""
    if margin is not None and -margin <= result.low and result.high <= margin:
        return f"{a} equals {b} within {_short(margin)}: {size} ({seeds}{doubt})"
    if result.low <= 0 <= result.high:
        return f"{a} against {b}: no evidence of a difference, {size} ({seeds}{doubt})"
    if result.low > 0:
        return f"{a} is above {b} by {size} ({seeds}{doubt})"
    return (
        f"{a} is below {b} by {_short(-result.value)} [{_short(-result.high)}, {_short(-result.low)}] ({seeds}{doubt})"
    )


def _checked(scores: ArrayLike, name: str) -> Array:
    """[n_runs, n_tasks] float64, not empty, all finite."""
    x = np.asarray(scores, np.float64)
    if x.ndim not in (1, 2) or x.size == 0:
        raise ValueError(f"{name} must be [n_runs] or [n_runs, n_tasks] and not empty, got shape {x.shape}")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        raise ValueError(f"{name}[{', '.join(map(str, bad[0]))}] is {x[tuple(bad[0])]}: every score must be finite")
    return x[:, None] if x.ndim == 1 else x


def _sides(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    a, b = _checked(x, "x"), _checked(y, "y")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"x has {a.shape[1]} tasks, y has {b.shape[1]}")
    return a, b


def _generator(*arrays: Array) -> np.random.Generator:
    """A generator that depends on nothing but the numbers and their shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update((array + 0.0).astype("<f8").tobytes())  # + 0.0: minus zero is zero
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest.digest(), "big")))


def _resample(x: Array, rng: np.random.Generator, resamples: int) -> Array:
    """[n, tasks, ...] -> [resamples, n, tasks, ...]: runs drawn with replacement, for each task by itself."""
    n, tasks = x.shape[:2]
    return x[rng.integers(n, size=(resamples, n, tasks)), np.arange(tasks)]


def _wins(a: Array, b: Array) -> Array:
    """[n_x, n_y, n_tasks]: 1 where a's run is above b's, 1/2 where they tie."""
    return (a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])


def _estimate(value: float, draws: Array, level: float, runs: tuple[int, ...], paired: bool = False) -> Estimate:
    if min(runs) == 1:
        return Estimate(value, None, None, runs, paired, ONE_SEED)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    # Sums of equal numbers in another order differ by rounding: that is no width either.
    flat = high - low <= 1e-12 * max(1.0, abs(low), abs(high))
    return Estimate(value, float(low), float(high), runs, paired, NO_WIDTH if flat else "")


def _seeds(result: Estimate) -> str:
    if len(set(result.runs)) > 1:
        return f"{' and '.join(map(str, result.runs))} seeds"
    return f"{result.n} seed{'s' if result.n != 1 else ''}"


def _short(x: float) -> str:
    return f"{x + 0.0:.3g}" if abs(x) < 1000 else f"{x:.0f}"
