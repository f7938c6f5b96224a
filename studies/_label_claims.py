"""The claims of the labels study, judged as those of the curiosity study are (`_claims.py`).

Compared over all worlds whose score is success; where an arm has fewer than five seeds a claim was not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studies._claims import Claim, Comparison, Side, judged

WORLDS = (
    "MultiRoom-N4-S5", "DoorKey-8x8", "KeyCorridorS3R3", "PixelGoal", "PixelGoal-Noise", "DoorKey-5x5, rendered",
)  # fmt: skip
SELF_TAUGHT, AUXILIARY = "ppo+noveld+inverse:mode=finetune", "ppo+noveld+inverse"
FROZEN = "ppo+noveld+inverse:mode=frozen"


def side(arm: str) -> Side:
    return Side(arm, tuple((world, arm) for world in WORLDS))


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
        "Curious data beat data without a bonus, under a frozen self-taught encoder.",
        (than(FROZEN, "ppo+inverse:mode=frozen"),),
    ),
    Claim(
        "objective",
        "A self-taught frozen encoder beats an untrained one, and one taught on shuffled pairs, on curious data.",
        (
            than(FROZEN, f"{FROZEN},pretrain_steps=0"),
            than(SELF_TAUGHT, f"{SELF_TAUGHT},shuffled=true"),
        ),
    ),
)


COMPARED = {cell for claim in CLAIMS for comparison in claim.comparisons for cell in comparison.cells}


def compared(world: str, arm: str) -> bool:
    """Does a claim rest on this arm in this world?"""
    return (world, arm) in COMPARED


def judge(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All claims in order, from the study's rows."""
    scores = {(row["world"], row["arm"]): dict(zip(row["seeds"], row["scores"], strict=True)) for row in rows}
    planned = {(row["world"], row["arm"]): row["planned"] for row in rows}
    return [judged(claim, scores, planned) for claim in CLAIMS]
