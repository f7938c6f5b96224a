"""Values typed at the terminal: TOML, or else text."""

from __future__ import annotations

import pytest

from sandbox import values


@pytest.mark.parametrize(
    "value", ["[" * 900, "9" * 900, "{a=" * 200, "1979-05-27", "0x" + "f" * 900, "1\ny = 2", '"\\ud800"']
)
def test_strange_values_stay_text(value: str) -> None:
    assert values.read_value(value) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("3", 3),
        ("1e-4", 1e-4),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("a b", "a b"),
        ("1,2", "1,2"),
        ("None", "None"),
    ],
)
def test_a_value_is_toml_or_else_text(text: str, value: object) -> None:
    read = values.read_value(text)
    assert read == value
    assert type(read) is type(value)


def test_a_dotted_key_of_great_depth_does_not_hang() -> None:
    with pytest.raises(ValueError, match="dots"):
        values.parse_toml("a." * 100_000 + "a = 1")
