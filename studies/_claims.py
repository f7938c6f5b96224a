"""The claims of the curiosity study, each judged from the scores alone.

A claim is a list of comparisons that must all come out as it says. A comparison is a difference of IQMs over seeds,
paired by seed, with an interval at the level 1 - 0.05 / k, where the claim has k comparisons (Bonferroni): a claim is
not held, and not refuted, because it had many chances. So near to 1 the percentiles of a bootstrap of five or ten seeds
are far too narrow (of arms that are alike they part 5 to 8 % at five seeds where 1 % is meant), so that intervals are
`statistics.wide_difference`'s: of 400 simulated comparisons each, with normal scores, with seeds that either solve a
task or fail, and with few that solve it, they missed 0 in 0 to 6 % where 5 % is meant and in 0 to 2 % where 1 % is.

expected "above":       held if the interval lies above 0, refuted if below
expected "not above":   held if the interval ends below the margin, refuted if it lies above 0 and does not

The margin is .05 of a score in 0..1, and in DiscoMaze, of which random actions cover .008, half of that.

Where nothing varies between seeds the interval has no width and tells nothing. Then n equal differences count only if
so many of one sign are rarer than 0.05 / k by chance, and equal scores are no evidence of anything.

A claim is held if all its comparisons are, refuted if one is refuted, else there is no evidence; where an arm has fewer
than five seeds it was not run. A comparison over several worlds pools them, and is made in each of them too, at 1 -
0.05 / (k worlds): a claim that comes out on the whole and the other way round in a world is mixed. Where its premise is
not held either, the comparisons could come out as they do for another reason, and there is no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from sandbox import statistics
from sandbox.statistics import MIN_SEEDS, Estimate

MARGIN = 0.05  # of a score in 0..1: what is at most this much better counts as no better
MAZE_MARGIN = 0.004  # where chance is .008, .05 would be six times as good
RESAMPLES = 10_000  # the tails of a Bonferroni interval are thin
SIZES = (10, 20, 30, 40, 50)
RUNGS = SIZES[1:]  # at 10 the rule allows 1,124 episodes, fewer than many an arm needs that solves 20 within 10,000

Cell = tuple[str, str]  # world, arm
Scores = Mapping[Cell, Mapping[int, float]]  # -> seed -> score
PLAIN, TV, NOISE = "MultiRoom-N4-S5", "NoisyTV-MultiRoom-N4-S5", "NoisyTV-MultiRoom-N4-S5-AlwaysOn"
FREE, WATCHED = ", no reward", ", share of training spent on the television"
LESS_CAPTURED = ("rnd", "noveld", "lpm", "disagreement")
HARD = ("MultiRoom-N6", "KeyCorridorS3R3", "ObstructedMaze-1Dlh")
HARDER = "ObstructedMaze-2Dlh"
CAR = "SparseMountainCar"


@dataclass(frozen=True)
class Side:
    """What is compared: the score in each cell (one for each task), less that in the cell of `less`, if there is one.

    With two worlds and one arm this is what the arm loses from the first world to the second.
    """

    name: str
    cells: tuple[Cell, ...]
    less: tuple[Cell, ...] = ()

    def matrix(self, scores: Scores, seeds: Sequence[int]) -> list[list[float]]:
        """[seeds][tasks]"""
        pairs = list(zip(self.cells, self.less, strict=True)) if self.less else [(cell, None) for cell in self.cells]
        return [[scores[a][k] - (scores[b][k] if b else 0.0) for a, b in pairs] for k in seeds]


@dataclass(frozen=True)
class Comparison:
    """`a` against `b`, and how it comes out if the claim is right."""

    a: Side
    b: Side
    expected: str = "above"  # or "not above"
    margin: float = MARGIN

    @property
    def cells(self) -> set[Cell]:
        return {cell for side in (self.a, self.b) for cell in (*side.cells, *side.less)}

    def in_each(self) -> list[Comparison]:
        """The same in each world, where the sides have several."""
        if len(self.a.cells) < 2:
            return []
        return [
            replace(self, a=Side(f"{self.a.name} in {a[0]}", (a,)), b=Side(f"{self.b.name} in {b[0]}", (b,)))
            for a, b in zip(self.a.cells, self.b.cells, strict=True)
        ]

    def outcome(self, found: Estimate, level: float) -> str:
        return outcome(self.expected, found, level, self.margin)

    def estimate(self, scores: Scores, level: float) -> Estimate | None:
        """None under five common seeds."""
        seeds = sorted(set.intersection(*(set(scores.get(cell, {})) for cell in self.cells)))
        if len(seeds) < MIN_SEEDS:
            return None
        x, y = (side.matrix(scores, seeds) for side in (self.a, self.b))
        return statistics.wide_difference(x, y, level=level, resamples=RESAMPLES)


@dataclass(frozen=True)
class Claim:
    number: str
    text: str
    comparisons: tuple[Comparison, ...]
    premise: tuple[Comparison, ...] = ()

    @property
    def all(self) -> tuple[Comparison, ...]:
        return self.premise + self.comparisons

    @property
    def cells(self) -> set[Cell]:
        return set().union(*(comparison.cells for comparison in self.all))


def arm_in(world: str, arm: str) -> Side:
    return Side(f"{arm} in {world}", ((world, arm),))


def television(suffix: str = "") -> tuple[Comparison, ...]:
    """ICM without and with it; then what it takes from ICM against what it takes from the others."""

    def loss(arm: str) -> Side:
        return Side(f"loss of {arm} by the television", ((PLAIN + suffix, arm),), ((TV + suffix, arm),))

    without, with_ = (
        Side(name, ((world + suffix, "icm"),)) for name, world in (("icm without", PLAIN), ("with it", TV))
    )
    return Comparison(without, with_), *(Comparison(loss("icm"), loss(arm)) for arm in LESS_CAPTURED)


def icm_learns(suffix: str = "") -> tuple[Comparison, ...]:
    """Without the television ICM does better than chance: else it has nothing to lose to one."""
    return (Comparison(arm_in(PLAIN + suffix, "icm"), arm_in(PLAIN + suffix, "random")),)


def hard(arm: str) -> Side:
    return Side(arm, tuple((world, arm) for world in HARD))


def chance(world: str, arms: Iterable[str], expected: str = "above") -> list[Comparison]:
    """Arms against uniformly random actions."""
    margin = MAZE_MARGIN if world.startswith("DiscoMaze") else MARGIN
    return [Comparison(arm_in(world, arm), arm_in(world, "random"), expected, margin) for arm in arms]


def watching(arm: str) -> Side:
    return Side(f"watching of {arm}", ((TV + FREE + WATCHED, arm),))


CLAIMS = (
    Claim(
        "1a",
        "A television that an action switches on captures the error of a forward model (ICM); RND, NovelD, LPM and "
        "disagreement lose less to it.",
        television(),
        icm_learns(),
    ),
    Claim("1b", "The same where no reward is seen, in coverage.", television(FREE), icm_learns(FREE)),
    Claim(
        "1c",
        "Where no reward is seen, ICM spends more of its training on the television than PPO without a bonus, and more "
        "than RND, NovelD, LPM and disagreement do.",
        tuple(Comparison(watching("icm"), watching(arm)) for arm in ("none", *LESS_CAPTURED)),
    ),
    Claim(
        "2",
        "Under noise that is always on, RND and random projections (SimHash, RE3) explore no better than chance; "
        "bonuses on features of inverse dynamics (NGU, E3B, RIDE) do.",
        tuple(
            comparison
            for world in (f"DiscoMaze{FREE}", NOISE + FREE)
            for comparison in (
                *chance(world, ("ngu", "e3b", "ride")),
                *chance(world, ("rnd", "simhash", "re3"), "not above"),
            )
        ),
    ),
    Claim(
        "3a",
        "On procedurally generated worlds an episodic bonus beats a lifelong one.",
        (
            Comparison(hard("counts:lifelong=false"), hard("counts:episodic=none")),
            Comparison(hard("e3b"), hard("rnd")),
        ),
    ),
    Claim(
        "3b",
        "On these worlds the product of both is best.",
        tuple(
            Comparison(hard(product), hard(factor))
            for product, factors in (
                ("counts", ("counts:lifelong=false", "counts:episodic=none")),
                ("e3b.rnd", ("e3b", "rnd")),
            )
            for factor in factors
        ),
    ),
    Claim(
        "5b",
        "On sparse MountainCar fly_bloom is above SimHash and RND, and counts are no better than it.",
        (
            *(Comparison(arm_in(CAR, "fly_bloom"), arm_in(CAR, other)) for other in ("simhash", "rnd")),
            Comparison(arm_in(CAR, "counts"), arm_in(CAR, "fly_bloom"), "not above"),
        ),
    ),
    Claim(
        "6",
        "In hard exploration, counts of true states (privileged) are above counts of partial views.",
        (
            Comparison(hard("counts:state=full"), hard("counts")),
            Comparison(arm_in(HARDER, "counts:state=full"), arm_in(HARDER, "counts")),
        ),
    ),
)


COMPARED = {cell for claim in CLAIMS for cell in claim.cells}


def compared(world: str, arm: str) -> bool:
    """Does a claim rest on this arm in this world?"""
    return (world, arm) in COMPARED or world in map(sea, RUNGS)


def sea(size: int) -> str:
    return f"DeepSea:size={size}"


def climbs(world: str, arm: str, scores: Scores) -> bool:
    """Is the arm to be tried here? In DeepSea only where it solved each rung below in at least half of its runs."""
    below = [rung for rung in map(sea, RUNGS) if world.startswith("DeepSea") and _size(rung) < _size(world)]
    return all(solves(list(scores.get((rung, arm), {}).values())) for rung in below)


def _size(world: str) -> int:
    return int(world.rpartition("=")[2])


def solves(values: Sequence[float]) -> bool:
    return len(values) >= MIN_SEEDS and sum(values) >= len(values) / 2


# ---------------------------------------------------------------------- judging


def judge(scores: Scores, planned: Mapping[Cell, int]) -> list[dict[str, Any]]:
    """All claims that rest on runs; `planned`: seeds of each cell."""
    return [*(judged(claim, scores, planned) for claim in CLAIMS), _deep_sea(scores, planned)]


def judged(claim: Claim, scores: Scores, planned: Mapping[Cell, int]) -> dict[str, Any]:
    """One claim's verdict, number of seeds, and a line for each comparison."""
    level = 1 - 0.05 / len(claim.all)
    found = [(one, estimate) for one in claim.all if (estimate := one.estimate(scores, level))]
    outcomes = [one.outcome(estimate, level) for one, estimate in found]
    complete = len(found) == len(claim.all)
    in_each = [line for one in claim.all for line in _in_each(one, scores, level)] if complete else []
    if not complete:
        verdict = not_run(claim.cells, scores, planned)
    elif outcomes[: len(claim.premise)] != ["held"] * len(claim.premise):
        verdict = "no evidence"
    else:
        verdict = mixed(combined(outcomes), [said for said, _ in in_each])
    lines = [
        f"{'premise ' * (one in claim.premise)}{said}: {statistics.verdict(one.a.name, one.b.name, estimate)}"
        for (one, estimate), said in zip(found, outcomes, strict=True)
    ] + [line for _, line in in_each]
    n = min((estimate.n for _, estimate in found), default=0)
    return {"claim": claim.number, "text": claim.text, "verdict": verdict, "n": n, "level": level, "lines": lines}


