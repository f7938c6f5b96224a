"""Random shift of pictures: pad by replicated borders, then crop at a random place; the same for a whole picture.

Kostrikov et al. 2021 ("DrQ") pad 84 pixels by 4, about 5 % of the side; ours keeps the share, as 4 pixels of a picture
of 18 would move it by more than a cell. Symbolic views and vectors are left as they are: a shifted view is another
state, not another look at the same one.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from torch import Tensor, nn

from agents.encoders import is_symbolic_view, picture_of
from agents.rollout import Obs

SHARE = 0.05  # of the picture's side


class RandomShift:
    """Augmentation of one observation space.

    Args:
        space: of raw observations; pictures are channel-first uint8 [C, H, W], alone or as `image` of a dict.
    """

    def __init__(self, space: spaces.Space) -> None:
        picture = picture_of(space)
        shifts = is_image_space(picture) and not is_symbolic_view(picture)
        self.pad = round(SHARE * min(picture.shape[-2:])) if shifts and picture.shape else 0

    def __call__(self, obs: Obs, encoder: nn.Module | None = None) -> Obs:
        """[M, *obs] -> the same, every picture shifted on its own by up to `pad` pixels in each direction.

        Left as it is for an `encoder` that will shift it itself (`cnn:shift=true`): twice would be twice as far.
        """
        if self.pad == 0 or (encoder is not None and encoder.training and getattr(encoder, "shift", None) is not None):
            return obs
        if isinstance(obs, dict):
            return obs | {"image": self._shift(obs["image"])}
        return self._shift(obs)

    def _shift(self, x: Tensor) -> Tensor:
        m, _, h, w = x.shape
        top, left = torch.randint(0, 2 * self.pad + 1, (2, m)).to(x.device)
        crops = self._padded(self._padded(x, 2), 3).unfold(2, h, 1).unfold(3, w, 1)  # [M, C, top, left, H, W]: a view
        return crops[torch.arange(m, device=x.device), :, top, left]

    def _padded(self, x: Tensor, side: int) -> Tensor:
        """By its first and its last row (or column): torch pads no bytes."""
        first, last = x.narrow(side, 0, 1), x.narrow(side, x.shape[side] - 1, 1)
        return torch.cat([first] * self.pad + [x] + [last] * self.pad, side)
