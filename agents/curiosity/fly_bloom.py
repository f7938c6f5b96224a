"""The fly's novelty filter: a view smells new as long as the few cells that it excites are still fresh.

r_t = (1/k) sum over i in tag(s_{t+1}) of w_i;   then w_i <- delta w_i in the tag, min(1, w_i + epsilon) elsewhere
tag(s) = the k largest of M x(s), M in {0, 1}^(m x d) with `fan_in` ones a row

Source: Dasgupta, Sheehan, Stevens & Navlakha 2018, "A Neural Data Structure for Novelty Detection", and Dasgupta,
Stevens & Navlakha 2017 for the tag (six inputs a cell, as in the fly). To use it as an intrinsic reward is our idea; we
found no earlier use. What it needs for that: x(s) codes a few continuous numbers as populations of Gaussian bumps, as a
tag is the same for x and for a x + c, so that two bare numbers would be one angle; symbols are one-hot. Views are
judged before the rollout is written, and written in the order of time. m = 1024, k = 16, delta = .9 and epsilon = 0
were found on MountainCar by a prototype (theirs: m = 30 n, tried at 10 n, for n stored items, k from 5 to 50, the rest
left free); in the study of all bonuses SparseMountainCar was not solved with them. On MiniGrid's view, 1,621 numbers as
one-hot, m is smaller than d, so that nothing is expanded: `cells=16384` would be ten times d.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import in_pieces
from agents.curiosity._codes import Code
from agents.curiosity._fly import FadingFilter, FlyHash
from agents.rollout import Rollout, flatten_obs


class FlyBloom(IntrinsicReward):
    """Freshness of the cells that a view excites.

    Args:
        cells: m, cells of the expansion and weights of the filter.
        active: k, cells of a tag.
        fan_in: inputs that each cell sums.
        delta: what a cell of the tag keeps of its weight at each visit.
        epsilon: what every other cell regains at each visit.
        bumps: Gaussian bumps of each continuous number, where there are at most eight; 0: none.

    Raises:
        ValueError: if `active` is more than `cells`, or the observations are neither numbers nor classes.
    """

    def __init__(
        self,
        context: Context,
        *,
        cells: Annotated[int, Field(ge=1, le=2**20)] = 1024,
        active: Annotated[int, Field(ge=1, le=1024)] = 16,
        fan_in: Annotated[int, Field(ge=1, le=1024)] = 6,
        delta: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        epsilon: Annotated[float, Field(ge=0, le=1)] = 0.0,
        bumps: Annotated[int, Field(ge=0, le=256)] = 16,
    ) -> None:
        super().__init__(context)
        self.code = Code(context.observation_space, bumps)
        self.hash = FlyHash(self.code.size, cells, fan_in, active)
        self.filter = FadingFilter(cells, delta, epsilon)

    def reward(self, rollout: Rollout) -> Tensor:
        return self.filter.novelty(self._tags(rollout)).to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `fresh`, the mean weight of the filter."""
        self.code.measure(flatten_obs(rollout.next_obs))
        self.filter.write(self._tags(rollout).flatten(0, 1))
        return {"fresh": float(self.filter.weights.mean())}

    def _tags(self, rollout: Rollout) -> Tensor:
        """[T, N, k]"""
        tags = in_pieces(lambda obs: self.hash(self.code(obs)), flatten_obs(rollout.next_obs))
        return tags.unflatten(0, rollout.shape)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return self  # compiled code works on the CPU
