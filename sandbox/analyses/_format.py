"""How rows become text: Markdown, CSV, JSON, short numbers. Names come from users, so they are made harmless."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

SUMMARY = ("iqm", "mean", "low", "high")
COLUMNS = (
    ("env",), ("agent",), ("runs",), ("failed",), ("unfinished",), ("steps",),
    *((metric, part) for metric in ("success", "return", "score") for part in (*SUMMARY, "median")),
    *(("labels", kind) for kind in ("actions", "states", "rewards", "terminations")),
    ("cpu_seconds",), ("seconds",), ("joules", "value"), ("joules", "source"), ("levels",), ("privileged",), ("seeds",),
    ("notes",),
)  # fmt: skip


def plain(text: object) -> str:
    """One printable line: control characters (a terminal would obey them) become "?"."""
    return "".join(char if char.isprintable() else "?" for char in str(text))


def escape(text: object) -> str:
    """Text that Markdown shows as it is, also inside a table's cell."""
    return re.sub(r"([\\`*_<>|&]|\](?=[(\[:]))", r"\\\1", plain(text))


def count(x: float | None) -> str:
    """A number of things, at most five characters: 0.02, 950, 1.5k, 500k."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if x is not None and x >= size * 0.9995:
            return f"{x / size:.3g}{unit}"
    return "-" if x is None else f"{x:.{2 if x < 1 else 3}g}"


def decimal(x: float) -> str:
    """Two decimals below a hundred, none above: 0.98, -1.50, 1234."""
    return f"{round(x, 2) + 0.0:.2f}" if abs(x) < 100 else f"{x:.0f}"  # + 0.0: not "-0.00"


def bracket(summary: dict[str, Any] | None) -> str:
    """'IQM [low, high]', the IQM alone where there is no interval, '-' where there is nothing."""
    if summary is None:
        return "-"
    if summary["low"] is None:
        return decimal(summary["iqm"])
    return f"{decimal(summary['iqm'])} [{decimal(summary['low'])}, {decimal(summary['high'])}]"


def joules(cost: dict[str, Any] | None) -> str:
    """The number never without the word that says where it comes from: '91 est.', '350 RAPL', 'mixed'."""
    if cost is None:
        return "-"
    word = cost["source"].split()[0].rstrip(":")
    if cost["value"] is None:
        return word
    return f"{count(cost['value'])} {'est.' if word == 'estimated' else 'RAPL'}"


def runs(row: dict[str, Any]) -> str:
    """'10', or '8/10' where two of ten failed or are not finished."""
    planned = row["runs"] + row["failed"] + row["unfinished"]
    return str(planned) if row["runs"] == planned else f"{row['runs']}/{planned}"


def notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What must be read with the rows, each with its arm; the world is named where there are several."""
    several = len({row["env"] for row in rows}) > 1
    return [f"{row['env']}, " * several + f"{row['agent']}: {row['notes']}" for row in rows if row["notes"]]


def markdown_notes(rows: Sequence[dict[str, Any]]) -> str:
    """The notes below a table, a paragraph each."""
    return "".join(f"\n{escape(note)}.\n" for note in notes(rows))


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[object]], text_columns: int = 2) -> str:
    """A table with the first `text_columns` columns to the left, the others to the right; every cell is escaped."""
    rule = ["---" if i < text_columns else "---:" for i in range(len(header))]
    cells = [[escape(cell) for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [list(header), rule, *cells])


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """One line per row, nested keys joined by "_"; empty where a number is missing; lists joined by spaces."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["_".join(path) for path in COLUMNS])
    writer.writerows([_cell(row, path) for path in COLUMNS] for row in rows)
    return out.getvalue()


def to_json(study: str, rows: Sequence[dict[str, Any]], claims: Sequence[dict[str, Any]]) -> str:
    """{"schema", "study", "rows", "claims"}, indented; raises ValueError for a number that JSON does not know."""
    content = {"schema": 1, "study": study, "rows": list(rows), "claims": list(claims)}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _cell(row: dict[str, Any], path: tuple[str, ...]) -> object:
    value: Any = row["median"][path[0]] if path[-1] == "median" else row
    for key in () if path[-1] == "median" else path:
        value = None if value is None else value[key]
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value
