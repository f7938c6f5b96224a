"""Configuration: what one experiment is, what a study is, and how files and the command line say so.

TOML or JSON -> `--set key=value` -> frozen models in which every number has bounds and an unknown key is an error.
The models' dump is the experiment: written as JSON and read again it gives the same experiment.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sandbox.errors import UsageError
from sandbox.options import explain
from sandbox.registry import check_plugin, load_plugin
from sandbox.spec import AgentSpec, parse_agent, validate
from sandbox.values import is_plain, parse_toml, quoted, read_value, show_key

LARGEST_FILE = 1_000_000  # bytes

AgentName = Annotated[str, Field(min_length=1, max_length=1000)]
WorldId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.:/-]+$")]
Steps = Annotated[int, Field(ge=1, le=10**12)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Discount = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$")]
Rollouts = Annotated[int, Field(ge=1, le=10**9)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


class WorldSettings(_Frozen):
    """How a world is built. `kwargs` goes to its constructor; `levels` are for training, `eval_levels` held out."""

    kwargs: dict[str, bool | int | float | str] = {}
    copies: Annotated[int, Field(ge=1, le=65536)] | None = None  # None: 64 for a batched world, 8 otherwise
    levels: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    eval_levels: Annotated[int, Field(ge=1, le=1_000_000)] = 512


class World(WorldSettings):
    """A world by its Gymnasium id (`Name-v0`, `module:Name-v0`)."""

    id: WorldId


def _rising(points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    if any(b <= a for (a, _), (b, _) in itertools.pairwise(points)):
        raise ValueError("a schedule should have steps that rise")
    return points


# A number, or points (absolute environment step, value): linear between them, constant before and after.
Point = tuple[Annotated[int, Field(ge=0, le=10**12)], Weight]
Schedule = Weight | Annotated[tuple[Point, ...], Field(min_length=1, max_length=100), AfterValidator(_rising)]


class Learner(_Frozen):
    """PPO's settings, the same for every arm. The largest rates diverge: that is a result, not an error here."""

    n_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 128  # T of a rollout
    batch_size: Annotated[int, Field(ge=2, le=2**24)] | None = None  # None: an eighth of the rollout
    n_epochs: Annotated[int, Field(ge=1, le=1000)] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 2e-3
    gamma: Discount = 0.99
    gae_lambda: Discount = 0.95
    clip_range: Annotated[float, Field(gt=0, le=100)] = 0.2
    ent_coef: Annotated[float, Field(ge=0, le=1e3)] = 0.01
    anneal: Schedule = ((10_000_000, 1.0), (14_000_000, 0.25))  # share of learning_rate and ent_coef
    vf_coef: Annotated[float, Field(ge=0, le=1e3)] = 0.5
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    extrinsic_weight: Schedule = 1.0  # of the reward's advantage; 0: reward-free, nothing sees the reward
    intrinsic_weight: Schedule = 0.05  # of the bonus's advantage
    intrinsic_gamma: Discount = 0.99
    intrinsic_episodic: bool = True
    bfloat16: bool = False  # the update's large products in bfloat16, where the processor has it
    net_arch: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(max_length=16)] = ()


class Evaluation(_Frozen):
    """How often and on how many episodes an agent is evaluated."""

    episodes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None  # None: 100 for a batched world, 20 otherwise
    points: Annotated[int, Field(ge=1, le=10_000)] = 10
    deterministic: bool = False


class PluginRef(_Frozen):
    """A user's own part as the run used it: absolute path and SHA-256 (hex) of the file."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ExpertRef(_Frozen):
    """A run whose agent gives action labels, as it was used: absolute path, and SHA-256 (hex) of what it is: its
    configuration and its final checkpoint."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Experiment(_Frozen):
    """One agent in one world with one seed: all that decides a run's numbers."""

    agent: AgentName
    world: World
    steps: Steps  # of the environment, over all copies
    seed: Seed = 0
    learner: Learner = Learner()
    evaluation: Evaluation = Evaluation()
    checkpoint_rollouts: Rollouts | None = None  # a boundary re-seeds, so that this is part of the experiment
    device: Device = "cpu"
    plugins: tuple[PluginRef, ...] = ()
    expert: ExpertRef | None = None  # gives the action labels in place of the world's oracle


