"""SplitMix64 for compiled code: random numbers that follow from one word, so that a world saves the word and no more.

state <- state + GOLDEN before each draw; the draw is a mix of the state's bits (Steele, Lea & Flood 2014).
"""

from __future__ import annotations

import numpy as np

from envs.compiled import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def mixed(state):  # type: ignore[no-untyped-def]
    """The 64 random bits of a state, uint64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@njit(cache=True)
def below(state, n):  # type: ignore[no-untyped-def]
    """A number in 0..n-1, int64; uniform up to n * 2^-32."""
    return np.int64(((mixed(state) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


def words(random: np.random.Generator, count: int) -> np.ndarray:
    """[count] int64 of 64 random bits: states to begin with (as uint64), in a type that every file format can hold."""
    return random.integers(-(2**63), 2**63, size=count)
