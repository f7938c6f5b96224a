"""One copy of a Minigrid environment, stepped by Minigrid itself, with the observation that the batched worlds have."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.minigrid import missions
from envs.minigrid.tasks import REACH, RULE_OF_CLASS

VIEWS = ("partial", "full", "rgb")
HIGHEST = 10  # of Minigrid's codes; under its own bound of 255, libraries would take the codes for a picture


def check_view(view: str, tile_size: int) -> None:
    """ValueError unless there is such a view."""
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {view!r}")
    if tile_size < 1:
        raise ValueError(f"tile_size must be at least 1 pixel, got {tile_size}")


class Viewed(gym.ObservationWrapper):
    """Dict: `image` as `envs.minigrid.views` has it, `direction`, `mission` (tokens where it varies, else text).

    Args:
        env: a Minigrid environment without observation wrappers.
        view: "partial", "full" or "rgb".
        tile_size: pixels of a cell, for "rgb".

    Raises:
        ValueError: for an unknown view, or tiles smaller than a pixel.
    """

    def __init__(self, env: gym.Env, *, view: str = "partial", tile_size: int = 8) -> None:
        from minigrid.wrappers import FullyObsWrapper, RGBImgPartialObsWrapper

        check_view(view, tile_size)
        if view == "full":
            env = FullyObsWrapper(env)
        elif view == "rgb":
            env = RGBImgPartialObsWrapper(env, tile_size)
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        parts = dict(env.observation_space.spaces)
        shape = parts["image"].shape
        assert shape is not None
        self.is_picture = view == "rgb"
        parts["image"] = spaces.Box(0, 255, (shape[2], *shape[:2]), np.uint8)
        if not self.is_picture:
            parts["image"] = spaces.Box(0, HIGHEST, shape, np.uint8)
        self.rule = RULE_OF_CLASS.get(type(env.unwrapped).__name__, REACH)
        self.observation_space = spaces.Dict(parts | missions.space(self.rule))

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        found = dict(observation)
        if self.is_picture:
            found["image"] = np.moveaxis(observation["image"], -1, 0)
        if self.rule in missions.LONGEST:
            found["mission"] = missions.tokens(observation["mission"], self.rule)
        return found
