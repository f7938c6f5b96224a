"""The representation of a running agent: is it collapsing, and what does it look like?

At the evaluation points the measures of `agents/collapse.py` are taken of the last rollout's frames, at most 2048 of
them, and of the same frames under the encoder's first weights; a collapse raises an alarm. At the end of a run the
features of common frames (`_walk.py`) go to TensorBoard's projector, with the world's labels to colour them by.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from agents import collapse
from agents.learners.ppo import PPO
from agents.rollout import Obs, Rollout, flatten_obs, map_obs
from sandbox import _encoders
from sandbox._walk import split_columns, walk
from sandbox.config import World

FRAMES = 2048
POINTS = 2000  # of the projector


class Watch:
    """Measures a learner's encoder against what it was when the watch began (which must be before it learns).

    Args:
        warn: takes one line of text, once, when the representation has collapsed.
    """

    def __init__(self, model: PPO, warn: Callable[[str], object]) -> None:
        self.untrained: nn.Module = copy.deepcopy(model.policy.features_extractor)
        self.warn, self.warned = warn, False

    def __call__(self, model: PPO) -> dict[str, float]:
        """Scalars of the last rollout, names without their prefix; none before the first rollout."""
        if model.rollout is None:
            return {}
        obs, done = excerpt(model.rollout)
        z = _encoders.features(model.policy.features_extractor, flatten_obs(obs))
        trained = collapse.measures(z.unflatten(0, done.shape), done)
        untrained = collapse.spread(_encoders.features(self.untrained, flatten_obs(obs)))
        collapsed = collapse.verdict(trained, untrained) == "collapsed"
        if collapsed and not self.warned:
            self.warned = True
            self.warn(self._alarm(model, collapse.shares(trained, untrained)))
        return {**trained, **collapse.shares(trained, untrained), "alarm": float(collapsed)}

    @staticmethod
    def _alarm(model: PPO, shares: dict[str, float]) -> str:
        return (
            f"warning: the representation has collapsed by step {model.num_timesteps:,}: of the untrained encoder's "
            f"rank {shares['rank_share']:.0%} are left, of its spread {shares['std_share']:.0%}. See representation/ "
            "in TensorBoard; try a smaller weight of the objective, or another one"
        )


def excerpt(rollout: Rollout) -> tuple[Obs, Tensor]:
    """Whole histories of some copies, evenly chosen: frames [T', N', *obs] and `done` [T', N'], T' N' <= 2048."""
    steps, copies = rollout.shape
    steps = min(steps, FRAMES)
    kept = min(copies, FRAMES // steps)
    chosen = torch.arange(kept) * copies // kept
    return map_obs(lambda x: x[:steps, chosen.to(x.device)], rollout.obs), rollout.done[
        :steps, chosen.to(rollout.done.device)
    ]


def points(encoder: nn.Module, world: World) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features [2000, D] of common frames, and columns [2000] to colour them by: episode, reward, labels, oracle."""
    walked, _ = walk(world, frames=POINTS)
    told = {**walked.labels} | ({} if walked.oracle is None else {"oracle": walked.oracle})
    columns = {"episode": walked.episodes.flatten(), "reward": walked.rewards.flatten()}
    for name, values in told.items():
        columns |= dict(split_columns(name, values))
    z = _encoders.features(encoder, flatten_obs(walked.obs))
    return z.numpy(), {name: column.double().numpy() for name, column in columns.items()}
