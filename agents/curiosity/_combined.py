"""Several bonuses as one: a sum pays for any kind of news, a product only for what is news to all of them.

sum: r_t = sum_k r^k_t / std(R^k),   product: r_t = prod_k r^k_t

Source: the product of an episodic and a lifelong bonus as in Badia et al. 2020 (NGU, eq. 1) and Henaff et al. 2023, "A
Study of Global and Episodic Bonuses for Exploration in Contextual MDPs". Each reward is scaled exactly once: a sum
divides its summands by the running std of their own discounted returns (`normalise.py`), so that none drowns the
others by its unit, and the learner does not scale again; a product is scaled by the learner as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.normalise import IntrinsicScale
from agents.rollout import Rollout

Makers = Mapping[str, Callable[[Context], IntrinsicReward]]  # name -> what builds the bonus


class _Combined(IntrinsicReward):
    def __init__(self, context: Context, makers: Makers) -> None:
        super().__init__(context)
        self.names, self.bonuses = list(makers), nn.ModuleList(make(context) for make in makers.values())

        told = [f"{name}: {bonus.privileged}" for name, bonus in self.named().items() if bonus.privileged]
        self.privileged = "; ".join(told) or None

    def named(self) -> dict[str, IntrinsicReward]:
        """name -> bonus, in the order given."""
        return dict(zip(self.names, self.bonuses, strict=True))  # type: ignore[arg-type]

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        each = {name: bonus.optimisers() for name, bonus in self.named().items()}
        return {f"{name}/{own}": optimiser for name, owned in each.items() for own, optimiser in owned.items()}

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: those of each bonus, as `name/metric`."""
        each = {name: bonus.update(rollout) for name, bonus in self.named().items()}
        return {f"{name}/{metric}": value for name, own in each.items() for metric, value in own.items()}

    def new_episodes(self) -> None:
        for bonus in self.named().values():
            bonus.new_episodes()


class Product(_Combined):
    """The product of bonuses, unscaled."""

    def reward(self, rollout: Rollout) -> Tensor:
        return math.prod((bonus.reward(rollout) for bonus in self.named().values()), start=torch.ones(()))


class Sum(_Combined):
    """The sum of bonuses, each scaled by the std of its own discounted return.

    Args:
        gamma: discount of these returns.
    """

    scaled = True

    def __init__(self, context: Context, makers: Makers, *, gamma: float = 0.99) -> None:
        super().__init__(context, makers)
        self.scales = nn.ModuleList(IntrinsicScale(context.n_envs, gamma) for _ in makers)

    def reward(self, rollout: Rollout) -> Tensor:
        """[T, N], scaled: it advances the scales besides episodic memories."""
        pairs = zip(self.scales, self.named().values(), strict=True)
        return torch.stack([scale.scale(bonus.reward(rollout)) for scale, bonus in pairs]).sum(0)  # type: ignore[operator]
