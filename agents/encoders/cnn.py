"""The convolutional network of Mnih et al. 2015 for pictures of at least 36 x 36 pixels (SB3's NatureCNN).

Of a dict the part `image` is the picture; every other part (a direction, a mission) is flattened and stands beside its
features. With `shift` every picture is moved at random while the network learns (`agents/augment.py`), in whatever arm:
reward alone, cloning, an objective. It acts, and is probed, on the picture as it is. The policy's old log-probabilities
are of the unmoved picture, as in Laskin et al. 2020 ("Reinforcement Learning with Augmented Data") for PPO.
"""

from __future__ import annotations

from typing import Annotated

from gymnasium import spaces
from pydantic import Field
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor, cat, channels_last

from agents.augment import RandomShift
from agents.encoders import Encoder, picture_of
from agents.encoders.mlp import flatten
from agents.rollout import Obs


class Cnn(Encoder):
    """Channel-first uint8 pictures [B, C, H, W], or a dict with one as `image` -> [B, D].

    Args:
        features: of the picture; the parts beside it add their own numbers to D.
        shift: augment in training.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        *,
        features: Annotated[int, Field(ge=1, le=65536)] = 512,
        shift: bool = False,
    ) -> None:
        picture = picture_of(observation_space)
        rest = dict(observation_space.spaces) if isinstance(observation_space, spaces.Dict) else {}
        rest.pop("image", None)
        beside = sum(get_flattened_obs_dim(part) for part in rest.values())
        super().__init__(observation_space, features_dim=features + beside)
        self.rest = spaces.Dict(rest) if rest else None
        self.network = NatureCNN(picture, features_dim=features)
        self.shift = RandomShift(picture) if shift else None

    def forward(self, obs: Obs) -> Tensor:
        if self.shift is not None and self.training:
            obs = self.shift(obs)
        image = obs["image"] if isinstance(obs, dict) else obs
        # channels last: convolutions of pictures this small take a tenth less time so on a processor
        features = self.network((image / 255.0).contiguous(memory_format=channels_last))
        return features if self.rest is None else cat([features, flatten(obs, self.rest)], dim=1)
