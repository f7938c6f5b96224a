"""What a part of an agent may know about where it is used: spaces, number of copies, and the run's encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

if TYPE_CHECKING:
    from agents.learners._policy import TwoHeads


@dataclass(frozen=True)
class Context:
    """First argument of every bonus, objective and supervised part.

    `make_encoder()` builds a fresh, trainable encoder of the run's architecture (obs -> [B, features_dim]) with
    weights of its own; it takes raw observations (tensor or dict, any dtype that the space has). `make_policy()`
    builds the run's whole actor-critic likewise (for baselines that learn to act; None where there is no learner).
    """

    observation_space: spaces.Space
    action_space: spaces.Space
    n_envs: int
    make_encoder: Callable[[], BaseFeaturesExtractor]
    make_policy: Callable[[], TwoHeads] | None = None

    @property
    def features_dim(self) -> int:
        """D, the encoder's number of features."""
        return self.make_encoder().features_dim
