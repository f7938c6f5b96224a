"""What a part of an agent may know about where it is used: spaces, number of copies, and the run's encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


@dataclass(frozen=True)
class Context:
    """First argument of every bonus, objective and supervised part.

    `make_encoder()` builds a fresh, trainable encoder of the run's architecture (obs -> [B, features_dim]) with
    weights of its own; it takes raw observations (tensor or dict, any dtype that the space has).
    """

    observation_space: spaces.Space
    action_space: spaces.Space
    n_envs: int
    make_encoder: Callable[[], BaseFeaturesExtractor]

    @property
    def features_dim(self) -> int:
        """D, the encoder's number of features."""
        return self.make_encoder().features_dim
