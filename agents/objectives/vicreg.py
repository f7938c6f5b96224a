"""VICReg on successive views: embeddings that change little, vary in every component, and are not correlated.

L = (sim x s + std x v + cov x c) / 25,   e = h(phi(s_t)), e' = h(phi(s_{t+1})),   s = mean (e - e')^2,
v = mean_k (max(0, 1 - sqrt(Var e_k + eps)) + max(0, 1 - sqrt(Var e'_k + eps))) / 2,
c = (sum_{k != l} Cov(e)_kl^2 + sum_{k != l} Cov(e')_kl^2) / D

Source: Bardes et al. 2022, "VICReg", eqs. 1-6, and the authors' code, whose normalisation this is: 25, 25 and 1,
eps 1e-4, variances over M - 1, v halved, c not, D the number of components of e. Pictures are shifted at random.

What we do differently: the two views follow each other in time. Divided by 25, so that s and v count as much as the
loss of an inverse model: policy and objective share one clipped gradient norm (see `Objective`). The expander has three
layers as in the paper, each as wide as the encoders' 128 features (theirs 8192 for 2048): it is already dearer than
encoder and policy together, and 256 would double that.

Without v the embeddings shrink to a point; the features need not, as batch normalisation stands between. So `variance`
(1 when the embeddings are gone) and `spread` (of the features) are two gauges.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor
from torch.nn import functional as F

from agents.augment import RandomShift
from agents.context import Context
from agents.objectives import Mode, Objective
from agents.objectives._actions import to_floats
from agents.objectives._joint import Expander, features_of_both, off_diagonal, spread
from agents.rollout import Index, Rollout, map_obs

SCALE, EPS = 25.0, 1e-4


class VICReg(Objective):
    """Invariance, variance and covariance of the embeddings of successive views.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        sim, std, cov: the coefficients of invariance, variance and covariance.
        width: units of each of the expander's three layers.
    """

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
        sim: Annotated[float, Field(ge=0)] = 25.0,
        std: Annotated[float, Field(ge=0)] = 25.0,
        cov: Annotated[float, Field(ge=0)] = 1.0,
        width: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.sim, self.std, self.cov = sim, std, cov
        self.shift, self.expander = RandomShift(context.observation_space), Expander(context.features_dim, width)

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; the three terms `invariance`, `variance` and `covariance`, without coefficients; `spread`,
        the std of the L2-normalised features: 0 is collapse, 1/sqrt(D) is healthy."""
        steps = self.ahead(rollout, index)
        next_obs = map_obs(lambda x: x[:, 0], steps.next_obs)
        z, z_next = features_of_both(encoder, *(self.shift(views, encoder) for views in (steps.obs, next_obs)))
        e, e_next = self.expander(z), self.expander(z_next)
        s = F.mse_loss(e, e_next)
        v = (_hinge(e) + _hinge(e_next)) / 2
        c = _correlation(e) + _correlation(e_next)
        loss = (self.sim * s + self.std * v + self.cov * c) / SCALE
        return loss, to_floats({"loss": loss, "invariance": s, "variance": v, "covariance": c, "spread": spread(z)})


def _hinge(e: Tensor) -> Tensor:
    """How far the std of the components of e [M, D] stays below 1, on average."""
    return F.relu(1 - (e.var(0) + EPS).sqrt()).mean()


def _correlation(e: Tensor) -> Tensor:
    """Squared covariances between different components of e [M, D], summed and divided by D."""
    centred = e - e.mean(0)
    covariance = centred.T @ centred / (len(e) - 1)
    return off_diagonal(covariance).square().sum() / e.shape[1]
