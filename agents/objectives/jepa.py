"""Action-conditioned joint embedding prediction (JEPA): a small world model that predicts features, not pictures.

L = (prediction + variance x V + covariance x C + similarity x S + inverse x I) / 16

K steps are rolled out in latent space from phi(s_t) and the actions; the prediction is the mean squared error to the
features of the views met. V keeps every feature's std at 1 or more, C decorrelates features (mean over D (D - 1)
pairs), S lets features change slowly, I tells the action from two successive views. The terms are written out in
`_world_model.py`. Without V the features may shrink to a point, and without I they may hold what never changes.

Source: Terver et al. 2026, "A Lightweight Library for Energy-Based Joint-Embedding Predictive Architectures", whose
example `ac_video_jepa` has the weights 16, 8, 12 and 1, K = 8, no projector, a gradient through both sides of the
prediction, and one covariance over all views of the minibatch; after PLDM (Sobal et al. 2025). VICReg's own code sums
squared covariances and divides by D: a weight of 8 on the mean over pairs is worth 8 / (D - 1) there.

What we do differently: divided by 16, so that V counts as much as the loss of an inverse model, as policy and
objective share one clipped gradient norm (see `Objective`). The predictor is an MLP with one hidden layer (theirs a
recurrent cell with the features as its state), the inverse model has one hidden layer (theirs two) and names the
action of a Discrete space. The features are the run's encoder as it is, without the layer normalisation that ends
theirs, so nothing but V keeps their scale. No weight decay (1e-5) and no clipping of its own. Sequences begin at every
K-th step of the minibatch.

A trap: at the published weight of 12, S hands the features to whatever stands still in an episode (a wall's place, a
distractor), at any weight of I, where there is enough of that to give every feature its variance. At PLDM's .75 they
learn what moves too in the small world of `tests/agents/test_jepa.py`; in PixelGoal they then hold the distractor more
and the goal less, and the agent's place no better (docs/results/jepa.md). In such a world lower `similarity` first.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from agents.context import Context
from agents.objectives import Mode, Objective
from agents.objectives._actions import Actions, to_floats
from agents.objectives._joint import spread
from agents.objectives._sequences import features, starts, views
from agents.objectives._world_model import Weights, WorldModel
from agents.rollout import Index, Rollout


class JEPA(Objective):
    """Latent world model with variance, covariance, similarity and inverse terms.

    Args:
        mode, weight, pretrain_steps, shuffled: see `Objective`.
        k: steps that the model is rolled out for.
        variance: weight of the hinge on each feature's std.
        covariance: weight of the squared covariances of different features.
        similarity: weight of the squared change from view to view.
        inverse: weight of the inverse model's loss.
        hidden: units of the hidden layer of predictor and inverse model.

    Raises:
        ValueError: if the action space is neither Discrete nor Box.
    """

    def __init__(
        self,
        context: Context,
        *,
        mode: Mode = "auxiliary",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        pretrain_steps: Annotated[int, Field(ge=0)] = 100_000,
        shuffled: bool = False,
        k: Annotated[int, Field(ge=1, le=100)] = 8,
        variance: Annotated[float, Field(ge=0)] = 16.0,
        covariance: Annotated[float, Field(ge=0)] = 8.0,
        similarity: Annotated[float, Field(ge=0)] = 12.0,
        inverse: Annotated[float, Field(ge=0)] = 1.0,
        hidden: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__(context, mode=mode, weight=weight, pretrain_steps=pretrain_steps, shuffled=shuffled)
        self.k, weights = k, Weights(variance, covariance, similarity, inverse)
        self.model = WorldModel(context.features_dim, hidden, Actions(context.action_space), weights)

    def loss(self, encoder: BaseFeaturesExtractor, rollout: Rollout, index: Index) -> tuple[Tensor, dict[str, float]]:
        """Metrics: `loss`; the terms `prediction`, `variance`, `covariance`, `similarity` and `inverse`, without their
        weights; the inverse model's `accuracy` and `chance`, as in `inverse`; `spread`, the std of the L2-normalised
        features: 0 is collapse, 1/sqrt(D) is healthy."""
        steps = self.ahead(rollout, starts(index, self.k), self.k)
        z = features(encoder, views(steps))
        losses = self.model.losses(z, steps.actions, steps.reached)
        return losses["loss"], to_floats(losses | {"spread": spread(z[:, 0])})
