"""Counts of hashed views: the signs of a random projection decide which views are counted as one.

r_t = 1 / sqrt(n(phi(s_{t+1}))),   phi(s) = sgn(A g(s)) in {-1, 1}^k,   A in R^(k x D), A_ij ~ N(0, 1)

Source: Tang et al. 2017, "#Exploration: A Study of Count-Based Exploration for Deep Reinforcement Learning", eq. 2 and
algorithm 1 (static hashing; the bonus coefficient is left to the scaling in `normalise.py`). What we do differently: g
scales every number to [-1, 1] by its bounds and makes symbols one-hot, where they hash raw states, of which the largest
number decides every sign; n counts the visits before this rollout, which advance in `update`, and this one, as in
`counts`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._batches import in_pieces
from agents.curiosity._codes import Code
from agents.curiosity._visits import LifelongCounts, view_keys
from agents.rollout import Rollout, flatten_obs


class SimHash(IntrinsicReward):
    """Visit counts of the signs of a random projection.

    Args:
        k: bits of a code: more of them tell more views apart.
        bumps: Gaussian bumps of each continuous number, as in `fly_bloom`; 0: the numbers themselves.
        max_codes: lifelong memory; when full, the half with the fewest visits is forgotten.

    Raises:
        ValueError: if the observations are neither numbers nor classes.
    """

    projection: Tensor

    def __init__(
        self,
        context: Context,
        *,
        k: Annotated[int, Field(ge=1, le=4096)] = 32,
        bumps: Annotated[int, Field(ge=0, le=256)] = 0,
        max_codes: Annotated[int, Field(ge=2, le=2**26)] = 2**20,
    ) -> None:
        super().__init__(context)
        self.code = Code(context.observation_space, bumps)
        self.counts = LifelongCounts(max_codes)
        self.register_buffer("projection", torch.randn(k, self.code.size))

    def reward(self, rollout: Rollout) -> Tensor:
        n = torch.from_numpy(1 + self.counts.count(self._keys(rollout)))
        return n.float().rsqrt().to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `codes`, the number of different codes in memory."""
        self.code.measure(flatten_obs(rollout.next_obs))
        return {"codes": float(self.counts.add(self._keys(rollout)))}

    def _keys(self, rollout: Rollout) -> np.ndarray:
        """[T, N] int64"""
        signs = in_pieces(lambda obs: self.code(obs) @ self.projection.T >= 0, flatten_obs(rollout.next_obs))
        bits = torch.from_numpy(np.packbits(signs.cpu().numpy(), axis=-1))
        return view_keys(bits.unflatten(0, rollout.shape), decimals=0)
