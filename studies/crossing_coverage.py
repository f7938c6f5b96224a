"""How often the 95 % interval of n* holds the true n*, in simulated studies whose truth is known.

A supervised arm solves logistic(steepness (log2 n - 9)) of the episodes with n = 32 ... 8192 labels; the other arm is
as good as it with n* labels. Seeds share that rate (binomial noise only), or each has its own, Beta with p * 20 and
(1 - p) * 20. 100 episodes a run.

    python -m studies.crossing_coverage [STUDIES]        200 by default; a few minutes
"""

from __future__ import annotations

import sys

import numpy as np

from sandbox.analyses import _label_curve as lc

EPISODES = 100
X = np.arange(5.0, 14.0)
CASES = [  # seeds, steepness, log2 n*, are the seeds unlike
    (5, 1.2, 9.5, False),
    (5, 1.2, 9.5, True),
    (5, 2.5, 11.0, False),
    (5, 1.2, 7.0, False),
    (10, 1.2, 9.5, True),
    (10, 1.2, 9.5, False),
    (10, 0.5, 9.5, True),
]


def arm(rng: np.random.Generator, x: float, seeds: int, steepness: float, unlike: bool) -> lc.Centre:
    p = 1 / (1 + np.exp(-(x - 9) * steepness))
    rates = rng.beta(max(p * 20, 1e-3), max((1 - p) * 20, 1e-3), seeds) if unlike else p
    success = rng.binomial(EPISODES, rates, seeds) / EPISODES
    return lc.centre(lc.stabilised(success, np.array(float(EPISODES))), least=0.25 / EPISODES)


def main(studies: int) -> None:
    for seeds, steepness, target, unlike in CASES:
        rng, held, widths = np.random.default_rng(1), 0, []
        for _ in range(studies):
            curve = [arm(rng, x, seeds, steepness, unlike) for x in X]
            level = lc.levels(arm(rng, target, seeds, steepness, unlike))
            found = lc.reach(lc.grid(X), lc.curves(X, curve), level)
            held += found.low <= target <= found.high
            widths.append(found.high - found.low)
        case = f"{seeds} seeds{' (unlike)' if unlike else ''}, steepness {steepness}, n* {2**target:.0f}"
        print(f"{case}: {held / studies:.3f} of {studies} hold n*; median width {np.median(widths):.2f} octaves")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
