"""What a linear reader finds in features: ridge regression for numbers, multinomial logistic regression for classes.

    W = argmin |Y - X W|^2 + alpha |W|^2,  in closed form            score: R2 on the test part
    W = argmin mean CE(softmax(X W), y) + l2/2 |W|^2,  by L-BFGS      score: macro-F1 on the test part

X is standardised by the training part; alpha and l2 are chosen for each variable on the validation part. All
classifiers share one optimisation: their losses add up and have no weight in common, so each finds its own solution.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agents import randomness

ALPHAS = [10.0**k for k in range(-3, 6)]
L2 = [0.1, 0.01, 0.001]  # from strong to weak: each solution is where the next one starts
ITERATIONS, TOLERANCE = 60, 1e-4  # of L-BFGS, for each l2: at most; the largest gradient that is left
SHORTEST = 1e-3  # step of a line search


@dataclass(frozen=True)
class Parts:
    """One tensor [M, ...] for each part of a split."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Parts:
        """The same of each part."""
        return Parts(function(self.train), function(self.validation), function(self.test))


def standardised(x: Parts) -> Parts:
    """Features [M, D] with mean 0 and std 1 on the training part, 0 where they never change, and a column of ones."""
    mean, std = x.train.double().mean(0), x.train.double().std(0, correction=0)
    scale = torch.where(std > 1e-8, 1 / std.clamp(min=1e-8), torch.zeros_like(std))
    return x.map(lambda part: F.pad((part.double() - mean) * scale, (0, 1), value=1.0))


# ---------------------------------------------------------------------- numbers


def ridge_r2(x: Parts, y: Parts) -> list[float]:
    """R2 on the test part, of each column of y [M, K]; what is predicted stays within the training part's values.

    A feature that hardly varies in training can stand far out in a test frame, and one such frame would be the score.
    """
    low, high = y.train.double().amin(0), y.train.double().amax(0)
    x = standardised(x)
    mean = y.train.double().mean(0)
    centred = y.train.double() - mean
    values, vectors = torch.linalg.eigh(x.train.T @ x.train)
    projected = vectors.T @ (x.train.T @ centred)
    weights = torch.stack([vectors @ (projected / (values.clamp(min=0) + alpha)[:, None]) for alpha in ALPHAS])
    read = (x.validation @ weights + mean).clamp(low, high)
    errors = (read - y.validation).square().mean(1)  # [alphas, K]
    best = weights[errors.argmin(0), :, torch.arange(y.train.shape[1])]  # [K, D]
    return r2(y.test.double(), (x.test @ best.T + mean).clamp(low, high))


def r2(truth: Tensor, predicted: Tensor) -> list[float]:
    """1 - squared error / squared distance from the mean, of each column [M, K]."""
    around = (truth - truth.mean(0)).square().sum(0)
    return (1 - (truth - predicted).square().sum(0) / around.clamp(min=1e-12)).tolist()


# ---------------------------------------------------------------------- classes


def logistic_f1(x: Parts, y: Parts) -> list[float]:
    """Macro-F1 on the test part, of each column of y [M, K] int64; a class that training lacks cannot be found."""
    known = [column.unique() for column in y.train.T]
    coded = y.map(lambda part: torch.stack([_code(c, k) for c, k in zip(part.T, known, strict=True)], 1))
    x = standardised(x).map(lambda part: part.float())
    sizes = [len(classes) for classes in known]
    weights = [one.split(sizes) for one in _fits(x.train, coded.train, sizes)]
    found = []
    for k, classes in enumerate(known):
        losses = [_cross_entropy(x.validation @ one[k].T, coded.validation[:, k]) for one in weights]
        best = weights[min(range(len(losses)), key=losses.__getitem__)][k]
        found.append(macro_f1(y.test[:, k], classes[(x.test @ best.T).argmax(1)]))
    return found


def _code(column: Tensor, classes: Tensor) -> Tensor:
    """[M] -> its place among the sorted `classes`, -1 where it is none of them."""
    place = torch.searchsorted(classes, column.contiguous()).clamp(max=len(classes) - 1)
    return torch.where(classes[place] == column, place, -1)


def _cross_entropy(logits: Tensor, coded: Tensor) -> float:
    return F.cross_entropy(logits, coded, ignore_index=-1).nan_to_num(0.0).item()


