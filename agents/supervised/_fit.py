"""Collecting labelled steps, splitting them by episode, and early stopping: shared by the supervised baselines."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.adam import Adam
from agents.faults import NonFinite
from agents.rollout import Obs, map_obs
from agents.supervised import LabelledEnv


@dataclass(frozen=True)
class Labelled:
    """`n` labelled observations, in the order they were told; episodes are numbered."""

    obs: Obs  # [n, *obs]
    answers: dict[str, Tensor]  # name -> [n, ...]
    episodes: np.ndarray  # [n]
    steps: int  # environment steps that took; every copy walks equally far, so a few more than n


def collect(
    env: LabelledEnv,
    obs: Any,
    labels: int,
    act: Callable[[LabelledEnv], np.ndarray],
    answer: Callable[[LabelledEnv], dict[str, np.ndarray]],
) -> Labelled:
    """Walk through `env` by `act` and ask for an answer at each observation until `labels` are told."""
    seen: list[Any] = []
    answers: list[dict[str, np.ndarray]] = []
    episodes = [np.arange(env.num_envs)]
    rounds = -(-labels // env.num_envs)
    for _ in range(rounds):
        seen.append(obs)
        answers.append(answer(env))
        obs, _, terminated, truncated, _ = env.step(act(env))
        ended = terminated | truncated
        fresh = episodes[-1].max() + np.cumsum(ended)
        episodes.append(np.where(ended, fresh, episodes[-1]))
    # Copy by copy, so that cutting to `labels` drops the end of the last copy and not a step of each.
    stacked = {name: _by_copy([a[name] for a in answers], labels) for name in answers[0]}
    if isinstance(obs, dict):
        views: Obs = {name: _by_copy([o[name] for o in seen], labels) for name in obs}
    else:
        views = _by_copy(seen, labels)
    return Labelled(views, stacked, _by_copy(episodes[:-1], labels).numpy(), rounds * env.num_envs)


def _by_copy(steps: list[np.ndarray], limit: int) -> Tensor:
    """list of [N, ...] -> [limit, ...], one copy after the other."""
    joined = np.swapaxes(np.stack(steps), 0, 1)
    return torch.as_tensor(joined.reshape(-1, *joined.shape[2:])[:limit].copy())


def split(episodes: np.ndarray, held_out: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(training, held-out) indices; whole episodes are held out, or the last steps where there is only one."""
    names = rng.permutation(np.unique(episodes))
    if len(names) > 1:
        chosen = names[: max(1, round(held_out * len(names)))]
        mask = np.isin(episodes, chosen)
    else:
        mask = np.arange(len(episodes)) >= int(np.ceil((1 - held_out) * len(episodes)))
    if mask.all() or not mask.any():  # too few labels to hold any out: judge on the training set
        everything = torch.arange(len(episodes))
        return everything, everything
    return torch.from_numpy(np.flatnonzero(~mask)), torch.from_numpy(np.flatnonzero(mask))


def early_stopping(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    train: Tensor,
    held_out: Tensor,
    *,
    lr: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
) -> dict[str, float]:
    """Minimise `loss(indices)` by Adam; stop `patience` epochs after the best held-out loss and restore that epoch."""
    optimiser = Adam([p for p in module.parameters() if p.requires_grad], lr)
    best, best_epoch, best_state = float("inf"), 0, copy.deepcopy(module.state_dict())
    last = float("nan")
    epoch = 0
    while epoch < max_epochs and epoch - best_epoch < patience:
        epoch += 1
        for batch in train[torch.randperm(len(train))].split(batch_size):
            optimiser.zero_grad()
            value = loss(batch)
            value.backward()
            optimiser.step()
            last = value.item()
        with torch.no_grad():
            judged = sum(loss(part).item() * len(part) for part in held_out.split(8192)) / len(held_out)
        if not math.isfinite(judged):
            raise NonFinite(f"the supervised loss became {judged} in epoch {epoch}; a smaller lr may help")
        if judged < best:
            best, best_epoch, best_state = judged, epoch, copy.deepcopy(module.state_dict())
    module.load_state_dict(best_state)
    return {"train_loss": last, "held_out_loss": best, "epochs": float(epoch), "best_epoch": float(best_epoch)}


def take(obs: Obs, index: Tensor) -> Obs:
    """The observations at `index`."""
    return map_obs(lambda x: x[index], obs)