def _in_each(one: Comparison, scores: Scores, level: float) -> list[tuple[str, str]]:
    """Outcome and line of the comparison in each of its worlds."""
    told = []
    tasks = one.in_each()
    for task in tasks:
        narrow = 1 - (1 - level) / len(tasks)
        if estimate := task.estimate(scores, narrow):
            said = task.outcome(estimate, narrow)
            told.append((said, f"there {said}: {statistics.verdict(task.a.name, task.b.name, estimate)}"))
    return told


def mixed(verdict: str, in_each: Sequence[str]) -> str:
    """What holds on the whole, and the other way round in one of the worlds, is mixed."""
    other = {"held": "refuted", "refuted": "held"}.get(verdict)
    return "mixed" if other in in_each else verdict


def outcome(expected: str, found: Estimate, level: float, margin: float = MARGIN) -> str:
    """held, refuted or no evidence."""
    assert found.low is not None and found.high is not None
    if found.degenerate and (found.value == 0 or 2 * 0.5**found.n > 1 - level):
        return "no evidence"
    if expected == "above":
        return "held" if found.low > 0 else "refuted" if found.high < 0 else "no evidence"
    return "held" if found.high <= margin else "refuted" if found.low > 0 else "no evidence"


def combined(outcomes: Sequence[str]) -> str:
    if "refuted" in outcomes:
        return "refuted"
    return "held" if set(outcomes) == {"held"} else "no evidence"


