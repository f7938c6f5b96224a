"""Supervised baselines: one file each, a subclass of `Supervised`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from gymnasium import spaces
from torch import nn

from agents.context import Context

if TYPE_CHECKING:
    from agents.learners._policy import TwoHeads


class LabelledEnv(Protocol):
    """What a baseline needs of a vector environment (SAME_STEP): steps, and the ground truth it may be told."""

    num_envs: int
    label_spaces: dict[str, spaces.Space]

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]: ...
    def oracle(self) -> np.ndarray: ...
    def labels(self) -> dict[str, np.ndarray]: ...


# n_copies -> (environment, its first observation): freshly reset, seeded by the caller
MakeLabelled = Callable[[int], tuple[LabelledEnv, Any]]


class Supervised:
    """A baseline that is told `labels` answers.

    After `fit`, `action_labels` and `state_labels` say how many it was told and `steps` how many environment steps
    that took. One that learns to act has `policy` (with SB3's `predict`): it is an agent of its own, or hands its
    policy to a learner that goes on from reward. One that learns to see has `encoder`, for a learner's frozen features;
    where it is told nothing (`pca`), it is the floor of those that are.
    """

    asks: Literal["oracle", "labels", "nothing"] = "oracle"  # which method of the environment answers
    only_encoder: str | None = None  # the name of the one encoder that it can fit
    action_labels: int = 0
    state_labels: int = 0
    steps: int = 0
    policy: TwoHeads
    encoder_rate: float = 1.0  # the encoder's share of the learning rate; below 1 where it was given

    def __init__(self, context: Context) -> None:
        self.context = context

    def take_encoder(self, encoder: nn.Module, rate: float) -> None:
        """Begin with the weights of a trained encoder of the same architecture; at rate 0 it stays as it is."""
        own = self.policy.features_extractor
        own.load_state_dict(encoder.state_dict())
        own.requires_grad_(rate > 0)
        self.encoder_rate = rate

    def fit(self, make_env: MakeLabelled, seed: int) -> dict[str, float]:
        """Collect the labels and learn from them; returns metrics. Deterministic in `seed` (torch's global too)."""
        raise NotImplementedError


def copies_for(labels: int) -> int:
    """Copies that share the collection of `labels` answers: long enough each to see whole episodes."""
    return int(np.clip(labels // 250, 1, 64))
