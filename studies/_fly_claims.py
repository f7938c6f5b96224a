"""The claims of the curiosity study about the fly's hash and its filter, judged from studies/results/fly_hash.json."""

from __future__ import annotations

from typing import Any

from sandbox import statistics
from sandbox.statistics import MIN_SEEDS, Estimate
from studies import _claims

NOVELTY = 0.5  # least correlation that the filter is to reach


def judge(hashes: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Both claims from the result file, if it is there."""
    return [fly_hash(hashes), novelty(hashes)]


def fly_hash(hashes: dict[str, Any] | None) -> dict[str, Any]:
    """FlyHash against LSH at k = 4, by both metrics."""
    claim: dict[str, Any] = {
        "claim": "5a",
        "text": "FlyHash finds neighbours better than random projections (LSH) at k = 4, on digits.",
        "verdict": "not run (0 of 1)", "n": 0, "level": 0.95, "lines": [],
    }  # fmt: skip
    if hashes is None:
        return claim
    pairs = [(arm, metric) for arm in ("fly", "fly binary") for metric in ("found", "all")]
    level = 1 - 0.05 / len(pairs)
    found = {pair: _beside_lsh(hashes, *pair, level) for pair in pairs}
    n = min(one.n for one in found.values())
    if n < MIN_SEEDS:
        return claim | {"verdict": f"not run ({n} of {MIN_SEEDS})", "n": n}
    outcomes = {pair: _claims.outcome("above", one, level) for pair, one in found.items()}
    names = {"found": "precision at the neighbours found", "all": "precision with misses as 0"}
    lines = [
        f"{outcomes[pair]}: {statistics.verdict(f'{pair[0]}, {names[pair[1]]},', 'lsh', one)}"
        for pair, one in found.items()
    ]
    ratios = [
        f"{name} finds {_mean(hashes, name) / _mean(hashes, 'lsh'):.1f} times as many" for name in ("fly", "fly binary")
    ]
    lines.append(f"of the neighbours found at k = 4 {', '.join(ratios)} as lsh (2.8 times were published for MNIST)")
    return claim | {"verdict": _claims.combined(list(outcomes.values())), "n": n, "level": level, "lines": lines}


def novelty(hashes: dict[str, Any] | None) -> dict[str, Any]:
    """The correlation of the filter's novelty with the distance to the nearest picture seen, at the bonus's decay."""
    runs = [one for run in (hashes or {"runs": []})["runs"] for one in run["novelty"]]
    found = {delta: [one["r"] for one in runs if one["delta"] == delta] for delta in (0.9, 0.0)}
    n = len(found[0.9])
    estimates = {delta: statistics.interval(r) for delta, r in found.items() if len(r) >= MIN_SEEDS}
    low, high = (estimates[0.9].low, estimates[0.9].high) if 0.9 in estimates else (None, None)
    judged = (
        "no evidence"
        if low is None or high is None
        else ("held" if low > NOVELTY else "refuted" if high < NOVELTY else "no evidence")
    )
    return {
        "claim": "5c",
        "text": "The novelty that the fly's filter tells (with the bonus's decay, .9) goes with the distance to the "
        f"nearest digit that was seen: Pearson's r is above {NOVELTY}.",
        "verdict": judged if estimates else f"not run ({n} of {MIN_SEEDS})", "n": n, "level": 0.95,
        "lines": [
            f"delta {delta}: r is {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]{'' if delta else ', not judged'}"
            for delta, one in estimates.items()
        ],
    }  # fmt: skip


def _mean(hashes: dict[str, Any], arm: str) -> float:
    """Precision at the neighbours found, k = 4, over seeds."""
    found = [row["found"] for run in hashes["runs"] for row in run["similarity"] if (row["k"], row["arm"]) == (4, arm)]
    return sum(found) / len(found)


def _beside_lsh(hashes: dict[str, Any], arm: str, metric: str, level: float) -> Estimate:
    x, y = (
        [row[metric] for run in hashes["runs"] for row in run["similarity"] if (row["k"], row["arm"]) == (4, name)]
        for name in (arm, "lsh")
    )
    return statistics.wide_difference(x, y, level=level, resamples=_claims.RESAMPLES)