def not_run(cells: Iterable[Cell], scores: Scores, planned: Mapping[Cell, int]) -> str:
    cells = list(cells)
    done = sum(len(scores.get(cell, {})) for cell in cells)
    return f"not run ({done} of {sum(planned.get(cell, 0) for cell in cells)})"


# ---------------------------------------------------------------------- claims of another kind


def _deep_sea(scores: Scores, planned: Mapping[Cell, int]) -> dict[str, Any]:
    """Held if some bonus solves the largest size in more than half of its runs, refuted if none does.

    Who did not climb so high is judged where it fell: a larger size is no easier.
    """
    names = list(dict.fromkeys(arm for world, arm in planned if world in map(sea, RUNGS) and arm != "none"))
    tried = [(_highest(arm, scores), arm) for arm in names]
    level = 1 - 0.05 / max(len(names), 1)
    shares = [share(list(scores.get(cell, {}).values()), level) for cell in tried]
    if not names or any(len(scores.get(cell, {})) < MIN_SEEDS for cell in tried):
        cells = [(world, arm) for world in map(sea, RUNGS) for arm in names if climbs(world, arm, scores)]
        verdict = not_run(cells, scores, planned)
    elif any(low > 0.5 for (low, _), (world, _arm) in zip(shares, tried, strict=True) if world == sea(SIZES[-1])):
        verdict = "held"
    else:
        verdict = "refuted" if all(high < 0.5 for _, high in shares) else "no evidence"
    lines = [line for arm in ["none", *names] if (line := _sizes(arm, [*map(sea, SIZES)], scores))]
    return {
        "claim": "4",
        "text": "A bonus solves DeepSea of size 50 by bsuite's rule in more than half of its runs (an arm that solves "
        f"{RUNGS[0]} or a larger size in fewer than half is not tried at the next, and judged there).",
        "verdict": verdict, "n": min((len(scores.get(cell, {})) for cell in tried), default=0),
        "level": level, "lines": lines,
    }  # fmt: skip


def _highest(arm: str, scores: Scores) -> str:
    """The world of the rung at which it fell, else of the last."""
    for world in map(sea, RUNGS[:-1]):
        values = list(scores.get((world, arm), {}).values())
        if len(values) >= MIN_SEEDS and not solves(values):
            return world
    return sea(SIZES[-1])


def _sizes(arm: str, worlds: Sequence[str], scores: Scores) -> str:
    """How many runs solved each size."""
    found = [(size, list(scores.get((world, arm), {}).values())) for size, world in zip(SIZES, worlds, strict=True)]
    told = [f"{sum(values):.0f} of {len(values)} at {size}" for size, values in found if values]
    return f"{arm} solved {', '.join(told)}" if told else ""


def share(values: Sequence[float], level: float) -> tuple[float, float]:
    """Wilson's interval of the probability of 1 among zeros and ones; (0, 1) without any.

    A bootstrap of equal values has no width, and most arms either always or never solve a size.
    """
    n, p = len(values), sum(values) / max(len(values), 1)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
