"""Autoencoder: features from which the view itself can be rebuilt. The foil of all that predict features instead.

L = cost of rebuilding s_t from phi(s_t) + decay / 2 x mean_i |phi(s_i)|^2

Source: Yarats et al. 2021, "Improving Sample Efficiency in Model-Free Reinforcement Learning from Images" (SAC-AE), and
the authors' code: decay 1e-6 on the features. The costs of symbols, numbers and pictures are in `_decoder.py`; the code
rounds pixels to 5 bits, ours are pixels / 255. What we do differently: the decoder's weights do not decay (1e-7 there),
because one optimiser owns encoder, policy and decoder. With `cnn:shift=true` the encoder is shown the shifted picture
and the picture as it is is rebuilt: a denoising autoencoder.

A picture's squared error is small (the variance of its pixels, .01 to .1), and small things in it, such as the one cell
of a goal, are a small part of that: in auxiliary mode raise `weight`, and do not expect of features to hold what is
few pixels. `shuffled` rebuilds another view of the minibatch.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from agents.context import Context
from agents.objectives import Mode, Objective
from agents.objectives._actions import to_floats
from agents.objectives._decoder import Decoder
from agents.objectives._joint import spread
from agents.rollout import Index, Obs, Rollout, map_obs


class Autoencoder(Objective):
    """Reconstruction of the view.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        decay: of the features' squared length.
        hidden: units of the hidden layer of the decoders of symbols and numbers.

    Raises:
        ValueError: if a part of the observation is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
        decay: Annotated[float, Field(ge=0)] = 1e-6,
        hidden: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.decay = decay
        self.decoder = Decoder(context.observation_space, context.features_dim, hidden)

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; `reconstruction`, the cost alone; `spread`, the std of the L2-normalised features: 0 is
        collapse, 1/sqrt(D) is healthy."""
        obs = self.ahead(rollout, index).obs
        z = encoder(obs)
        reconstruction = self.decoder(z, _others(obs, len(z)) if self.shuffled else obs)
        loss = reconstruction + self.decay / 2 * z.square().sum(-1).mean()
        return loss, to_floats({"loss": loss, "reconstruction": reconstruction, "spread": spread(z)})


def _others(obs: Obs, m: int) -> Obs:
    """The views [M, *obs] in another order."""
    order = torch.randperm(m)
    return map_obs(lambda x: x[order.to(x.device)], obs)
