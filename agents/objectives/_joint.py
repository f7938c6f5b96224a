"""What objectives on pairs of successive views share: features of both, their expander, and gauges of the features."""

from __future__ import annotations

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from agents.faults import Unfit
from agents.layers import Linear
from agents.rollout import Obs


class Expander(nn.Sequential):
    """[M, features] -> [M, width]: two hidden layers of `width` with batch normalisation, then a linear one.

    Always normalises by the minibatch at hand: it is used in training only, so that no running statistics are kept.
    No layer has a bias, as batch normalisation takes it out again, or the statistics of the loss do.

    Raises:
        ValueError: for a minibatch of one step.
    """

    def __init__(self, features: int, width: int) -> None:
        layers: list[nn.Module] = []
        for size in (features, width):
            layers += [Linear(size, width, bias=False), nn.BatchNorm1d(width, track_running_stats=False), nn.ReLU()]
        super().__init__(*layers, Linear(width, width, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        if len(z) < 2:
            raise Unfit("one step has no variance: choose a batch_size that leaves no minibatch of a single step")
        return super().forward(z)


def features_of_both(encoder: BaseFeaturesExtractor, obs: Obs, next_obs: Obs) -> tuple[Tensor, Tensor]:
    """[M, *obs] and [M, *obs] -> phi(s_t) and phi(s_{t+1}), each [M, D]; one pass costs less than two."""
    if isinstance(obs, dict) and isinstance(next_obs, dict):
        both: Obs = {name: torch.cat([obs[name], next_obs[name]]) for name in obs}
    else:
        assert isinstance(obs, Tensor) and isinstance(next_obs, Tensor)
        both = torch.cat([obs, next_obs])
    z, z_next = encoder(both).chunk(2)
    return z, z_next


def off_diagonal(c: Tensor) -> Tensor:
    """[D, D] with zeros on the diagonal."""
    return c - c.diagonal().diag_embed()


@torch.no_grad()
def spread(z: Tensor) -> Tensor:
    """Mean std of the L2-normalised features [M, D]: 0 is collapse, 1/sqrt(D) is healthy."""
    return F.normalize(z, dim=-1).std(0, correction=0).mean()
