"""The true state in place of the view: RL on privileged input, to tell seeing from deciding.

features = relu(W_k ... relu(W_1 x)), x the world's labels: classes one-hot, numbers as sign(n) log(1 + |n|)

Source: the "ground truth" arm of the S-RL Toolbox (Raffin et al. 2018), "true state" of Allen et al. 2021. It is named
in the result's `privileged`, and the world's labels of every step count as told. It is no upper bound: Allen et al.
learned faster on a learned representation than on true coordinates; the oracle is. The logarithm (Hafner et al. 2023,
DreamerV3's "symlog") is ours, as a label may be a count of steps up to the size of a maze.
"""

from __future__ import annotations

from gymnasium import spaces
from torch import Tensor

from agents.encoders import Encoder
from agents.encoders.mlp import Mlp, Width
from agents.rollout import Obs


class TrueState(Encoder):
    """Args: hidden, widths of the layers; the last one is D."""

    privileged = "the world's labels instead of the view"

    def __init__(self, observation_space: spaces.Space, *, hidden: tuple[Width, ...] = (128, 128)) -> None:
        mlp = Mlp(observation_space, hidden=hidden)
        super().__init__(observation_space, mlp.features_dim)
        self.mlp = mlp

    def forward(self, obs: Obs) -> Tensor:
        space = self._observation_space
        if isinstance(obs, dict):
            assert isinstance(space, spaces.Dict)
            return self.mlp({name: _squeezed(part, space[name]) for name, part in obs.items()})
        return self.mlp(_squeezed(obs, space))


def _squeezed(part: Tensor, space: spaces.Space) -> Tensor:
    return part.sign() * part.abs().log1p() if isinstance(space, spaces.Box) else part
