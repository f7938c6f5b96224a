"""Pay for first contacts: what the agent faces together with what it carries, once in an episode, the rare ones more.

r_t = 1[N_ep(c_{t+1}) = 1] / (1 + N(c_{t+1}))^power,   c = (look of the cell in front, look of the agent's own cell)

A look is what a cell of MiniGrid's symbolic view shows: object, colour and state. A locked door in front of the agent
is a contact; the same door with its key in hand, and the door once it is open, are others. Wherever things can be
carried about, views are combined without end, so that a bonus on them pays for ever for laying things down in new
places. Of contacts there are some hundreds, and the rare ones are made by using the things.

Source: counts of features in place of observations as in Henaff et al. 2022, "Exploration via Elliptical Episodic
Bonuses", section 3 (they count positions or messages, and find that the feature decides); the two factors as in
`counts`. Parisi et al. 2021, "Interesting Object, Curious Agent" (C-BET) count views and the changes that actions make
in them, for the same reason. What we do differently: no change is computed, and nothing is needed but the agent's own
view. The power is 1/4 in place of 1/2: contacts are so few that N soon runs into millions, and with 1/2 the bonus has
faded before all of ObstructedMaze-Full is learned (.90 at 47 M steps instead of 11 M); with 0 LockedRoom, where the
rare contacts lead on, was not found by 13 M. The price is knowledge of MiniGrid: where a view shows what lies ahead. In
worlds without its symbols whole views are counted.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numba
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agents.context import Context
from agents.curiosity import IntrinsicReward
from agents.curiosity._visits import EpisodicVisits, LifelongCounts, view_keys
from agents.encoders import default_encoder
from agents.encoders.symbolic import AGENT, joint_ids
from agents.rollout import Obs, Rollout

AHEAD = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # Minigrid's directions: right, down, left, up
DECIMALS = 2  # floats of views without symbols are rounded to so many places
OUTSIDE = 255  # the look of what lies beyond the view: no symbol has it


@numba.njit(cache=True)
def _body(view: np.ndarray, ahead: np.ndarray) -> tuple[int, int, int, int]:
    """The cell of the agent and the cell in front of it."""
    for x in range(view.shape[0]):
        for y in range(view.shape[1]):
            if view[x, y, 0] == AGENT:  # only views of the whole grid show the agent
                step = ahead[view[x, y, 2] & 3]
                return x, y, x + step[0], y + step[1]
    return view.shape[0] // 2, view.shape[1] - 1, view.shape[0] // 2, view.shape[1] - 2


@numba.njit(cache=True)
def _look(view: np.ndarray, x: int, y: int, table: np.ndarray) -> int:
    if not (0 <= x < view.shape[0] and 0 <= y < view.shape[1]):
        return OUTSIDE
    return int(table[(view[x, y, 0] & 15) << 8 | (view[x, y, 1] & 15) << 4 | (view[x, y, 2] & 15)])


@numba.njit(cache=True)
def _find(views: np.ndarray, table: np.ndarray, ahead: np.ndarray, out: np.ndarray) -> None:
    for b in range(len(views)):
        x, y, front_x, front_y = _body(views[b], ahead)
        out[b] = _look(views[b], front_x, front_y, table) << 8 | _look(views[b], x, y, table)


def contacts(obs: Obs) -> Tensor:
    """Minigrid's symbolic `image` [*lead, w, h, 3] -> [*lead] int64: 256 x the look (of `joint_ids`) of the cell in
    front + the look of the agent's own cell, where partial views show what it carries."""
    assert isinstance(obs, dict)
    views = obs["image"].cpu().numpy()
    out = np.empty(views.shape[:-3], np.int64)
    _find(np.ascontiguousarray(views).reshape(-1, *views.shape[-3:]), joint_ids(), AHEAD, out.reshape(-1))
    return torch.from_numpy(out)


class Contacts(IntrinsicReward):
    """Exact visit counts of contacts, episodic times lifelong.

    Args:
        power: how fast the pay of a contact falls with its visits.
        max_views: lifelong memory (of views, in worlds without symbols); see `counts`.
    """

    def __init__(
        self,
        context: Context,
        *,
        power: Annotated[float, Field(ge=0, le=10)] = 0.25,
        max_views: Annotated[int, Field(ge=2, le=2**26)] = 2**20,
    ) -> None:
        super().__init__(context)
        self.symbolic = default_encoder(context.observation_space) == "symbolic"
        self.power = power
        self.visits, self.counts = EpisodicVisits(context.n_envs), LifelongCounts(max_views)

    def reward(self, rollout: Rollout) -> Tensor:
        met = self._met(rollout)
        keys = view_keys(met.next_obs, DECIMALS)
        first = torch.from_numpy(self.visits.visit(met, keys, DECIMALS) == 1)
        bonus = first * torch.from_numpy(1 + self.counts.count(keys)).float() ** -self.power
        return bonus.to(rollout.rewards.device)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Metrics: `contacts`, how many different ones are in memory."""
        return {"contacts": float(self.counts.add(view_keys(self._met(rollout).next_obs, DECIMALS)))}

    def new_episodes(self) -> None:
        self.visits.new_episodes()

    def _met(self, rollout: Rollout) -> Rollout:
        """The rollout with contacts in the place of views."""
        if not self.symbolic:
            return rollout
        return dataclasses.replace(rollout, obs=contacts(rollout.obs), next_obs=contacts(rollout.next_obs))