def _fits(x: Tensor, coded: Tensor, sizes: list[int]) -> list[Tensor]:
    """Weights [sum of sizes, D] for each l2."""
    wanted = torch.cat([F.one_hot(column, size).T for column, size in zip(coded.T, sizes, strict=True)]).to(x.dtype)
    w = x.new_zeros(sum(sizes), x.shape[1])
    bound = x.double().T @ x.double() / (2 * len(x))  # on each class's Hessian (Boehning 1992)
    found = []
    for l2 in L2:
        near = torch.cholesky_inverse(torch.linalg.cholesky(bound + l2 * torch.eye(len(bound)))).to(x.dtype)
        w = minimise(functools.partial(_cross_entropies, x, wanted, sizes, l2), w, near)
        found.append(w)
    return found


def _cross_entropies(x: Tensor, wanted: Tensor, sizes: list[int], l2: float, w: Tensor) -> tuple[float, Tensor]:
    """Value and gradient of what all classifiers minimise together; classes come first, as rows fill the cache."""
    log_p = torch.cat([part.log_softmax(0) for part in (w @ x.T).split(sizes)])
    penalised = F.pad(w[:, :-1], (0, 1))  # the last column is the bias
    value = -(wanted * log_p).sum(dtype=torch.float64) / len(x) + l2 / 2 * penalised.square().sum()
    return value.item(), log_p.exp_().sub_(wanted) @ x / len(x) + l2 * penalised


def minimise(function: Callable[[Tensor], tuple[float, Tensor]], w: Tensor, near: Tensor) -> Tensor:
    """L-BFGS with backtracking (Nocedal & Wright 2006, algorithms 7.4, 7.5 and 3.1), for a smooth convex function.

    `near` [D, D] stands for the inverse of each row's Hessian until steps are remembered, and beside them: features
    that go together make the function long and narrow, and without it sixty steps do not reach the bottom. Torch's own
    L-BFGS has no such matrix, and imports its compiler first, which takes longer than all the fits of a probe.
    """
    value, gradient = function(w)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=10)
    for _ in range(ITERATIONS):
        direction = -_times_inverse_hessian(gradient, pairs, near)
        slope, step = float((gradient * direction).sum()), 1.0
        while True:
            trial, slope_there = function(w + step * direction)
            if trial <= value + 1e-4 * step * slope or step < SHORTEST:
                break
            step /= 2
        if trial >= value:  # as low as rounding allows
            break
        moved, turned = step * direction, slope_there - gradient
        if (moved * turned).sum() > 1e-12:
            pairs.append((moved, turned))
        w, value, gradient = w + moved, trial, slope_there
        if gradient.abs().max() < TOLERANCE:
            break
    return w


def _times_inverse_hessian(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor]], near: Tensor) -> Tensor:
    """The two loops over remembered (step, change of the gradient)."""
    if not pairs:
        return gradient @ near
    q, alphas = gradient, []
    for s, y in reversed(pairs):
        alphas.append((s * q).sum() / (s * y).sum())
        q = q - alphas[-1] * y
    s, y = pairs[-1]
    r = (s * y).sum() / (y @ near * y).sum() * (q @ near)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + (alpha - (y * r).sum() / (s * y).sum()) * s
    return r


def macro_f1(truth: Tensor, predicted: Tensor) -> float:
    """Mean of F1 over the classes that are true or predicted somewhere."""
    scores = []
    for one in torch.cat([truth, predicted]).unique():
        hit = ((truth == one) & (predicted == one)).sum()
        scores.append(2 * hit / ((truth == one).sum() + (predicted == one).sum()))
    return torch.stack(scores).mean().item()


# ---------------------------------------------------------------------- the least that a reader can do


def mean_r2(y: Parts) -> list[float]:
    """R2 of saying the training part's mean."""
    return r2(y.test.double(), y.train.double().mean(0).expand_as(y.test))


def majority_f1(y: Parts) -> list[float]:
    """Macro-F1 of saying the training part's most frequent class."""
    return [
        macro_f1(test, train.mode().values.expand_as(test)) for train, test in zip(y.train.T, y.test.T, strict=True)
    ]


def pca(x: Parts, k: int) -> Parts:
    """The first k principal components of the training part; seeded randomised subspace iteration (Halko et al. 2011).

    Columns that never change are dropped first: most of a one-hot code.
    """
    kept = x.train.std(0, correction=0) > 0
    x = x.map(lambda part: part[:, kept].float())
    mean = x.train.mean(0)
    with randomness.kept():
        torch.manual_seed(0)
        components = torch.svd_lowrank(x.train - mean, q=min(k, *x.train.shape), niter=4)[2]
    return x.map(lambda part: (part - mean) @ components)
