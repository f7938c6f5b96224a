"""A part's constructor is the schema of its options."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from sandbox.options import schema


class Sample:
    def __init__(
        self,
        context: object,
        *,
        rate: Annotated[float, Field(gt=0)] = 0.5,
        count: int = 3,
        on: bool = False,
        mode: Literal["a", "b"] = "a",
        widths: tuple[int, ...] = (1,),
        limit: int | None = None,
    ) -> None: ...


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rate": 1},
        {"rate": 2.5, "count": 0},
        {"mode": "b"},
        {"widths": []},
        {"limit": 2},
        {"on": True},
    ],
)
def test_schema_takes_what_the_signature_says(options: dict[str, Any]) -> None:
    model = schema(Sample).model_validate_json(json.dumps(options))
    expected = {"rate": 0.5, "count": 3, "on": False, "mode": "a", "widths": (1,), "limit": None} | options
    assert model.model_dump() == expected | {"widths": tuple(expected["widths"])}
    assert isinstance(model.model_dump()["rate"], float)


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0}, {"rate": "1"}, {"rate": True}, {"rate": float("inf")}, {"rate": float("nan")}, {"count": True},
        {"count": 1.0}, {"count": "3"}, {"on": 1}, {"on": "true"}, {"mode": "c"}, {"widths": ["1"]}, {"context": 1},
        {"x": 1},
    ],
)  # fmt: skip
def test_schema_converts_nothing_and_knows_no_other_key(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        schema(Sample).model_validate_json(json.dumps(options))


def test_schema_of_a_class_without_constructor_has_no_option() -> None:
    class Plain: ...

    assert schema(Plain).model_fields == {}


def test_schema_is_inherited_with_the_constructor() -> None:
    class Child(Sample): ...

    assert list(schema(Child).model_fields) == list(schema(Sample).model_fields)


def _bad_parts() -> list[tuple[type, str]]:
    class NoDefault:
        def __init__(self, *, k: int) -> None: ...

    class NoAnnotation:
        def __init__(self, *, k=1) -> None: ...  # type: ignore[no-untyped-def]

    class Hides:
        def __init__(self, **others: int) -> None: ...

    class Underscore:
        def __init__(self, *, _k: int = 1) -> None: ...

    return [
        (NoDefault, "'k' has no default"),
        (NoAnnotation, "'k' has no annotation"),
        (Hides, "others"),
        (Underscore, "'_k'"),
    ]


@pytest.mark.parametrize(("cls", "message"), _bad_parts())
def test_a_part_that_hides_its_options_is_a_programming_error(cls: type, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        schema(cls)
