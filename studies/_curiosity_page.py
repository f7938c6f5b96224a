"""The page of the curiosity study, from studies/results/curiosity.json: what helps where, claims and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sandbox.analyses._format import escape, markdown_table
from sandbox.statistics import MIN_SEEDS
from studies._beside_none import OUTCOMES


def curiosity(result: dict[str, Any]) -> str:
    arms = result["arms"]
    done, planned = (sum(row) for row in zip(*((len(a["seeds"]), a["planned"]) for a in arms), strict=True))
    return (
        f"{done:,} of {planned:,} runs finished{failures(arms)}. Every setting at its default but in DeepSea (that of "
        "[its own page](deep_sea.md)); equal steps within a world; the final policy with sampled actions on unseen "
        "levels. Which worlds, steps and arms: `studies/curiosity.toml`. `none`: no bonus; `counts` is episodic times "
        "lifelong, `counts:lifelong=false` and `counts:episodic=none` are one of the two; `counts:state=full` is told "
        "the true state (privileged), as the `oracle` is. ObstructedMaze-1Dlh stands for the larger 2Dlh, where of the "
        "bonuses that were tried all but `contacts` stayed at .02 or below. Commits of the runs: "
        f"{', '.join(f'`{commit}`' for commit in result['commits']) or 'none'}.{on_gpu(result)}\n\n"
        f"## What helps where\n\n{_beside_none(result['beside_none'])}\n"
        f"## Claims\n\n{claims(result['claims'], '_claims')}\n"
        f"## Scores\n\n{_scores(arms)}\n## Ranks\n\n{ranks(result['ranks'])}\n"
        f"## Coverage\n\n{_coverage(arms)}\n## Cost\n\n{_cost(arms)}"
    )


def on_gpu(result: dict[str, Any]) -> str:
    runs = result["on_gpu"]
    return f" {runs:,} of them were made elsewhere, with `--device cuda`." if runs else ""


def failures(arms: Sequence[dict[str, Any]]) -> str:
    """Of the runs whose folders are here; a run that failed elsewhere is not finished."""
    failed = sum(arm["failed"] for arm in arms)
    return f", {failed} failed" if failed else ""


def claims(judged: Sequence[dict[str, Any]], by: str) -> str:
    head = (
        f"Judged by `studies/{by}.py` from the scores alone: differences of IQMs, paired by seed, intervals "
        "(Student's t on a bootstrap's deviation, see [statistics](../statistics.md#claims-of-the-studies)) at "
        '1 - 0.05 / k for the k comparisons of a claim; "no better" means by at most 0.05; '
        "*n* is the least number of seeds.\n\n"
    )
    table = markdown_table(
        ["", "claim", "verdict", "n"], [(c["claim"], c["text"], c["verdict"], c["n"]) for c in judged]
    )
    lines = [f"* {claim['claim']}, {escape(line)}\n" for claim in judged for line in claim["lines"]]
    return head + table + "\n" + "".join(lines)


def _beside_none(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each world: the arms by how they stand to PPO without a bonus."""
    head = (
        "Every arm against `none`, PPO without a bonus, paired by seed, with intervals at 1 - 0.05 / k for the k arms "
        "of a world (`studies/_beside_none.py`). *No worse*: no evidence of a difference, and the interval ends less "
        "than .05 of the scale below, where `none` has so much to lose. Where nothing varies between seeds, five of "
        "them are too few for a verdict, even of 1 against 0. In brackets the IQM.\n\n"
    )
    return head + "".join(_world(row) for row in rows)


def _world(row: dict[str, Any]) -> str:
    def named(arms: Sequence[str]) -> str:
        return ", ".join(
            f"{arm} ({_number(row['iqm'][arm])})" for arm in sorted(arms, key=lambda arm: -row["iqm"][arm])
        )

    parts = [f"{outcome}: {named(row[outcome])}" for outcome in OUTCOMES if row[outcome]]
    none = _number(row["iqm"]["none"])
    return (
        f"* **{row['world']}** ({row['metric']}, at least {row['n']} seeds; none {none}). {escape('; '.join(parts))}.\n"
    )


