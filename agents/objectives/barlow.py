"""Barlow Twins on successive views: each component of the embedding agrees with itself and with no other.

L = (sum_k (1 - C_kk)^2 + lambd x sum_{k != l} C_kl^2) / D,   C = e^T e' / M,
e = BN(h(phi(s_t))), e' = BN(h(phi(s_{t+1}))),   BN: mean 0 and variance 1 over the minibatch

Source: Zbontar et al. 2021, "Barlow Twins", eqs. 1-2, and the authors' code: lambd .0051, BN without scale and offset.
Pictures are shifted at random.

What we do differently: the two views follow each other in time. Divided by D, the number of components, so that
unrelated views cost 1, however wide the expander is: policy and objective share one clipped gradient norm (see
`Objective`). The expander has three layers of 128 (theirs of 8192; the reason is in `vicreg`), so that the same lambd
weighs 64 times less: a component has 127 others to agree with, not 8191. lambd 0.3 would give back their balance.
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


class BarlowTwins(Objective):
    """The cross-correlation of the embeddings of successive views, drawn towards the identity.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        lambd: weight of the redundancy between components.
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
        lambd: Annotated[float, Field(ge=0)] = 0.0051,
        width: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.lambd = lambd
        self.shift, self.expander = RandomShift(context.observation_space), Expander(context.features_dim, width)

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; `invariance`, mean_k (1 - C_kk)^2; `redundancy`, the sum over other components of C_kl^2 per
        component; `spread`, the std of the L2-normalised features: 0 is collapse, 1/sqrt(D) is healthy."""
        steps = self.ahead(rollout, index)
        next_obs = map_obs(lambda x: x[:, 0], steps.next_obs)
        z, z_next = features_of_both(encoder, *(self.shift(views, encoder) for views in (steps.obs, next_obs)))
        e, e_next = _standardised(self.expander(z)), _standardised(self.expander(z_next))
        c = e.T @ e_next / len(e)
        invariance = (1 - c.diagonal()).square().mean()
        redundancy = off_diagonal(c).square().sum() / len(c)
        loss = invariance + self.lambd * redundancy
        terms = {"loss": loss, "invariance": invariance, "redundancy": redundancy, "spread": spread(z)}
        return loss, to_floats(terms)


def _standardised(e: Tensor) -> Tensor:
    """[M, D] with mean 0 and variance 1 in each column."""
    return F.batch_norm(e, None, None, training=True)
