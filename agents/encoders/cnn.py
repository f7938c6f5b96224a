"""The convolutional network of Mnih et al. 2015 for pictures of at least 36 x 36 pixels (SB3's NatureCNN)."""

from __future__ import annotations

from typing import Annotated

from gymnasium import spaces
from pydantic import Field
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor

from agents.encoders import Encoder
from agents.rollout import Obs


class Cnn(Encoder):
    """Channel-first uint8 pictures [B, C, H, W] -> [B, features]."""

    def __init__(
        self, observation_space: spaces.Space, *, features: Annotated[int, Field(ge=1, le=65536)] = 512
    ) -> None:
        super().__init__(observation_space, features_dim=features)
        self.network = NatureCNN(observation_space, features_dim=features)

    def forward(self, obs: Obs) -> Tensor:
        assert isinstance(obs, Tensor)
        return self.network(obs.float() / 255.0)
