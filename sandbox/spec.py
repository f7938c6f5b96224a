"""An agent by its name: a base and parts, `base+part:key=value,key=value+part`.

Several bonuses add up (`ppo+rnd+e3b`); a dot multiplies them (`ppo+e3b.rnd`), and an option of a product names its
factor (`e3b.rnd:e3b.ridge=0.2`). The canonical name has the parts in a fixed order, options sorted, and no option that
equals its default, so that two spellings of one agent share one name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.errors import UsageError
from sandbox.options import explain, schema
from sandbox.registry import NAME, all_names, kind_of, load
from sandbox.values import choices, read_value, short, write_value

PART_ORDER = ("encoders", "curiosity", "supervised", "objectives")  # of an agent's name, after its base
BESIDE_A_LEARNER = ("pca", "state")  # supervised parts that only see; the others act, alone or before a learner goes on
LONGEST_AGENT = 1000  # characters


@dataclass(frozen=True)
class Part:
    """One part of an agent: `options` as written, or, after `validate`, as the constructor takes them.

    A product of bonuses is one part: its name joins its factors' names by dots, its options' keys begin with them.
    """

    kind: str
    name: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def factors(self) -> tuple[Part, ...]:
        """The parts that are multiplied; one that is no product is its own only factor."""
        if "." not in self.name:
            return (self,)
        options: dict[str, dict[str, Any]] = {name: {} for name in self.name.split(".")}
        for key, value in self.options.items():
            name, _, own = key.partition(".")
            options[name][own] = value
        return tuple(Part(self.kind, name, own) for name, own in options.items())


@dataclass(frozen=True)
class AgentSpec:
    """An agent by its parts, in canonical order. `str` is its canonical name (see `canonical`)."""

    base: Part
    parts: tuple[Part, ...] = ()

    def __str__(self) -> str:
        return canonical(self)

    def get(self, kind: str) -> Part | None:
        """The part of this kind beside the base, if there is one (the first of several bonuses)."""
        return next(iter(self.all(kind)), None)

    def all(self, kind: str) -> tuple[Part, ...]:
        """The parts of this kind beside the base: several only of `curiosity`, which add up."""
        return tuple(part for part in self.parts if part.kind == kind)

    @property
    def supervised(self) -> Part | None:
        """The part that is told labels: the base, or one beside a learner."""
        return self.base if self.base.kind == "supervised" else self.get("supervised")

    @property
    def hands_over(self) -> bool:
        """Does a policy that learned from labels go on as a learner (`ppo+bc`)?"""
        part = self.get("supervised")
        return part is not None and part.name not in BESIDE_A_LEARNER

    @property
    def elements(self) -> tuple[Part, ...]:
        """The base and every part, products taken apart."""
        return tuple(factor for part in (self.base, *self.parts) for factor in part.factors)


def parse_agent(text: str) -> AgentSpec:
    """`base+part:key=value,key=value` -> its parts. Names are checked, options are not (that imports: `validate`).

    Raises:
        UsageError: not of this form, an unknown part, or parts that do not go together.
    """
    if not 0 < len(text) <= LONGEST_AGENT or not text.isprintable():
        raise UsageError(f"agent {short(text)}: expected 1 to {LONGEST_AGENT} printable characters")
    try:
        return _compose([_parse_part(part) for part in re.split(r"\+(?=[a-z_])", text)])
    except UsageError as error:
        raise UsageError(f"agent {short(text)}: {error}") from None


def validate(spec: AgentSpec) -> AgentSpec:
    """The same agent with its options checked, as their constructors take them, and without those at their default.

    Imports the parts that have options. Settings of a learner are no options: they are shared by all agents.

    Raises:
        UsageError: an unknown option, or a value of the wrong type or out of bounds.
    """
    return AgentSpec(_validated(spec.base), tuple(_validated(part) for part in spec.parts if not _implied(spec, part)))


def _implied(spec: AgentSpec, part: Part) -> bool:
    """Is it the only encoder that the supervised part can fit, as it is by default?"""
    other = spec.supervised
    if part.kind != "encoders" or part.options or other is None:
        return False
    return getattr(load("supervised", other.name), "only_encoder", None) == part.name


def canonical(spec: AgentSpec) -> str:
    """The agent's one name: base, then encoder, curiosity, supervised, objective; options sorted, defaults dropped.

    Raises:
        UsageError: as `validate`.
    """
    valid = validate(spec)
    return "+".join(_written(part) for part in (valid.base, *valid.parts))


def _parse_part(text: str) -> Part:
    written, colon, rest = text.partition(":")
    names = written.split(".")
    for name in names:
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{short(name)} is no part's name (lower-case letters, digits, _)." + choices(name, all_names())
            )
    kinds = [kind_of(name) for name in names]
    if len(names) > 1:
        _check_product(written, names, kinds)
    if colon and not rest:
        raise UsageError(f"{written}: an option is missing after the colon (key=value)")
    options = _parse_options(written, rest, names) if colon else {}
    return Part(kinds[0], ".".join(sorted(names)), dict(sorted(options.items())))


def _check_product(written: str, names: list[str], kinds: list[str]) -> None:
    wrong = [name for name, kind in zip(names, kinds, strict=True) if kind != "curiosity"]
    if wrong:
        raise UsageError(f"{written}: a dot multiplies bonuses, and {', '.join(wrong)} is none")
    if len(set(names)) < len(names):
        raise UsageError(f"{written}: a factor is named twice")


def _parse_options(written: str, text: str, names: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for item in re.split(r",(?=[a-z_][a-z0-9_.]*=)", text):
        key, equals, value = item.partition("=")
        factor, dot, own = key.rpartition(".")
        if not equals or not NAME.fullmatch(own):
            raise UsageError(f"{written}: {short(item)} is not of the form key=value")
        if len(names) > 1 and factor not in names:
            raise UsageError(
                f"{written}: an option of a product names its factor, such as {names[0]}.{own}=...; got {short(key)}"
            )
        if len(names) == 1 and dot:
            raise UsageError(f"{written}: {short(item)} is not of the form key=value")
        if key in options:
            raise UsageError(f"{written}: the option {key} is given twice")
        options[key] = _option(value)
    return options


def _option(text: str) -> Any:
    """The option's value; a table has no place in a name and stays text."""
    value = read_value(text)
    return text if isinstance(value, dict) or (isinstance(value, list) and "{" in text) else value


