"""Values as text: what is typed at the terminal, read from TOML, written into names and shown in messages."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sandbox.errors import did_you_mean

DEEPEST = 1000  # dots on a line: tomllib takes time quadratic in the depth of a dotted key


def parse_toml(text: str) -> dict[str, Any]:
    """`tomllib.loads`, with its every failure a ValueError.

    Raises:
        ValueError: not TOML (with the line), or nested too deeply.
    """
    import tomllib

    if any(line.count(".") > DEEPEST for line in text.splitlines()):
        raise ValueError(f"a line with more than {DEEPEST} dots")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_value(text: str) -> Any:
    """A value typed at the terminal: TOML (true, 3, 1e-4, [1, 2], "text"), else the text itself."""
    try:
        table = parse_toml(f"x = {text}")
        return table["x"] if list(table) == ["x"] and is_plain(table["x"]) else text
    except (ValueError, RecursionError):
        return text


def is_plain(value: Any) -> bool:
    """Can JSON hold this value: no date, no integer beyond 64 bits, no half of a character?"""
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    if isinstance(value, str):
        return not re.search("[\ud800-\udfff]", value)
    return value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def write_value(value: Any) -> str:
    """The text that `read_value` reads as `value`, free of the characters that separate an agent's parts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_quoted(item) if isinstance(item, str) else write_value(item) for item in value) + "]"
    if isinstance(value, str):
        bare = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", value) and read_value(value) is value
        return value if bare else _quoted(value)
    return repr(value)


def _quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() or c in " _./-" else f"\\U{ord(c):08X}" for c in text) + '"'


def clip(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def show_key(key: str) -> str:
    """A key as it may stand in a message: quoted and shortened where it is not a plain word."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) else short(key)


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return clip(text if text.isprintable() else json.dumps(value, default=repr))


def choices(name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"{did_you_mean(clip(name), known)} Known: {', '.join(known) or 'none'}."


def quoted(path: str | Path) -> str:
    """As a shell takes it, in a command that is shown to be typed."""
    return shlex.quote(str(path))


def natural(text: str) -> tuple[list[tuple[int, float, str]], str]:
    """A sorting key under which the numbers in a text are in their order: 8, 16, and 1e-3, 0.01."""
    parts = re.findall(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(\D+)", text, re.ASCII)
    return [(0, float(number), "") if number else (1, 0.0, other) for number, other in parts], text
