"""Linear probes: how much of a world's true state a reader finds in the features that a run has learned.

For each label a linear reader is fitted to frozen features on one common set of frames (`_walk.py`) and scored on
episodes that it has not seen: R2 for numbers, macro-F1 for classes (`_readout.py`). Two more variables are what control
needs: `reward` (does the reward of this step differ from zero? read from the features of s_t and the action) and
`oracle` (which action does the oracle take in s_t?). Zhang et al. 2022 ("Light-weight probing of unsupervised
representations for reinforcement learning") find these two to rank encoders as their return does (their reward reader
is not told the action).

A score says nothing alone, so the controls stand beside it: `majority` (the most frequent class, the mean), `untrained`
(the run's encoder with its first weights), `pca` (as many principal components of the flattened observation, one-hot
for MiniGrid's symbols as the encoder reads them) and `supervised` (the same encoder trained on 2000 labelled frames of
its own, `agents/supervised/state.py`). As in AtariARI (Anand et al. 2019) scores are averaged inside a label first (x
and y of a position), then over labels; its F1 weighs classes by their frequency. `reward` and `oracle` stay apart. What
is asked is in `_probe_set.py`.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents import randomness
from agents.context import Context
from agents.encoders.linear import one_hot
from agents.objectives._actions import Actions
from agents.supervised.state import StateSupervision
from envs import vector
from sandbox import _encoders, _readout, terminal
from sandbox._probe_set import ProbeSet, Variable, probe_set
from sandbox._readout import Parts
from sandbox._walk import SEED
from sandbox.config import Experiment, to_dict
from sandbox.files import write_json
from sandbox.plan import Plan, encoder_of, plan
from sandbox.runs import Run
from sandbox.study import read_run

SUPERVISED_LABELS, SUPERVISED_EPOCHS = 2000, 30

Scores = dict[str, float]  # variable -> R2 or macro-F1


# ---------------------------------------------------------------------- the command


def show(paths: Sequence[Path], output: str) -> None:
    """Probe the runs, write each one's probe.json, and print a row for each run and each control.

    Of several runs those whose agent has no encoder are left out, with a note.

    Raises:
        SandboxError: a path is no run, no run has an encoder, one has no checkpoint, a world offers no labels or no
            oracle.
    """
    from sandbox.worker import translate

    begun = time.perf_counter()
    pairs = [read_run(path) for path in paths]
    try:
        with redirect_stdout(sys.stderr):
            found = probe(_with_encoder(pairs))
    except Exception as error:
        raise translate(error) from error
    for run, result in found:
        write_json(run.path / "probe.json", result)
    for line in dict.fromkeys(line for _, result in found for line in _remarks(result)):
        terminal.note(line)
    rows = _rows(found)
    if output == "json":
        print(json.dumps([{"run": str(run.path), **result} for run, result in found], indent=2))
    else:
        from sandbox.listing import to_csv, to_text

        cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
        print(to_csv(cells).rstrip() if output == "csv" else to_text(cells))
    terminal.note(f"probed in {time.perf_counter() - begun:.1f} s; details: probe.json in each folder")


def _with_encoder(pairs: Sequence[tuple[Run, Experiment]]) -> list[tuple[Run, Experiment]]:
    """All, if none has one: then the first is refused with its reason."""
    reasons = [_encoders.lacks(plan(experiment)) for _, experiment in pairs]
    if all(reasons):
        return list(pairs)
    for reason in dict.fromkeys(filter(None, reasons)):
        terminal.note(f"left out: {reason}")
    return [pair for pair, reason in zip(pairs, reasons, strict=True) if not reason]


def probe(pairs: Sequence[tuple[Run, Experiment]]) -> list[tuple[Run, dict[str, Any]]]:
    """The result of each run, controls included; what several runs share is made once."""
    torch.set_num_threads(1)
    sets: dict[str, ProbeSet] = {}
    controls: dict[str, dict[str, Any]] = {}
    found = []
    for run, experiment in pairs:
        plan_ = plan(experiment)
        world = json.dumps(to_dict(experiment)["world"], sort_keys=True)
        if world not in sets:
            sets[world] = probe_set(experiment)
        data = sets[world]
        encoder = _encoders.trained(run, plan_, data.spaces, terminal.note)
        key = f"{world} {encoder_of(plan_)}"
        if key not in controls:
            controls[key] = _controls(plan_, data)
        found.append((run, _result(experiment, data, _scored(data, _features(encoder, data)), controls[key])))
    return found


# ---------------------------------------------------------------------- features


def _features(encoder: Any, data: ProbeSet) -> Parts:
    return Parts(*(_encoders.features(encoder, obs) for obs in data.frames()))


def _controls(plan_: Plan, data: ProbeSet) -> dict[str, Any]:
    """Scores of what every encoder of this architecture is read against."""
    first = _encoders.untrained(plan_, data.spaces)
    told = _supervised(plan_, data)
    flat = Parts(*(one_hot(obs, data.spaces[0]) for obs in data.frames()))
    return {
        "majority": _majority(data),
        "untrained": _scored(data, _features(first, data)),
        "pca": _scored(data, _readout.pca(flat, first.features_dim)),
        "supervised": _scored(data, _features(told, data)),
    }


def _supervised(plan_: Plan, data: ProbeSet) -> Any:
    """The run's architecture trained on labelled frames of training levels, never on the probe's."""
    world = plan_.experiment.world
    pools: dict[str, Any] = {"levels": world.levels, "eval_levels": world.eval_levels, **world.kwargs}
    opened = []

    def make_env(copies: int) -> tuple[Any, Any]:
        env = vector.make(world.id, copies, **pools)
        opened.append(env)
        return vector.told(env), vector.reset(env, np.random.SeedSequence([SEED, 1]))

    part = StateSupervision(
        Context(*data.spaces, 1, functools.partial(_encoders.untrained, plan_, data.spaces)),
        labels=SUPERVISED_LABELS,
        max_epochs=SUPERVISED_EPOCHS,
    )
    try:
        with randomness.kept():
            torch.manual_seed(SEED)
            part.fit(make_env, SEED)
    finally:
        for env in opened:
            env.close()
    return part.encoder


# ---------------------------------------------------------------------- scores


def _scored(data: ProbeSet, x: Parts) -> Scores:
    """R2 or macro-F1 of every variable, read from the features x."""
    numbers = [v for v in data.variables if not v.discrete]
    classes = [v for v in data.variables if v.discrete and v.name != "reward"]
    rewards = [v for v in data.variables if v.name == "reward"]
    scores: Scores = {}
    if numbers:
        scores |= _named(numbers, _readout.ridge_r2(x, _stacked(data, numbers)))
    if classes:
        scores |= _named(classes, _readout.logistic_f1(x, _stacked(data, classes)))
    if rewards:
        action = data.of(Actions(data.spaces[1]).vector(data.walked.actions.flatten(0, 1)))
        both = Parts(*(torch.cat(pair, 1) for pair in zip(_listed(x), _listed(action), strict=True)))
        scores |= _named(rewards, _readout.logistic_f1(both, _stacked(data, rewards)))
    return {v.name: scores[v.name] for v in data.variables}


def _majority(data: ProbeSet) -> Scores:
    numbers = [v for v in data.variables if not v.discrete]
    classes = [v for v in data.variables if v.discrete]
    scores = _named(numbers, _readout.mean_r2(_stacked(data, numbers))) if numbers else {}
    return scores | (_named(classes, _readout.majority_f1(_stacked(data, classes))) if classes else {})


def _named(variables: list[Variable], scores: list[float]) -> Scores:
    """Scores by the variables' names."""
    return {v.name: score for v, score in zip(variables, scores, strict=True)}