def _number(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if 0 < value < 0.1 else f"{value:.2f}"


def interval(value: dict[str, Any] | None, planned: int | None = None) -> str:
    """With its number of seeds where that is not the planned one."""
    if value is None:
        return "-"
    ends = "" if value["low"] is None else f" [{value['low']:.2f}, {value['high']:.2f}]"
    seeds = "" if value["n"] == planned else f" (n = {value['n']})"
    return f"{value['iqm']:.2f}{ends}{seeds}"


def _by_arm(rows: Sequence[dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> str:
    """One row for each arm, one column for each world."""
    worlds, arms = (list(dict.fromkeys(row[key] for row in rows)) for key in ("world", "arm"))
    found = {(row["world"], row["arm"]): cell(row) for row in rows}
    lines = [[arm, *(found.get((world, arm), "") for world in worlds)] for arm in arms]
    return markdown_table(["arm", *worlds], lines)


def _scores(arms: Sequence[dict[str, Any]]) -> str:
    """A table for the worlds of each metric."""
    titles = {
        "success": "Success",
        "coverage": "No reward: coverage of an evaluation episode",
        "return": "Return",
        "solved": "DeepSea: share of runs that solved it before episode 2^N + 100, within 10,000",
    }
    parts = []
    for metric, title in titles.items():
        rows = [arm for arm in arms if arm["metric"] == metric]
        cell = _solved if metric == "solved" else lambda row: interval(row["score"], row["planned"])
        for some in _few_worlds(rows):
            parts.append(f"{title}:\n\n{_by_arm(some, cell)}\n")
    few = any(0 < len(arm["seeds"]) < MIN_SEEDS for arm in arms)
    note = f" Some arms have fewer than {MIN_SEEDS} seeds: of those no winner is named." if few else ""
    return f"IQM over seeds [95 % bootstrap interval]; n is told where seeds are missing.{note}\n\n" + "".join(parts)


def _solved(row: dict[str, Any]) -> str:
    return f"{sum(row['scores']):.0f} of {len(row['scores'])}" if row["scores"] else "-"


def _few_worlds(rows: Sequence[dict[str, Any]], most: int = 5) -> list[list[dict[str, Any]]]:
    """In tables that fit on a page."""
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    parts = [worlds[i : i + most] for i in range(0, len(worlds), most)]
    return [[row for row in rows if row["world"] in part] for part in parts]


def ranks(found: dict[str, Any]) -> str:
    if not found["arms"]:
        return f"No world has two arms with {MIN_SEEDS} seeds: no order is told.\n"
    worlds = [(w["world"], w["arms"], w["seeds"], f"{w['halves']:.2f}") for w in found["worlds"]]
    arms = [
        (a["arm"], a["worlds"], f"{a['place']:.2f} [{a['low']:.2f}, {a['high']:.2f}]", f"{a['keeps']:.2f}")
        for a in found["arms"]
    ]
    return (
        "Kendall's tau-b between the orders of the arms by two halves of the seeds, mean over 200 splits:\n\n"
        + markdown_table(["world", "arms", "seeds", "tau of halves"], worlds)
        + "\nPlace over the worlds in which all of these arms were run, 0 if an arm is always best and 1 if always "
        "last, with the 95 % interval of a bootstrap over seeds, and how often it keeps its position in these draws. "
        "Whoever stands higher is better only where the intervals and the claims say so:\n\n"
        + markdown_table(["arm", "worlds", "place", "keeps"], arms)
    )


def _coverage(arms: Sequence[dict[str, Any]]) -> str:
    rows = [arm for arm in arms if arm["coverage"]]
    tables = [
        _by_arm(some, lambda row: f"{row['coverage']['iqm']:.2f} / {_iqm(row, 'life')} / {_iqm(row, 'entropy')}")
        for some in _few_worlds(rows)
    ]
    return (
        "Share of cells that an evaluation episode visits / share of all cells that training visited, where all "
        "episodes have one level / entropy of all visits in training (IQM over those runs whose record has them; the "
        "oldest records are of scores alone). A cell is a place of the agent: not the whole true state, which "
        "things that move and doors belong to. Where every episode has a level of its own, entropy is of the visits of "
        "the map over all levels, and hardly tells arms apart:\n\n" + "\n".join(tables)
    )


def _iqm(row: dict[str, Any], name: str) -> str:
    return f"{row[name]['iqm']:.2f}" if row[name] else "-"


def _cost(arms: Sequence[dict[str, Any]]) -> str:
    """CPU time per step."""
    rows = [arm for arm in arms if arm["us"]]
    tables = [_by_arm(some, lambda row: f"{row['us']:.1f}") for some in _few_worlds(rows)]
    return (
        "CPU microseconds per environment step of a whole run, start-up and evaluations included, median over seeds. "
        "Runs were made on machines of unlike speed which other processes shared: do not read small differences; "
        "[benchmark](../benchmark.md) has the bonuses' costs measured beside each other.\n\n" + "\n".join(tables)
    )
