"""What a probe asks: a world's common frames, split by episode, and the variables of them that vary enough to be read.

Classes must have a normalised entropy of at least 0.6, else the majority is nearly always right (AtariARI, Anand et al.
2019, whose code takes 0.6 nats, however many classes there are). Split and removal of frames: `_walk.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from agents.rollout import Obs
from sandbox._readout import Parts
from sandbox._walk import Split, Walk, split, split_columns, walk
from sandbox.config import Experiment
from sandbox.errors import UsageError

LEAST_ENTROPY = 0.6  # of classes, in units of that of equally many of each
LEAST_REWARDS = 5  # frames with, and without, a reward in each part


@dataclass(frozen=True)
class Variable:
    """What is read: a column of a label, the reward or the oracle's action."""

    name: str
    label: str  # to which it belongs: x and y to `position`
    values: Tensor  # [M] of the walk's flat frames: int64 classes, or floats

    @property
    def discrete(self) -> bool:
        return not self.values.is_floating_point()


@dataclass(frozen=True)
class ProbeSet:
    """A world's common frames and what is asked of them."""

    walked: Walk
    parts: Split
    variables: list[Variable]
    dropped: dict[str, str]  # variable -> why
    spaces: tuple[spaces.Space, spaces.Space]

    def of(self, values: Tensor) -> Parts:
        """[M, ...] of all frames -> its parts."""
        return Parts(*(values[index] for index in (self.parts.train, self.parts.validation, self.parts.test)))

    def frames(self) -> tuple[Obs, Obs, Obs]:
        """The observations of each part."""
        return tuple(self.walked.frames(index) for index in (self.parts.train, self.parts.validation, self.parts.test))  # type: ignore[return-value]


def probe_set(experiment: Experiment) -> ProbeSet:
    """The common frames of the experiment's world.

    Raises:
        UsageError: it offers no labels, no oracle, or nothing that varies enough to be read.
    """
    env_id = experiment.world.id
    walked, of = walk(experiment.world)
    for what, mend, there in (
        ("labels", "labels() -> dict of name -> number or array", walked.labels),
        ("oracle", "oracle() -> action", walked.oracle is not None),
    ):
        if not there:
            raise UsageError(
                f"a probe needs the true state and the right action, and {env_id!r} offers no {what}; a world of your "
                f"own does by a method {mend}. `sandbox diagnose` needs neither"
            )
    parts = split(walked)
    if not all(len(part) for part in (parts.train, parts.validation, parts.test)):
        raise UsageError(f"{env_id!r} shows fewer different frames than a probe can split; probe a larger world")
    every = torch.cat([parts.train, parts.validation, parts.test])
    variables = _variables(walked, of[1])
    reasons = {v.name: _unfit(v, parts, every) for v in variables}
    kept = [v for v in variables if reasons[v.name] is None]
    dropped = {name: why for name, why in reasons.items() if why is not None}
    if not kept:
        raise UsageError(
            f"nothing in {env_id!r} varies enough to be probed: " + "; ".join(f"{n}: {w}" for n, w in dropped.items())
        )
    return ProbeSet(walked, parts, kept, dropped, of)


def _variables(walked: Walk, actions: spaces.Space) -> list[Variable]:
    found = []
    assert walked.oracle is not None
    told = {**walked.labels, "oracle": walked.oracle}
    for label, values in told.items():
        for name, column in split_columns(label, values):
            found.append(Variable(name, label, column.double() if column.is_floating_point() else column.long()))
    found.append(Variable("reward", "reward", (walked.rewards.flatten() != 0).long()))
    return found


def _unfit(variable: Variable, parts: Split, every: Tensor) -> str | None:
    """Why a variable is not probed; None if it is."""
    values = variable.values[every]
    if variable.name == "reward":
        least = min(int((variable.values[part] == one).sum()) for part in (parts.train, parts.test) for one in (0, 1))
        few = f"{least} frames of one kind in a part, at least {LEAST_REWARDS} are needed"
        return few if least < LEAST_REWARDS else None
    if not variable.discrete:
        return "constant" if bool((values == values[0]).all()) else None
    entropy = normalised_entropy(values)
    return f"normalised entropy {entropy:.2f} is below {LEAST_ENTROPY}" if entropy < LEAST_ENTROPY else None


def normalised_entropy(values: Tensor) -> float:
    """Entropy of the classes that occur, divided by that of equally many of each; 0 for one class."""
    counts = values.unique(return_counts=True)[1].double()
    p = counts / counts.sum()
    return float(-(p * p.log()).sum() / math.log(len(p))) if len(p) > 1 else 0.0
