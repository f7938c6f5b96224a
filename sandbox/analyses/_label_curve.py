"""How well an arm does with n labels, and the n* from which it does as well as another: a Gaussian process on log2 n.

A point is the IQM over the seeds of one label count, the same statistic as everywhere. Draws of the curve from the
posterior, made monotone (more labels do not hurt), are crossed with draws of the level; n* is the median of the
crossings, its interval their quantiles. The evidence of the hyper-parameters is averaged over, not maximised.

    y_k    = arcsin sqrt((k + 3/8) / (m + 3/4))      k of m episodes solved: noise of one size at every success rate
    y_k    ~ GP(mean(y), a^2 exp(-(x - x')^2 / (2 l^2)) + s^2/S_k),   x = log2 n,  S_k seeds
    s^2    : seen in the seeds' spread v too (S^2/(S-1) x bootstrap variance of an IQM, d = S - 1), d v / s^2 ~ chi2(d)
    level  = IQM + sqrt(v/S) t,   t of Student with S - 1 degrees of freedom
    n*     = smallest n with iso(curve)(n) >= level,   iso(y)_i = max_{j <= i} min_{k >= i} mean(y_j..y_k)

Source: the Gaussian process on log2 n with RBF and white noise is BabyAI's (Chevalier-Boisvert et al. 2019, section 4;
`babyai/plotting.py`), the projection Lin & Dunson 2014, "Bayesian monotone regression using Gaussian process
projection"; Anscombe 1948 for the transformation; Matheron's rule as in Wilson et al. 2020, equation 6.
Different here: BabyAI fits success itself around a fixed level of 0.99, maximises the evidence and needs five points on
either side; the transformation makes white noise true at both ends, and the level may be another arm's, with its own
doubt. A plain bootstrap over seeds is too narrow at five of them (see `sandbox.statistics`), which S/(S-1) and t mend:
of 200 simulated studies the 95 % interval of n* holds the truth in 0.99 (5 seeds, binomial noise; median width 0.6
octaves), 0.98 (5 seeds of unlike skill; 1.3), 0.965 and 0.98 (10 seeds, likewise; 0.3 and 0.8), by
`python -m studies.crossing_coverage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox import statistics

Array = NDArray[np.float64]

LENGTHS = 2.0 ** np.arange(0.0, 3.5, 0.5)  # l, in octaves
AMPLITUDES = 2.0 ** np.arange(-3.0, 3.0)  # a, in standard deviations of all seeds' values
NOISES = np.geomspace(1e-3, 3, 30)  # s, likewise
GRID = 33  # values of n at which a curve is drawn; linear in between
DRAWS = 2000


@dataclass(frozen=True)
class Centre:
    """IQM of some seeds: its value, squared standard error, and degrees of freedom (0 for one seed)."""

    value: float
    variance: float
    freedom: int
    seeds: int


@dataclass(frozen=True)
class Range:
    """A number that may lie outside what was tried: draws of its lower and upper bound, equal where it is within.

    `low` and `high` are the ends of the 95 % interval, `middle` the medians of both bounds: (v, v) for a value v.
    """

    least: Array
    most: Array

    @property
    def low(self) -> float:
        return _quantile(self.least, 0.025)

    @property
    def high(self) -> float:
        return _quantile(self.most, 0.975)

    @property
    def middle(self) -> tuple[float, float]:
        return _quantile(self.least, 0.5), _quantile(self.most, 0.5)

    def __sub__(self, other: Range) -> Range:
        return Range(self.least - other.most, self.most - other.least)


def stabilised(success: Array, episodes: Array) -> Array:
    """Success rates over so many `episodes`, on the scale on which their binomial noise has one size, 1 / (4 m)."""
    return np.arcsin(np.sqrt((success * episodes + 3 / 8) / (episodes + 3 / 4)))


def success_of(y: Array) -> Array:
    """The success rate whose estimates scatter around `y`, within 0 and 1."""
    return np.sin(np.clip(y, 0, np.pi / 2)) ** 2


def centre(values: Array, least: float = 0.0) -> Centre:
    """The IQM of [S] seeds and how well it is known: S / (S - 1) times the variance of 2,000 bootstrap draws.

    `least` is the variance that a seed has at least, that of its evaluation's own noise: five seeds that all solve 100
    of 100 episodes do not prove a success rate of one.
    """
    seeds = len(values)
    if seeds == 1:
        return Centre(float(values[0]), 0.0, 0, 1)
    drawn = values[_generator(0).integers(seeds, size=(DRAWS, seeds))]
    variance = float(statistics.iqm(drawn, axis=1).var()) * seeds / (seeds - 1)
    return Centre(float(statistics.iqm(values)), max(variance, least / seeds), seeds - 1, seeds)


def reach(at: Array, draws: Array, level: Array) -> Range:
    """log2 n*: where the draws [D, G] of a curve over `at` [G] first reach the draws [D] of a level."""
    found = first(at, draws, level)
    return Range(np.where(found == np.inf, at[-1], found), np.where(found == -np.inf, at[0], found))


def levels(level: Centre) -> Array:
    """[DRAWS] of a level; one seed, or a level that is set, is taken as known."""
    if level.freedom == 0:
        return np.full(DRAWS, level.value)
    return level.value + np.sqrt(level.variance) * _generator(1).standard_t(level.freedom, DRAWS)


def grid(x: Array) -> Array:
    """[GRID] between the smallest and the largest x."""
    return np.linspace(x.min(), x.max(), GRID)


def curves(x: Array, curve: Sequence[Centre], stream: int = 2) -> Array:
    """[DRAWS, GRID]: monotone draws of the curve through the points `curve` [K] at x [K], over `grid(x)`.

    The random numbers of a stream (2 and up) are the same for all data: what shifts all points shifts every draw. Two
    curves are independent if their streams differ.
    """
    rng, at = _generator(stream), grid(x)
    seeds = np.array([point.seeds for point in curve], np.float64)
    y = np.array([point.value for point in curve])
    middle, scale = y.mean(), float(np.sqrt(y.var() + _spread(curve)[0])) or 1.0
    length, amplitude, noise = (cell[:, None] for cell in _hyper_parameters(x, (y - middle) / scale, curve, scale, rng))
    z, w = rng.standard_normal((DRAWS, len(x) + len(at))), rng.standard_normal((DRAWS, len(x)))
    out = np.empty((DRAWS, len(at)))
    for one in np.unique(length):
        now = length[:, 0] == one
        variances = np.square(noise[now]) / seeds
        out[now] = condition(x, (y - middle) / scale, variances, at, one, amplitude[now], z[now], w[now])
    return rising(middle + scale * out)


def condition(
    x: Array, y: Array, noise: Array, at: Array, length: float, amplitude: Array, z: Array, w: Array
) -> Array:
    """Draws [D, G] at `at` from the process of mean zero, given y [K] at x with noise variances [D, K].

    Matheron's rule: a draw from the prior is corrected by what it missed. amplitude is [D, 1]; z [D, K + G] and w
    [D, K] are standard normal.
    """
    both = np.concatenate([x, at])
    values, vectors = np.linalg.eigh(rbf(both, both, length))
    prior = amplitude * (z @ (vectors * np.sqrt(values.clip(min=0))).T)
    missed = y - prior[:, : len(x)] - np.sqrt(noise) * w
    square = np.square(amplitude)[..., None]
    covariance = square * rbf(x, x, length) + noise[:, None] * np.eye(len(x))
    return prior[:, len(x) :] + np.square(amplitude) * (
        np.linalg.solve(covariance, missed[..., None])[..., 0] @ rbf(x, at, length)
    )


def rbf(x: Array, z: Array, length: float) -> Array:
    """[K], [G] -> [K, G]"""
    return np.exp(-np.square(x[:, None] - z) / (2 * length**2))


def log_evidence(y: Array, covariance: Array) -> Array:
    """[K], [..., K, K] -> [...]: log N(y; 0, covariance), up to a constant."""
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, np.broadcast_to(y[:, None], (*factor.shape[:-1], 1)))[..., 0]
    return -0.5 * np.square(white).sum(-1) - np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)


def rising(draws: Array, piece: int = 250) -> Array:
    """[D, G] -> [D, G]: the nearest rising curves (isotonic regression), some at a time to save memory."""
    return np.concatenate([_rising(draws[i : i + piece]) for i in range(0, len(draws), piece)])


def _rising(draws: Array) -> Array:
    points = draws.shape[1]
    sums = np.pad(draws.cumsum(1), ((0, 0), (1, 0)))
    j, k = np.indices((points, points))
    means = np.where(k >= j, (sums[:, None, 1:] - sums[:, :-1, None]) / np.maximum(k - j + 1, 1), np.inf)
    least = np.minimum.accumulate(means[..., ::-1], axis=2)[..., ::-1]  # min over k >= i, for every j
    return np.where(j <= k, least, -np.inf).max(1)


def first(at: Array, draws: Array, level: Array) -> Array:
    """[D]: where each rising, piecewise linear draw [D, G] first reaches its level [D]; -inf at the first point."""
    above = draws >= level[:, None]
    i = above.argmax(1)
    rows, before = np.arange(len(draws)), np.maximum(i - 1, 0)
    here, there = draws[rows, i], draws[rows, before]
    share = np.divide(level - there, here - there, out=np.zeros(len(i)), where=here > there)
    found = at[before] + share * (at[i] - at[before])
    return np.where(above.any(1), np.where(i == 0, -np.inf, found), np.inf)


def _hyper_parameters(
    x: Array, y: Array, curve: Sequence[Centre], scale: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """(l, a, s), each [DRAWS], as often as the evidence on the grid says; y as `curves` scales it."""
    length, amplitude, noise = (axis.ravel() for axis in np.meshgrid(LENGTHS, AMPLITUDES, NOISES, indexing="ij"))
    seeds = np.array([point.seeds for point in curve], np.float64)
    kernels = np.array([rbf(x, x, one) for one in LENGTHS]).repeat(len(AMPLITUDES) * len(NOISES), axis=0)
    covariance = np.square(amplitude)[:, None, None] * kernels
    covariance = covariance + (np.square(noise)[:, None] / seeds)[:, None] * np.eye(len(x))
    evidence = log_evidence(y, covariance) + _evidence_of_spread(curve, noise * scale)
    share = np.exp(evidence - evidence.max()).cumsum()
    cells = np.searchsorted(share / share[-1], (np.arange(DRAWS) + 0.5) / DRAWS)
    cells = rng.permutation(cells)
    return length[cells], amplitude[cells], noise[cells]


def _evidence_of_spread(curve: Sequence[Centre], noise: Array) -> Array:
    """log chi2 density of the seeds' pooled spread, given each s of `noise`, up to a constant."""
    spread, freedom = _spread(curve)
    return -freedom * (np.log(noise) + spread / (2 * np.square(noise)))


def _spread(curve: Sequence[Centre]) -> tuple[float, int]:
    """(v, d): the variance of one seed, pooled over the points, and its degrees of freedom."""
    freedom = sum(point.freedom for point in curve)
    return sum(point.freedom * point.variance * point.seeds for point in curve) / max(freedom, 1), freedom


def _quantile(draws: Array, q: float) -> float:
    return float(np.quantile(draws, q, method="inverted_cdf"))  # of infinities too: no interpolation


def _generator(stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([2018, stream])))