class Study(_Frozen):
    """Agents x worlds x seeds. `seeds`: how many (0, 1, ...), or which."""

    name: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "study"
    agents: Annotated[list[AgentName], Field(min_length=1)]
    envs: Annotated[list[WorldId], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Annotated[list[Seed], Field(min_length=1)] = 5
    steps: Steps
    jobs: Annotated[int, Field(ge=1, le=1024)] | None = None
    world: WorldSettings = WorldSettings()
    learner: Learner = Learner()
    evaluation: Evaluation = Evaluation()
    checkpoint_rollouts: Rollouts | None = None
    device: Device = "cpu"
    plugins: list[Annotated[str, Field(min_length=1, max_length=4096)]] = []
    expert: Annotated[str, Field(min_length=1, max_length=4096)] | None = None

    def experiments(self) -> list[Experiment]:
        """Every experiment once, by agent, then world, then seed, agents under their canonical names.

        Loads the plugins and imports parts that have options. An experiment names only the plugins that its agent
        uses, and an expert only where its labels are asked for, so that the other agents' runs stay what they are.

        Raises:
            UsageError: an agent or a plugin is not right.
        """
        plugins = {plugin.name: plugin for plugin in map(load_plugin, self.plugins)}
        agents = {str(spec): spec for spec in map(parse_agent, self.agents)}
        seeds = range(self.seeds) if isinstance(self.seeds, int) else dict.fromkeys(self.seeds)
        experts = self._experts(agents)
        return [
            Experiment(
                agent=agent,
                world=World(id=world, **self.world.model_dump()),
                steps=self.steps,
                seed=seed,
                learner=self.learner,
                evaluation=self.evaluation,
                checkpoint_rollouts=self.checkpoint_rollouts,
                device=self.device,
                plugins=tuple(
                    PluginRef(path=str(plugins[part.name].path), sha256=plugins[part.name].sha256)
                    for part in spec.elements
                    if part.name in plugins
                ),
                expert=experts.get(agent),
            )
            for agent, spec in agents.items()
            for world in dict.fromkeys(self.envs)
            for seed in seeds
        ]

    def _experts(self, agents: dict[str, AgentSpec]) -> dict[str, ExpertRef]:
        """The expert of every agent that takes action labels."""
        if self.expert is None:
            return {}
        from sandbox.expert import refer
        from sandbox.plan import asks

        found = refer(self.expert)
        told = [agent for agent, spec in agents.items() if asks(spec) == "oracle"]
        if not told:
            raise UsageError(f"no agent of the study takes action labels from the expert {self.expert}; leave it out")
        return dict.fromkeys(told, found)


Model = TypeVar("Model", Experiment, Study)


# ---------------------------------------------------------------------- from files and the command line


def load_experiment(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """An experiment from a TOML file or a saved `config.json`, changed by `overrides` ("learner.gamma=0.9").

    Raises:
        UsageError: unreadable, a study, unknown key, wrong type, out of bounds (one message, a line for each problem).
    """
    data = _read(Path(path))
    if {"agents", "envs"} & set(data):
        raise UsageError(f"{path} describes a study; `sandbox batch {quoted(path)}` runs it")
    return build(Experiment, override(data, overrides), str(path))


def load_study(path: str | Path, overrides: Iterable[str] = ()) -> Study:
    """A study from a TOML (or JSON) file, changed by `overrides`. Plugins and an expert in
    the file are relative to its folder.

    Raises:
        UsageError: as `load_experiment`.
    """
    data = _read(Path(path))
    if {"agent", "world"} <= set(data) and "agents" not in data:
        raise UsageError(
            f"{path} describes one experiment; `sandbox train --config {quoted(path)}` runs it "
            "(a study has agents and envs)"
        )
    if isinstance(data.get("plugins"), list):
        folder = Path(path).parent
        data["plugins"] = [str(folder / item) if isinstance(item, str) and item else item for item in data["plugins"]]
    if isinstance(data.get("expert"), str) and data["expert"]:
        data["expert"] = str(Path(path).parent / data["expert"])
    return build(Study, override(data, overrides), str(path))


def override(data: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of `data` with each `key.sub=value` set; a value is read as TOML, else as text.

    Raises:
        UsageError: not of this form, or a key below something that is no table.
    """
    out = dict(data)
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in keys):
            raise UsageError(f"--set {_clip(assignment)!r}: expected key=value, such as learner.gamma=0.9")
        table = out
        for depth, key in enumerate(keys[:-1], 1):
            below = table.get(key, {})
            if not isinstance(below, dict):
                place = _clip(".".join(keys[:depth]))
                raise UsageError(f"--set {_clip(assignment)!r}: {place} is a value, not a table")
            table[key] = dict(below)
            table = table[key]
        table[keys[-1]] = read_value(text.strip())
    return out


def build(model: type[Model], data: dict[str, Any], where: str) -> Model:
    """The model of `data`; `where` (a file, "the command line") begins every message.

    Raises:
        UsageError: unknown key, wrong type, out of bounds (one message, a line for each problem).
    """
    try:
        strange = _not_plain(data)
        if strange is not None:
            raise UsageError(f"{where}: {strange}: no setting is a date, a number beyond 64 bits, or not Unicode")
        return model.model_validate_json(json.dumps(data))
    except RecursionError as error:
        raise UsageError(f"{where}: nested too deeply") from error
    except ValidationError as error:
        problems: list[str] = explain(error, data, model)
        text = problems[0] if len(problems) == 1 else "\n  ".join(["", *problems])
        raise UsageError(f"{where}: {text}") from None


def _not_plain(data: dict[str, Any], prefix: str = "") -> str | None:
    """The dotted place of the first value that JSON cannot hold."""
    for key, value in data.items():
        place = prefix + show_key(key)
        if isinstance(value, dict) and is_plain(key):
            found = _not_plain(value, f"{place}.")
            if found is not None:
                return found
        elif not is_plain(value) or not is_plain(key):
            return place
    return None


def _read(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        return _parse_json(text) if path.suffix == ".json" else parse_toml(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise UsageError(f"{path}: not valid {kind}: {_clip(str(error), 300)}") from error


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            raise UsageError(f"{path}: " + ("not a regular file" if path.exists() else "no such file"))
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise UsageError(f"{path}: larger than {LARGEST_FILE:,} bytes; this is no configuration")
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise UsageError(f"{path}: not UTF-8 ({found}); save it as such") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _parse_json(text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, value in pairs:
            if key in table:
                raise ValueError(f"the key {key!r} is given twice")
            table[key] = value
        return table

    data = json.loads(text, object_pairs_hook=unique)
    if not isinstance(data, dict):
        raise ValueError(f"expected a table of settings, got {type(data).__name__}")
    return data


def _clip(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


# ---------------------------------------------------------------------- to files and names


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """The whole experiment, defaults written out, as JSON has it; `load_experiment` of it is the same experiment.

    Without an expert there is no such key: runs from before there were experts stay what they are.
    """
    return experiment.model_dump(mode="json", exclude={"expert"} if experiment.expert is None else None)


def agent_of(experiment: Experiment) -> AgentSpec:
    """The experiment's agent, checked, with its plugins loaded.

    Raises:
        UsageError: the agent or a plugin is not right.
        CorruptFile: a plugin changed since the experiment was made.
    """
    for plugin in experiment.plugins:
        check_plugin(plugin.path, plugin.sha256)
        load_plugin(plugin.path)
    return validate(parse_agent(experiment.agent))


def digest(experiment: Experiment) -> str:
    """8 hex digits of everything but the seed: equal for two spellings of one agent, another for other steps.

    A plugin or an expert counts by its content, not by its place. Loads plugins and imports parts that have options.

    Raises:
        UsageError, CorruptFile: as `agent_of`.
    """
    data = to_dict(experiment) | {"agent": str(agent_of(experiment))}
    data["plugins"] = sorted(plugin["sha256"] for plugin in data["plugins"])
    if experiment.expert is not None:
        data["expert"] = experiment.expert.sha256
    del data["seed"]
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
