"""Pay for views that are new in the episode, and less for those that were met often in the agent's life.

r_t = 1[N_ep(s_{t+1}) = 1] / sqrt(1 + N(s_{t+1}))

Source: count bonuses proportional to 1/sqrt(N) as in Strehl & Littman 2008 (MBIE-EB) and Bellemare et al. 2016; the
first-visit factor as in Zhang et al. 2021 (NovelD); `sqrt` is the episodic factor of Raileanu & Rocktaeschel 2020
(RIDE). What we do differently: N is the count before this rollout and advances in `update`, so that the pay of a step
does not depend on which copy stands first in the batch, and `reward` alone never wears a view out; views are what the
agent sees (all parts of a dict), not the simulator's full grid that the authors of RIDE and NovelD hash in MiniGrid.
The start view of an episode counts as visited within it; N counts arrivals only.

`state="full"` is privileged: it counts true states instead of views: the world's key of its whole state where it has
one (MiniGrid: grid and body), else all of its labels together. They are told of the states reached only, so the state
in which an episode starts is paid once when the agent comes back to it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._visits import EpisodicVisits, LifelongCounts, arrival_keys, told
from agents.faults import Unfit
from agents.rollout import Rollout


class Counts(IntrinsicReward):
    """Exact visit counts of hashed views.

    Args:
        state: what is counted: `view` what the agent sees; `full` the true state (privileged).
        episodic: factor for visits within the episode: `first` 1[N_ep = 1], `sqrt` 1/sqrt(N_ep), `none` 1.
        lifelong: multiply by 1/sqrt(1 + N).
        decimals: floats are rounded to so many places before hashing.
        max_views: lifelong memory; when full, the half with the fewest visits is forgotten.

    Raises:
        ValueError: if neither factor is chosen; in `reward` and `update`, if `full` meets steps without labels.
    """

    def __init__(
        self,
        context: Context,
        *,
        state: Literal["view", "full"] = "view",
        episodic: Literal["first", "sqrt", "none"] = "first",
        lifelong: bool = True,
        decimals: Annotated[int, Field(ge=0, le=12)] = 2,
        max_views: Annotated[int, Field(ge=2, le=2**26)] = 2**20,
    ) -> None:
        super().__init__(context)
        if episodic == "none" and not lifelong:
            raise Unfit("counts: episodic='none' with lifelong=false pays every step the same; choose one of them")
        self.state, self.episodic, self.decimals = state, episodic, decimals
        self.privileged = told(state)
        self.visits = None if episodic == "none" else EpisodicVisits(context.n_envs)
        self.counts = LifelongCounts(max_views) if lifelong else None

    def reward(self, rollout: Rollout) -> Tensor:
        keys = arrival_keys(rollout, self.state, self.decimals)
        bonus = torch.ones(rollout.shape)
        if self.visits is not None:
            visits = torch.from_numpy(self.visits.visit(rollout, keys, self.decimals))
            bonus = (visits == 1).float() if self.episodic == "first" else visits.float().rsqrt()
        if self.counts is not None:
            bonus = bonus * torch.from_numpy(1 + self.counts.count(keys)).float().rsqrt()
        return bonus.to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `views` (or `states`), how many different ones are in memory."""
        if self.counts is None:
            return {}
        name = "views" if self.state == "view" else "states"
        return {name: float(self.counts.add(arrival_keys(rollout, self.state, self.decimals)))}

    def new_episodes(self) -> None:
        if self.visits is not None:
            self.visits.new_episodes()
