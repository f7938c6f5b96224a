"""Collecting labelled steps, splitting them by episode, and early stopping: shared by the supervised baselines."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.adam import Adam
from agents.faults import NonFinite
from agents.rollout import Obs, map_obs
from agents.supervised import LabelledEnv

Answers = dict[str, np.ndarray]  # name -> [N, ...]
Act = Callable[[Any, Answers], np.ndarray]  # (observations, the answers to them) -> actions


@dataclass(frozen=True)
class Labelled:
    """`n` labelled observations, in the order they were told; episodes are numbered."""

    obs: Obs  # [n, *obs]
    answers: dict[str, Tensor]  # name -> [n, ...]
    episodes: np.ndarray  # [n]
    steps: int  # environment steps that took; every copy walks equally far, so a few more than n
    last: tuple[Any, np.ndarray]  # where the copies stand: their observations, and the numbers [N] of their episodes


def collect(
    env: LabelledEnv,
    obs: Any,
    labels: int,
    act: Act,
    answer: Callable[[LabelledEnv], Answers],
    numbers: np.ndarray | None = None,
) -> Labelled:
    """Ask for an answer at each observation until `labels` are told, and walk on by `act`, which may use the answer.

    `obs` and `numbers` are the copies' present observations and their episodes' numbers (fresh episodes by default).
    """
    seen: list[Any] = []
    answers: list[Answers] = []
    episodes = [np.arange(env.num_envs) if numbers is None else numbers]
    steps = -(-labels // env.num_envs)
    for _ in range(steps):
        seen.append(obs)
        answers.append(answer(env))
        obs, _, terminated, truncated, _ = env.step(act(obs, answers[-1]))
        ended = terminated | truncated
        fresh = episodes[-1].max() + np.cumsum(ended)
        episodes.append(np.where(ended, fresh, episodes[-1]))
    # Copy by copy, so that cutting to `labels` drops the end of the last copy and not a step of each.
    stacked = {name: _by_copy([a[name] for a in answers], labels) for name in answers[0]}
    if isinstance(obs, dict):
        views: Obs = {name: _by_copy([o[name] for o in seen], labels) for name in obs}
    else:
        views = _by_copy(seen, labels)
    numbered = _by_copy(episodes[:-1], labels).numpy()
    return Labelled(views, stacked, numbered, steps * env.num_envs, (obs, episodes[-1]))


def joined(parts: Sequence[Labelled]) -> Labelled:
    """All that was told, one part after the other."""
    obs: list[Any] = [part.obs for part in parts]
    several = isinstance(obs[0], dict)
    views = {name: torch.cat([one[name] for one in obs]) for name in obs[0]} if several else torch.cat(obs)
    answers = {name: torch.cat([part.answers[name] for part in parts]) for name in parts[0].answers}
    episodes = np.concatenate([part.episodes for part in parts])
    return Labelled(views, answers, episodes, sum(part.steps for part in parts), parts[-1].last)


def shuffled(data: Labelled, rng: np.random.Generator) -> Labelled:
    """Each observation with the answer to another: the negative control, with equal work and no signal."""
    order = torch.from_numpy(rng.permutation(len(data.episodes)))
    return replace(data, answers={name: told[order] for name, told in data.answers.items()})


def _by_copy(steps: list[np.ndarray], limit: int) -> Tensor:
    """list of [N, ...] -> [limit, ...], one copy after the other."""
    joined = np.swapaxes(np.stack(steps), 0, 1)
    return torch.as_tensor(joined.reshape(-1, *joined.shape[2:])[:limit].copy())


def split(
    episodes: np.ndarray, held_out: float, rng: np.random.Generator, kept: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """(training, held-out) indices; whole episodes are held out, or the last steps where there is only one.

    The episodes `kept` are the first to be held out; the others follow by chance.
    """
    names = rng.permutation(np.unique(episodes))
    names = np.concatenate([np.array(kept, names.dtype), names[~np.isin(names, kept)]])
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
    slow: nn.Module | None = None,
    share: float = 1.0,
) -> dict[str, float]:
    """Minimise `loss(indices)` by Adam; stop `patience` epochs after the best held-out loss and restore that epoch.

    The part `slow` of the module learns at `share` of the rate; what requires no gradient is fixed.
    """
    optimiser = Adam(_groups(module, lr, slow, share))
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
        with judging(module):
            judged = sum(loss(part).item() * len(part) for part in held_out.split(8192)) / len(held_out)
        if not math.isfinite(judged):
            raise NonFinite(
                f"the supervised loss became {judged} in epoch {epoch}", "a smaller lr of that part may help"
            )
        if judged < best:
            best, best_epoch, best_state = judged, epoch, copy.deepcopy(module.state_dict())
    module.load_state_dict(best_state)
    return {"train_loss": last, "held_out_loss": best, "epochs": float(epoch), "best_epoch": float(best_epoch)}


@contextmanager
def judging(module: nn.Module) -> Iterator[None]:
    """Without gradient, and on pictures as they are."""
    before = module.training
    module.eval()
    with torch.no_grad():
        yield
    module.train(before)


def _groups(module: nn.Module, lr: float, slow: nn.Module | None, share: float) -> list[dict[str, Any]]:
    """Adam's groups: what learns, without the part that learns more slowly, and that part."""
    own = [p for p in slow.parameters() if p.requires_grad] if slow is not None else []
    known = {id(p) for p in own}
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in known]
    return [{"params": rest, "lr": lr}, *([{"params": own, "lr": share * lr}] if own else [])]


def random_actions(space: spaces.Space, copies: int, rng: np.random.Generator) -> Act:
    space.seed(int(rng.integers(2**31)))
    return lambda _obs, _answers: np.stack([space.sample() for _ in range(copies)])


def take(obs: Obs, index: Tensor) -> Obs:
    """The observations at `index`."""
    return map_obs(lambda x: x[index], obs)