def _stacked(data: ProbeSet, variables: list[Variable]) -> Parts:
    return data.of(torch.stack([v.values for v in variables], 1))


def _listed(parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
    return parts.train, parts.validation, parts.test


# ---------------------------------------------------------------------- results


def _result(experiment: Experiment, data: ProbeSet, scores: Scores, controls: dict[str, Scores]) -> dict[str, Any]:
    sizes = {"train": len(data.parts.train), "validation": len(data.parts.validation), "test": len(data.parts.test)}
    return {
        "schema": 1,
        "agent": experiment.agent,
        "env": experiment.world.id,
        "seed": experiment.seed,
        "frames": {**sizes, "split_by": data.parts.by, "policy": data.walked.policy},
        "metrics": {v.name: "macro_f1" if v.discrete else "r2" for v in data.variables},
        "dropped": data.dropped,
        "reward_from": "features of s_t and the action",
        "scores": {"run": _summary(data, scores)} | {name: _summary(data, one) for name, one in controls.items()},
    }


def _summary(data: ProbeSet, scores: Scores) -> dict[str, Any]:
    """Means over the columns of a label, and over labels of one metric."""
    labels: dict[str, list[float]] = {}
    for v in data.variables:
        labels.setdefault(v.label, []).append(scores[v.name])
    means = {label: float(np.mean(values)) for label, values in labels.items()}
    asked = {v.label: v.discrete for v in data.variables if v.label not in ("reward", "oracle")}
    f1 = [means[label] for label, discrete in asked.items() if discrete]
    numbers = [means[label] for label, discrete in asked.items() if not discrete]
    return {
        "f1": float(np.mean(f1)) if f1 else None,
        "r2": float(np.mean(numbers)) if numbers else None,
        "labels": means,
        "variables": scores,
    }


def _remarks(result: dict[str, Any]) -> list[str]:
    """What a reader of the table must know."""
    env, frames = result["env"], result["frames"]
    lines = [f"{env}: {name} is left out: {why}" for name, why in result["dropped"].items()]
    if frames["split_by"] == "frame":
        few = f"{frames['train']} distinct frames to learn from, {frames['test']} to test on"
        lines.append(f"{env}: too few frames are new in another episode, so frames are split and not episodes: {few}")
    return lines


def _rows(found: list[tuple[Run, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each run, then one for each control of each world and architecture."""
    rows, controls = [], []
    for _, result in found:
        for who, scores in result["scores"].items():
            named = {"features": result["agent"] if who == "run" else who, "env": result["env"]}
            named["seed"] = result["seed"] if who == "run" else None
            row = {**named, "f1": scores["f1"], "r2": scores["r2"], **scores["labels"]}
            if who == "run":
                rows.append(row)
            elif row not in controls:
                controls.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows + controls]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
