"""Missions as numbers: where the text of a task decides what is rewarded, it is part of the observation.

A mission is its words, each a token 1 to 20 of one fixed vocabulary, filled up with 0 to the task's longest text. That
holds for Fetch, GoToDoor, GoToObject and PutNear, which cannot be solved without. It is left out elsewhere: the text
is constant; or it names the colour of the only box or ball there is to pick up (UnlockPickup, BlockedUnlockPickup,
KeyCorridor), which changes nothing about what to do; or it is a hint where the key lies (LockedRoom), which saves some
search, but which exploring agents, in the literature too, go without.
"""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from envs.minigrid.codes import COLOURS
from envs.minigrid.tasks import FETCH, GO_TO, PUT_NEAR

KINDS = ("door", "key", "ball", "box")
WORDS = (*COLOURS, *KINDS, "get", "a", "go", "fetch", "you", "must", "to", "the", "put", "near")  # token 1 is WORDS[0]
TOKEN = {word: number for number, word in enumerate(WORDS, 1)}
LONGEST = {FETCH: 6, GO_TO: 5, PUT_NEAR: 8}  # "you must fetch a red ball", "go to the red door", "put the ... near ..."


def tokens(text: str, rule: int) -> np.ndarray:
    """[L] int64: the mission `text` of a task; L is 0 where the mission is not observed."""
    numbers = np.zeros(LONGEST.get(rule, 0), np.int64)
    words = text.split() if len(numbers) else []
    numbers[: len(words)] = [TOKEN[word] for word in words]
    return numbers


def text(numbers: np.ndarray) -> str:
    """The words of tokens [L]."""
    return " ".join(WORDS[number - 1] for number in numbers if number)


def space(rule: int) -> dict[str, spaces.Space]:
    """{"mission": MultiDiscrete([21] * L)}, or {} where the mission is not observed."""
    length = LONGEST.get(rule, 0)
    return {"mission": spaces.MultiDiscrete([len(WORDS) + 1] * length)} if length else {}
