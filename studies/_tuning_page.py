"""The page of the tuning study: what each arm's default gives away, on seeds kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.analyses._format import markdown_table


def tuning(result: dict[str, Any]) -> str:
    rows = result["rows"]
    worlds = list(dict.fromkeys(row["env"] for row in rows))
    groups = [(world, arm, of) for world in worlds for arm in _arms(rows) if (of := _of(rows, world, arm))]
    lines = [line for group in groups for line in _lines(*group)]
    seeds = max(row["runs"] for row in rows)
    return (
        f"Each kind of arm of the [labels study](labels.md) had three trials, of the setting that matters to it most, "
        f"on {seeds} seeds that no study reports (`studies/tuning.toml`). Mean success over seeds; with so few it "
        "tells a default that is far off, and no order of settings. Nothing was chosen by it.\n\n"
        + markdown_table(["world", "arm", "tried", "success", "CPU s"], lines, text_columns=3)
        + "".join(f"\n* {_gap(*group)}" for group in groups) + "\n"
    )  # fmt: skip


def _arms(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["arm"] for row in rows))


def _of(rows: Sequence[dict[str, Any]], world: str, arm: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["env"], row["arm"]) == (world, arm) and row["success"]]


def _lines(world: str, arm: str, of: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        [world, arm, row["tried"] or "default", f"{row['success']['mean']:.2f}", f"{row['cpu_seconds']:.1f}"]
        for row in of
    ]


def _gap(world: str, arm: str, of: Sequence[dict[str, Any]]) -> str:
    """How much the best trial is above the default."""
    default = next(row["success"]["mean"] for row in of if row["tried"] is None)
    best = max(of, key=lambda row: row["success"]["mean"])
    if best["success"]["mean"] <= default:
        return f"{arm} on {world}: no trial was above the default."
    return f"{arm} on {world}: {best['tried']} was above the default by {best['success']['mean'] - default:.2f}."
