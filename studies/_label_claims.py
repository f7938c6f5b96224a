"""The claims of the labels study, judged as those of the curiosity study are (`_claims.py`).

Compared over all worlds whose score is success; where an arm has fewer than five seeds a claim was not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.statistics import MIN_SEEDS
from studies._claims import Claim, Comparison, Scores, Side, judged

WORLDS = (
    "MultiRoom-N4-S5", "DoorKey-8x8", "KeyCorridorS3R3", "PixelGoal", "PixelGoal-Noise", "DoorKey-5x5, rendered",
)  # fmt: skip
SELF_TAUGHT, AUXILIARY = "ppo+noveld+inverse:mode=finetune", "ppo+noveld+inverse"
FROZEN = "ppo+noveld+inverse:mode=frozen"
RANDOM_DATA = ", random data"  # the bonus begins when the encoder has been taught


def side(arm: str, worlds: Sequence[str] = WORLDS) -> Side:
    return Side(arm, tuple((world, arm) for world in worlds))


def than(better: str, worse: str, expected: str = "above") -> Comparison:
    return Comparison(side(better), side(worse), expected)


CLAIMS = (
    Claim(
        "3",
        "Inverse dynamics adds nothing to the same agent without it, with the same augmentation (Li et al. 2022).",
        (than(SELF_TAUGHT, "ppo+noveld", "not above"), than(AUXILIARY, "ppo+noveld", "not above")),
    ),
    Claim("4", "A pre-trained encoder that is finetuned beats one that is frozen.", (than(SELF_TAUGHT, FROZEN),)),
    Claim(
        "data",
        "A frozen self-taught encoder does better with a bonus throughout (its data, and the head's) than without one.",
        (than(FROZEN, "ppo+inverse:mode=frozen"),),
    ),
    Claim(
        "encoder's data",
        "With the same bonus for the head, a frozen encoder that was taught on curious data does better than one that "
        "was taught on random data.",
        (than(FROZEN, FROZEN + RANDOM_DATA),),
    ),
    Claim(
        "objective",
        "On curious data a self-taught frozen encoder beats an untrained one, and a finetuned one beats one that was "
        "taught on shuffled pairs.",
        (
            than(FROZEN, f"{FROZEN},pretrain_steps=0"),
            than(SELF_TAUGHT, f"{SELF_TAUGHT},shuffled=true"),
        ),
    ),
)


COMPARED = {cell for claim in CLAIMS for cell in claim.cells}


def compared(world: str, arm: str) -> bool:
    """Does a claim rest on this arm in this world?"""
    return (world, arm) in COMPARED


def judge(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All claims in order, from the study's rows; one that misses worlds says how it stands in the others."""
    scores = {(row["world"], row["arm"]): dict(zip(row["seeds"], row["scores"], strict=True)) for row in rows}
    planned = {(row["world"], row["arm"]): row["planned"] for row in rows}
    found = [judged(claim, scores, planned) for claim in CLAIMS]
    return [
        one if one["lines"] else one | {"lines": so_far(claim, scores)}
        for claim, one in zip(CLAIMS, found, strict=True)
    ]


def so_far(claim: Claim, scores: Scores) -> list[str]:
    """The comparisons in those worlds where all arms of the claim have five seeds: no verdict."""
    arms = {side.name for comparison in claim.comparisons for side in (comparison.a, comparison.b)}
    there = [w for w in WORLDS if all(len(scores.get((w, arm), {})) >= MIN_SEEDS for arm in arms)]
    if not there:
        return []
    less = [
        Comparison(*(side(one.name, there) for one in (comparison.a, comparison.b)), comparison.expected)
        for comparison in claim.comparisons
    ]
    lines = judged(Claim(claim.number, claim.text, tuple(less)), scores, {})["lines"]
    return [f"so far, in {', '.join(there)}: {line}" for line in lines]
