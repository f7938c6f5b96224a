"""Running a bonus's networks over a rollout: in pieces that stay in the cache, each view once, shuffled to learn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from agents.curiosity._stream import Stream
from agents.distinct import Distinct
from agents.objectives._actions import to_floats
from agents.rollout import Obs, Rollout, flatten_obs, map_obs

PIECE = 1024  # views per forward pass and per gradient step


def n_views(obs: Obs) -> int:
    """B of a flat observation [B, ...]."""
    return len(next(iter(obs.values())) if isinstance(obs, dict) else obs)


def take(obs: Obs, index: Tensor | slice) -> Obs:
    """The views `index` of a flat observation."""
    return map_obs(lambda x: x[index.to(x.device) if isinstance(index, Tensor) else index], obs)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One gradient step."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def in_pieces(function: Callable[[Obs], Tensor], obs: Obs) -> Tensor:
    """`function` (obs [b, ...] -> [b, ...]) of a flat observation [B, ...], without gradient."""
    starts = range(0, n_views(obs), PIECE)
    with torch.no_grad():
        return torch.cat([function(take(obs, slice(start, start + PIECE))) for start in starts])


def of_each(function: Callable[[Obs], Tensor], obs: Obs) -> Tensor:
    """As `in_pieces`, but equal observations are computed once."""
    views = Distinct(obs)
    values = in_pieces(function, views.obs)
    return values[views.ids.to(values.device)]


def transitions(rollout: Rollout) -> tuple[Distinct, Tensor, Tensor]:
    """A rollout's views, and which of them each step left and which it reached, [B] each.

    Within an episode obs[t + 1] is next_obs[t], so only the first view of each episode is looked at besides.
    """
    begins = torch.ones_like(rollout.done)
    begins[1:] = rollout.done[:-1]
    after, starts = flatten_obs(rollout.next_obs), map_obs(lambda x: x[begins], rollout.obs)
    if isinstance(after, dict):
        assert isinstance(starts, dict)
        views = Distinct({name: torch.cat([part, starts[name]]) for name, part in after.items()})
    else:
        assert isinstance(starts, Tensor)
        views = Distinct(torch.cat([after, starts]))
    reached, started = views.ids.split([rollout.rewards.numel(), len(views.ids) - rollout.rewards.numel()])
    left = reached.unflatten(0, rollout.shape).roll(1, 0)
    left[begins] = started
    return views, left.flatten(), reached


def before_and_after(function: Callable[[Obs], Tensor], rollout: Rollout) -> tuple[Tensor, Tensor]:
    """`function` of `obs` and of `next_obs`, each [T, N, ...], without gradient; each view is computed once."""
    views, left, reached = transitions(rollout)
    values = in_pieces(function, views.obs)
    before, after = (values[ids.to(values.device)].unflatten(0, rollout.shape) for ids in (left, reached))
    return before, after


def different_steps(rollout: Rollout) -> tuple[Distinct, Distinct]:
    """A rollout's different views, and its different steps: {view left, action, view reached}."""
    views, left, reached = transitions(rollout)
    return views, Distinct({"left": left, "action": rollout.actions.flatten(0, 1), "reached": reached})


def means(steps: list[dict[str, Tensor]]) -> dict[str, float]:
    """Of each term over the minibatches of an update."""
    return to_floats({name: torch.stack([step[name].detach() for step in steps]).mean() for name in steps[0]})


class Shuffle(nn.Module):
    """Random minibatches from a stream of its own.

    Args:
        n_envs: N.
        proportion: share of the steps to learn from; None: min(1, 32 / N), the batch of 32 environments.
    """

    def __init__(self, n_envs: int, proportion: float | None) -> None:
        super().__init__()
        self.proportion = min(1.0, 32 / n_envs) if proportion is None else proportion
        self.stream = Stream()

    @property
    def device(self) -> torch.device:
        """Where the part that this belongs to lives."""
        return self.stream.position.device

    def draw(self, total: int) -> tuple[Tensor, ...]:
        """Indices of the random share of 0..total-1, in minibatches of nearly equal size, PIECE at most."""
        order = torch.randperm(total, generator=self.stream.next())
        order = order[: max(1, round(self.proportion * total))]
        return order.tensor_split(math.ceil(len(order) / PIECE))
