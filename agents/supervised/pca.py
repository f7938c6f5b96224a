"""Principal components: what a learner can do on the directions in which the views of a random policy vary most.

It is told nothing: the floor of the supervised encoders, and beside them because it is fitted before learning, as they
are, and then frozen.

W = U^T / c and b = -W m, m the mean view, U the first D eigenvectors of the views' covariance, largest first

c makes the mean variance of the D features 1: one number for all, as the proportions between components are what
PCA knows. Source: the "pca" baseline of the S-RL Toolbox (Raffin et al. 2018) and the authors' code
(srl_baselines/pca.py of srl-zoo: batch by batch, three components, not scaled). What we do differently: as many
components as the encoder `linear` has features, and seeded randomised subspace iteration (Halko et al. 2011), as a
picture has too many pixels for a covariance. Views are read as in `linear`. Frames come from a random policy, as those
of `state` do, and count as environment steps.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agents.context import Context
from agents.encoders.linear import Linear, one_hot
from agents.faults import Unfit
from agents.supervised import MakeLabelled, Supervised, copies_for
from agents.supervised._fit import collect, random_actions

MOST = 4  # GB of views at a time


class PrincipalComponents(Supervised):
    """The encoder `linear` as principal components of views: `ppo+pca`, which means `ppo+linear+pca`.

    Args:
        frames: views, one per environment step.
        shuffled: the negative control: each coordinate of a view comes from another view, so that none go together.

    Raises:
        Unfit: the encoder is another one, or the views are too many to hold.
    """

    asks = "nothing"
    only_encoder = "linear"

    def __init__(
        self, context: Context, *, frames: Annotated[int, Field(ge=2, le=1_000_000)] = 5000, shuffled: bool = False
    ) -> None:
        super().__init__(context)
        self.frames, self.shuffled = frames, shuffled
        encoder = context.make_encoder()
        if not isinstance(encoder, Linear):
            raise Unfit("principal components are a linear map: pca needs the encoder `linear` (ppo+pca)")
        self.encoder = encoder

    def _check_size(self) -> None:
        size = 4 * self.frames * self.encoder.map.in_features / 1e9
        if size > MOST:
            raise Unfit(f"pca would hold {size:.1f} GB of views, and {MOST} at most; ask for fewer (pca:frames=...)")

    def fit(self, make_env: MakeLabelled, seed: int) -> dict[str, float]:
        """Metrics: `explained`, the share of the views' variance that the components hold."""
        self._check_size()
        rng = np.random.default_rng(seed)
        env, obs = make_env(copies_for(self.frames))
        act = random_actions(self.context.action_space, env.num_envs, rng)
        data = collect(env, obs, self.frames, act, lambda _env: {})
        self.steps = data.steps
        x = one_hot(data.obs, self.context.observation_space)
        x = _apart(x, rng) if self.shuffled else x
        mean, components, explained = principal_components(x, self.encoder.features_dim)
        with torch.no_grad():
            self.encoder.map.weight.copy_(components)
            self.encoder.map.bias.copy_(-components @ mean)
        return {"explained": explained}


def principal_components(x: Tensor, d: int) -> tuple[Tensor, Tensor, float]:
    """Mean [K], scaled components [d, K] (zeros where there are fewer), share of variance, of the rows of x [n, K]."""
    mean = x.mean(0)
    x = x - mean
    _, singular, vectors = torch.svd_lowrank(x, q=min(d, *x.shape), niter=4)
    held = singular.square().sum()
    scale = (held / len(x) / d).sqrt().clamp(min=1e-6)
    components = x.new_zeros(d, x.shape[1])
    components[: vectors.shape[1]] = vectors.T / scale
    return mean, components, (held / torch.linalg.vector_norm(x).square().clamp(min=1e-12)).item()


def _apart(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Every column in an order of its own."""
    return torch.from_numpy(rng.permuted(x.numpy(), axis=0))
