"""The page of the study of the latent world model's terms, from studies/results/jepa.json."""

from __future__ import annotations

from typing import Any

from sandbox.analyses._format import escape, markdown_table
from studies._curiosity_page import interval

MEASURES = ("position", "goal", "distractor", "share")


def jepa(result: dict[str, Any]) -> str:
    n, made = len(result["runs"]), result["settings"]
    rows = [[row["variant"], *(interval(row[m] | {"n": n}, n) for m in MEASURES)] for row in result["rows"]]
    lines = [
        f"* {escape(line['text'])}; collapsed in {line['collapsed']} of {line['of']}\n" for line in result["lines"]
    ]
    return (
        f"`jepa` with {made['features']} features on {made['steps']:,} random steps of PixelGoal (6 x 6 cells, a pixel "
        f"each), {made['updates']} updates, {n} seeds, IQM with 95 % bootstrap interval. Macro-F1 of a linear reader "
        "on unseen episodes: of the agent's place (actions move it), the goal's (it stands still in an episode), and "
        "the distractor's (it moves by itself). *Share*: what is left of the untrained encoder's spread; below 0.1 "
        "counts as collapsed.\n\nPublished, for planning in two rooms: 97 % with all terms, 1 % without the inverse "
        "model, 47 % without variance, 46 % without covariance (Terver et al. 2026); similarity weighs 12 there, 0.75 "
        "in PLDM.\n\n"
        + markdown_table(["features", *MEASURES], rows)
        + "\nEach term against all terms, intervals at 1 - 0.05 / 6:\n\n"
        + "".join(lines)
    )
