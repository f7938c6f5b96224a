"""Random network distillation: a view is new as long as a predictor cannot yet imitate a frozen random network on it.

r_t = mean_k (f^_k(s_{t+1}) - f_k(s_{t+1}))^2

Source: Burda et al. 2018, "Exploration by Random Network Distillation", sections 2.2 and 2.4, table 5, and the
authors' code. As there: the reward uses the old statistics of the observations, then these are updated, then the
predictor learns; with more than 32 environments it learns from a share of the views that keeps its batch that of 32.
What we do differently: the networks are the run's encoder plus layers of 128 units instead of 512 (the encoders here
are small); the share is a random subset, which costs less than a mask; one epoch per rollout; no random prelude fills
the statistics (until the first update a view is only cut at +-5); integer observations keep the encoder's own coding.
Intrinsic rewards are scaled in `normalise.py`, not here; the learner's defaults are episodic intrinsic returns and a
weight of .05 (theirs: non-episodic, weights 1 and 2 of bonus and reward).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agents.adam import Adam
from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import of_each
from agents.curiosity._distillation import Distillation
from agents.rollout import Rollout, flatten_obs


class RND(IntrinsicReward):
    """Prediction error of a frozen random network's features.

    Args:
        lr: Adam's learning rate.
        width: features of the random network, and units of the predictor's extra layers.
        proportion: share of the views that the predictor learns from; None: min(1, 32 / n_envs).
    """

    optimiser: Adam

    def __init__(
        self,
        context: Context,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        width: Annotated[int, Field(ge=1)] = 128,
        proportion: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        super().__init__(context)
        self.networks = Distillation(context, width, proportion)
        self.optimiser = Adam(self.networks.predictor.parameters(), lr)

    def reward(self, rollout: Rollout) -> Tensor:
        error = of_each(lambda obs: self.networks.difference(obs).square().mean(-1), flatten_obs(rollout.next_obs))
        return error.unflatten(0, rollout.shape).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `loss`, the mean squared error of the views learned from."""
        return self.networks.learn(flatten_obs(rollout.next_obs), self.optimiser)
