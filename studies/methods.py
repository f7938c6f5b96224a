"""Write the sections of docs/methods.md on each bonus and each objective from docstrings and constructors.

python -m studies.methods

A bonus's cost is taken from benchmarks/results/curiosity.json and its results from studies/results/curiosity.json, once
these files exist.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from sandbox import registry
from sandbox.options import schema

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "methods.md"
RESULTS = ROOT / "studies" / "results" / "curiosity.json"
TESTS = ROOT / "tests" / "agents"
COSTS = ROOT / "benchmarks" / "results" / "curiosity.json"
MADE = "Made from the docstrings and constructors by `python -m studies.methods`."
SECTIONS = {"## Each bonus\n": "curiosity", "## Each objective\n": "objectives"}


def page(text: str) -> str:
    """The page with its sections made anew; what stands between them stays."""
    for heading, kind in SECTIONS.items():
        before, found, rest = text.partition(heading)
        _, following, after = rest.partition("\n## ")
        if not found or not following:
            raise ValueError(f"the page has no section {heading.strip()!r} with another one behind it")
        made = section(read(COSTS), read(RESULTS)) if kind == "curiosity" else objectives()
        text = before + heading + "\n" + made + following + after
    return text


def objectives() -> str:
    """Every objective by name."""
    return "\n".join([f"{MADE}\n", *(part("objectives", name, []) for name in registry.names("objectives"))])


def read(path: Path) -> dict[str, Any]:
    """What was measured; empty before that."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def section(measured: dict[str, Any], studied: dict[str, Any]) -> str:
    """Every bonus by name, with its cost from {"command", "rows": [{"bonus", "ours", "peer"}]} and its scores from
    {"arms": [row of the study]}."""
    head = MADE
    if measured:
        head += f" Costs are CPU microseconds per environment step, by `{measured['command']}`."
    if studied:
        head += (
            f" Results are IQMs over seeds with 95 % intervals, by `{studied['command']}`: success; coverage where no "
        )
        head += "reward is seen; solved or not (1 or 0) in DeepSea; CartPole's return."
    costs, names = {row["bonus"]: row for row in measured.get("rows", [])}, registry.names("curiosity")
    scores = {name: [arm for arm in studied.get("arms", []) if arm["arm"] == name and arm["score"]] for name in names}
    return "\n".join([head + "\n", *(bonus(name, costs.get(name), scores[name]) for name in names)])


def bonus(name: str, row: dict[str, Any] | None, scores: list[dict[str, Any]]) -> str:
    """With its cost and its results, where there are any."""
    return part("curiosity", name, ([cost(row)] if row else []) + ([results(scores)] if scores else []))


def part(kind: str, name: str, facts: list[str]) -> str:
    """Idea, formula, source and differences; its tests and other facts; options with their defaults and meaning."""
    cls = registry.load(kind, name)
    parts = [f"### {name}", *map(paragraph, inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "").split("\n\n"))]
    return "\n\n".join([*parts, " ".join([proof(name), *facts]), options(cls), meanings(cls)]) + "\n"


def proof(name: str) -> str:
    """Where the formula is held against a slow reference, and how many tests there are of the part alone."""
    text = (TESTS / f"test_{name}.py").read_text("utf-8")
    return f"Proof: `tests/agents/test_{name}.py`, {len(re.findall(r'^def test_', text, re.M))} tests."


def paragraph(text: str) -> str:
    """Formulas, which begin with the name of what they define, as they stand; prose is Markdown already."""
    return f"```\n{text}\n```" if re.match(r"\w+ = ", text) else text


def cost(row: dict[str, Any]) -> str:
    own, peer = row["ours"], row["peer"]
    beside = f"; RLeXplore's {peer['sum']:.2f}" if peer else ""
    return f"Cost: {own['sum']:.2f} (reward {own['reward']:.2f}, update {own['update']:.2f}){beside}."


def results(scores: list[dict[str, Any]]) -> str:
    """Of each world the score with its interval and number of seeds."""

    def told(arm: dict[str, Any]) -> str:
        score = arm["score"]
        ends = "" if score["low"] is None else f" [{score['low']:.2f}, {score['high']:.2f}]"
        return f"{arm['world']} {score['iqm']:.2f}{ends} (n = {score['n']})"

    return f"[Results](results/curiosity.md): {'; '.join(map(told, scores))}."


def options(cls: type) -> str:
    """Each with its default, as it is written in an agent's name."""
    defaults = {name: field.default for name, field in schema(cls).model_fields.items()}
    pairs = [f"`{key}={'None' if value is None else json.dumps(value)}`" for key, value in defaults.items()]
    return textwrap.fill(f"Options: {', '.join(pairs)}.", 120, break_on_hyphens=False)


def meanings(cls: type) -> str:
    """The "Args" of the class's docstring as a list."""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.cleandoc(cls.__doc__ or ""), re.M | re.S)
    items = re.findall(r"^    (\w[\w, ]*): (.*?)(?=^    \w|\Z)", found[1], re.M | re.S) if found else []
    lines = [f"* `{names.replace(', ', '`, `')}`: {' '.join(text.split())}" for names, text in items]
    return "\n".join(lines).replace("see `Objective`", "see above")


def main() -> None:
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
