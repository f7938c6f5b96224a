"""A constructor's signature is the schema of its options, and what is wrong with given ones is said line by line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from sandbox.values import clip, short, show_key

if TYPE_CHECKING:  # what help and lists do not need is imported where it is used
    from pydantic import BaseModel, ValidationError


def schema(cls: type) -> type[BaseModel]:
    """A pydantic model of the keyword-only arguments of a part's constructor: its options, bounds and defaults.

    Feed it through `model_validate_json`: there a whole number passes for a float, and nothing else is converted.

    Raises:
        TypeError: an argument without annotation or default, or `**kwargs` (an error in the part, not of its user).
    """
    from pydantic import ConfigDict, create_model

    init: Any = cls.__init__  # type: ignore[misc]
    fields: dict[str, Any] = {}
    if init is not object.__init__:
        hints = get_type_hints(init, include_extras=True)
        for parameter in inspect.signature(init).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                raise TypeError(f"{cls.__qualname__}: **{parameter.name} hides the part's options; write them out")
            if parameter.kind is parameter.KEYWORD_ONLY:
                fields[parameter.name] = _field(cls, parameter, hints)
    config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        frozen=True,
        arbitrary_types_allowed=False,
        protected_namespaces=(),
    )
    return create_model(cls.__name__, __config__=config, **fields)


def _field(cls: type, parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, Any]:
    where = f"{cls.__qualname__}: the option {parameter.name!r}"
    if parameter.name not in hints:
        raise TypeError(f"{where} has no annotation")
    if parameter.default is parameter.empty:
        raise TypeError(f"{where} has no default")
    if parameter.name.startswith("_"):
        raise TypeError(f"{where} begins with an underscore")
    return hints[parameter.name], parameter.default


def explain(error: ValidationError, data: Any, model: type[BaseModel], most: int = 20) -> list[str]:
    """What is wrong with `data`, a line for each dotted place: what was given and what is expected."""
    given: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_context=False):
        place, value = _place(item["loc"], data, missing=item["type"] == "missing")
        if item["type"] == "extra_forbidden":
            text = "unknown key." + _known_keys(place, model)
        elif item["type"] == "missing":
            text = "missing"
        elif item["type"] == "json_invalid":  # what `is_plain` accepts fails here only by its depth
            text = "nested too deeply"
        else:
            text = _expected(item["type"], item["msg"])
            given[_dotted(place)] = value
        problems.setdefault(_dotted(place), []).append(text)
    lines = [_problem(place, texts, given) for place, texts in problems.items()]
    return lines[:most] + ([f"... and {len(lines) - most} more"] if len(lines) > most else [])


def _expected(kind: str, message: str) -> str:
    """What goes on after "should"."""
    if kind == "bool_type":
        return "be true or false"  # as TOML has it: what was given may be Python's True
    return message.partition(" should ")[2] or message.removeprefix("Value error, ")


def _problem(place: str, texts: list[str], given: dict[str, Any]) -> str:
    if place not in given:
        return f"{place}: {texts[0]}"
    first, *others = dict.fromkeys(texts)  # the branches of a union, each once
    expected = " or ".join([first, *(text.removeprefix("be ") for text in others)])
    return f"{place}: is {short(given[place])}, should {expected}"


def _place(loc: Sequence[int | str], data: Any, missing: bool) -> tuple[list[int | str], Any]:
    """The steps of `loc` that exist in `data` (pydantic adds the branches of a union), and the value there."""
    place: list[int | str] = []
    for step in loc:
        if (isinstance(data, dict) and step in data) or (isinstance(data, list) and step in range(len(data))):
            place.append(step)
            data = data[step]  # type: ignore[index]
    return [*place, loc[-1]] if missing else place, data


def _dotted(place: Sequence[int | str]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{show_key(step)}" for step in place)
    return "".join(steps).removeprefix(".") or "the whole"


def _known_keys(place: Sequence[int | str], model: type[BaseModel]) -> str:
    key, here = str(place[-1]), model
    for step in place[:-1]:
        here = here if isinstance(step, int) else _submodel(here.model_fields[step].annotation) or here
    elsewhere = {path.rpartition(".")[2]: path for path in _paths(model)}
    near = [] if key in elsewhere else get_close_matches(clip(key), here.model_fields)
    near = [_dotted([*place[:-1], name]) for name in near]
    near = near or [elsewhere[leaf] for leaf in get_close_matches(clip(key), elsewhere, n=1)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{hint} Known here: {', '.join(here.model_fields) or 'no key'}."


def _paths(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, info in model.model_fields.items():
        yield prefix + name
        if below := _submodel(info.annotation):
            yield from _paths(below, f"{prefix}{name}.")


def _submodel(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    from pydantic import BaseModel

    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
