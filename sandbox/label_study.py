"""The study behind `sandbox labels`: what is told, at every power of two of labels, beside what is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from envs import vector
from sandbox import preflight
from sandbox.analyses.crossing import MIN_COUNTS
from sandbox.config import Study, build, override
from sandbox.errors import UsageError
from sandbox.plan import asks, sees_true_state
from sandbox.registry import load_plugin
from sandbox.spec import AgentSpec, Part, parse_agent


def label_study(
    env: str,
    supervised: Sequence[str],
    self_taught: Sequence[str],
    least: int,
    most: int,
    seeds: int,
    steps: int,
    sets: Sequence[str],
    plugins: Sequence[Path] = (),
    expert: Path | None = None,
    level: float | None = None,
) -> Study:
    """random, oracle, the self-taught arms, and the supervised ones at every power of two between `least` and `most`.

    The oracle is left out where the world offers none. A self-taught arm with a supervised part learns from labels in
    the end: it is taken at each of these too.

    Raises:
        UsageError: fewer than three powers of two, a supervised arm that is told nothing, an arm that is not right, or
            neither a `level` nor an arm without labels that is to be reached, or nothing in the world to compare by.
    """
    counts = [2**k for k in range(1, 24) if least <= 2**k <= most]
    if len(counts) < MIN_COUNTS:
        raise UsageError(
            f"--min-labels {least} --max-labels {most}: a curve needs {MIN_COUNTS} powers of two between these, "
            f"and there are {len(counts)}; e.g. --min-labels 32 --max-labels 8192"
        )
    for path in plugins:
        load_plugin(path)  # before an agent's name is read: its parts may be there
    for agent in supervised:
        if not _is_told(parse_agent(agent)):
            raise UsageError(f"--supervised {agent}: no part of it is told labels; see `sandbox list supervised`")
    if level is None and not any(_is_untold(parse_agent(agent)) for agent in self_taught):
        raise UsageError("nothing is to be reached: name a --self-taught arm that is told no labels, or give --level")
    arms = [name for agent in [*self_taught, *supervised] for name in with_labels(parse_agent(agent), counts)]
    agents = ["random", "oracle", *dict.fromkeys(arms)]
    data: dict[str, Any] = {"name": "labels", "agents": agents, "envs": [env], "seeds": seeds, "steps": steps}
    data |= {"plugins": [str(path) for path in plugins]} | ({"expert": str(expert)} if expert is not None else {})
    made = build(Study, override(data, sets), "the command line")
    if _offers_oracle(env, made.world.kwargs):
        return made
    return made.model_copy(update={"agents": [agent for agent in made.agents if agent != "oracle"]})


def _offers_oracle(env: str, kwargs: dict[str, Any]) -> bool:
    """Without one the arms are compared by success; refuse at once, and not after all runs, where there is none."""
    if vector.offers_oracle(env, preflight.check_environment(env, kwargs)):
        return True
    if not preflight.tells_success(env, kwargs):
        raise UsageError(
            f"{env!r} offers neither an oracle, which the score needs, nor info['is_success']: there is nothing to "
            "compare by; `sandbox compare` shows the returns"
        )
    return False


def with_labels(spec: AgentSpec, counts: Iterable[int]) -> list[str]:
    """The agent's names with each number of labels; its own name alone where no part is told any."""
    if not _is_told(spec):
        return [str(spec)]
    return [str(AgentSpec(_told(spec.base, n), tuple(_told(part, n) for part in spec.parts))) for n in counts]


def _is_told(spec: AgentSpec) -> bool:
    return asks(spec) != "nothing"


def _is_untold(spec: AgentSpec) -> bool:
    """Can its level be reached by what is told labels?"""
    return not _is_told(spec) and not sees_true_state(spec)


def _told(part: Part, n: int) -> Part:
    return replace(part, options=part.options | {"labels": n}) if part.kind == "supervised" else part
