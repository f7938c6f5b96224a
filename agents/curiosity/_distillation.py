"""A predictor that learns to imitate a frozen random network, and what both see (for rnd, drnd, noveld, ngu)."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.context import Context
from agents.curiosity._batches import Shuffle, descend, take
from agents.distinct import Distinct
from agents.layers import Dense, Linear
from agents.normalise import RunningMoments
from agents.rollout import Obs, map_obs


def _is_continuous(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and space.dtype.kind == "f"


class Whitening(nn.Module):
    """(x - mean) / std, cut at +-5, of an observation's continuous parts (float Box spaces).

    Symbols (integers, discrete parts) pass untouched: the encoder codes them, and a mean of symbols means nothing.
    """

    def __init__(self, space: spaces.Space) -> None:
        super().__init__()
        parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self.names = sorted(name for name, part in parts.items() if _is_continuous(part))
        self.moments = nn.ModuleList(RunningMoments(parts[name].shape or ()) for name in self.names)

    def forward(self, obs: Obs) -> Obs:
        """[B, ...] -> [B, ...]"""
        seen = {name: moments.normalise(_part(obs, name)) for name, moments in self._each()}
        return {**obs, **seen} if isinstance(obs, dict) else seen.get("", obs)

    def update(self, obs: Obs) -> None:
        """Take in observations [B, ...]."""
        for name, moments in self._each():
            moments.update(_part(obs, name))

    def _each(self) -> list[tuple[str, RunningMoments]]:
        return list(zip(self.names, self.moments, strict=True))  # type: ignore[arg-type]


def _part(obs: Obs, name: str) -> Tensor:
    return obs[name] if isinstance(obs, dict) else obs


class Distillation(nn.Module):
    """Target: encoder + linear, frozen. Predictor: encoder + two more hidden layers of `width` + linear.

    Args:
        width: number of output features and of units in the predictor's extra layers.
        proportion: share of the views that the predictor learns from; None: min(1, 32 / n_envs).
    """

    def __init__(self, context: Context, width: int, proportion: float | None) -> None:
        super().__init__()
        target, encoder = context.make_encoder(), context.make_encoder()
        d = encoder.features_dim
        self.target = nn.Sequential(target, Linear(d, width))
        self.predictor = nn.Sequential(encoder, Dense(d, width), Dense(width, width), Linear(width, width))
        for layer in [*self.target, *self.predictor]:
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight, 2**0.5)
                nn.init.zeros_(layer.bias)
        self.target.requires_grad_(False)
        self.whitening = Whitening(context.observation_space)
        self.shuffle = Shuffle(context.n_envs, proportion)

    @property
    def device(self) -> torch.device:
        return self.shuffle.device

    def difference(self, obs: Obs) -> Tensor:
        """predictor - target, [B, ...] -> [B, width]; the gradient reaches the predictor only."""
        seen = self.whitening(map_obs(lambda x: x.to(self.device), obs))
        return self.predictor(seen) - self.target(seen)

    def learn(self, obs: Obs, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """Take the views [B, ...] into the statistics, then one epoch of steps; metrics: `loss`."""
        self.whitening.update(obs)
        losses, seen = [], Distinct(obs)
        for index in self.shuffle.draw(len(seen.ids)):
            views, where = seen.among(seen.ids[index.to(seen.ids.device)])
            times = torch.bincount(where, minlength=len(views)).to(self.device)  # 0 for what fills the last portion
            error = self.difference(take(seen.obs, views)).square().mean(-1)
            loss = torch.dot(error, times / times.sum())
            descend(optimiser, loss)
            losses.append(loss.detach())
        return {"loss": float(torch.stack(losses).mean())}
