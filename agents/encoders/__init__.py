"""Observation encoders: one file each, a subclass of `Encoder` (an SB3 features extractor over raw observations)."""

from __future__ import annotations

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from agents.rollout import Obs


class Encoder(BaseFeaturesExtractor):
    """Raw observation [B, *obs] (tensor or dict, in the space's own dtype) -> features [B, D].

    Unlike SB3's extractors it is not handed preprocessed input: SB3 would take a symbolic view for a picture.
    """

    privileged: str | None = None  # what it is shown in place of the view; a run's result names it

    def forward(self, obs: Obs) -> Tensor:
        raise NotImplementedError


def default_encoder(space: spaces.Space) -> str:
    """Name of the encoder that fits an observation space."""
    if isinstance(space, spaces.Dict) and is_symbolic_view(space.spaces.get("image")):
        return "symbolic"
    picture = picture_of(space)
    return "cnn" if is_image_space(picture) and min(picture.shape[-2:]) >= 36 else "mlp"  # type: ignore[index]


def picture_of(space: spaces.Space) -> spaces.Space:
    """The part of an observation that may be a picture: `image` of a dict that has one, else the whole."""
    return space.spaces.get("image", space) if isinstance(space, spaces.Dict) else space


def is_symbolic_view(space: spaces.Space | None) -> bool:
    """Is this Minigrid's view: [h, w, 3] symbols (object, colour, state)?"""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) == 3
        and space.shape[-1] == 3
        and space.dtype == "uint8"
        and int(space.high.max()) <= 10
    )