def _bases(parts: list[Part]) -> list[Part]:
    """A learner or a reference; where none is named, a supervised part that can act."""
    named = [part for part in parts if part.kind in ("learners", "reference")]
    return named or [part for part in parts if part.kind == "supervised" and part.name not in BESIDE_A_LEARNER]


def _compose(parts: list[Part]) -> AgentSpec:
    if len(parts) == 1 and parts[0].name in BESIDE_A_LEARNER:
        return AgentSpec(Part("learners", "ppo"), tuple(parts))
    bases = _bases(parts)
    rest = sorted((part for part in parts if part not in bases), key=_place)
    if len(bases) != 1:
        found = " and ".join(part.name for part in bases) or "none"
        raise UsageError(f"an agent has exactly one base, such as ppo, bc, random or oracle; found: {found}")
    _check_beside(bases[0], rest)
    for kind in PART_ORDER:
        same = [part.name for part in rest if part.kind == kind]
        if len(same) > 1 and kind == "curiosity":
            if len(set(same)) < len(same):
                raise UsageError(f"a bonus is named twice: {', '.join(same)}")
        elif len(same) > 1:
            raise UsageError(f"an agent has at most one part of {kind}; found: {', '.join(same)}")
    return AgentSpec(bases[0], tuple(rest))


def _place(part: Part) -> tuple[int, str]:
    """Bonuses by name, as a sum does not depend on the order."""
    return PART_ORDER.index(part.kind), part.name if part.kind == "curiosity" else ""


def _check_beside(base: Part, parts: list[Part]) -> None:
    allowed = {"learners": PART_ORDER, "supervised": ("encoders", "curiosity", "objectives")}.get(base.kind, ())
    wrong = [part.name for part in parts if part.kind not in allowed]
    if wrong:
        rule = f"takes a part of {', '.join(allowed)} only" if allowed else "takes no other part"
        raise UsageError(f"{base.name} does not go together with {', '.join(wrong)}: it {rule}")
    kinds = {part.kind for part in parts}
    if base.kind == "supervised" and "curiosity" in kinds and "objectives" not in kinds:
        bonus = next(part.name for part in parts if part.kind == "curiosity")
        raise UsageError(
            f"{bonus} beside {base.name} says where an objective's experience comes from, and there is no objective; "
            f"name one ({base.name}+{bonus}+inverse:mode=frozen)"
        )
    if {"supervised", "objectives"} <= kinds:
        names = " and ".join(part.name for part in parts if part.kind in ("supervised", "objectives"))
        raise UsageError(
            f"{names} do not go together beside {base.name}: each would make the encoder its own "
            "(an objective may stand beside bc alone: bc+inverse:mode=frozen)"
        )


def _validated(part: Part) -> Part:
    if not part.options:
        return part
    if part.kind == "learners":
        raise UsageError(f"{part.name} takes no options in an agent's name: its settings are shared, under `learner`")
    if part.factors == (part,):
        return replace(part, options=_valid_options(part))
    options = {f"{factor.name}.{key}": v for factor in part.factors for key, v in _valid_options(factor).items()}
    return replace(part, options=dict(sorted(options.items())))


def _valid_options(part: Part) -> dict[str, Any]:
    """Checked, sorted, and without those at their default."""
    from pydantic import ValidationError

    model = schema(load(part.kind, part.name))
    try:
        valid = model.model_validate_json(json.dumps(part.options))
    except ValidationError as error:
        lines = explain(error, part.options, model)
        raise UsageError("\n".join(f"{part.name}:{line}" for line in lines)) from None
    return dict(sorted(valid.model_dump(exclude_defaults=True).items()))


def _written(part: Part) -> str:
    options = ",".join(f"{key}={write_value(value)}" for key, value in part.options.items())
    return f"{part.name}:{options}" if options else part.name
