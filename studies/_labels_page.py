"""The page of the labels study, from studies/results/labels.json: claims, crossings, and a table for each world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.analyses._format import escape, markdown_table
from sandbox.statistics import MIN_SEEDS
from studies._curiosity_page import claims, failures, interval, on_gpu, ranks
from studies._probed import MEASURES
from studies._two_by_two import ARMS, EFFECTS


def labels(result: dict[str, Any]) -> str:
    arms = result["arms"]
    done, planned = (sum(row) for row in zip(*((len(a["seeds"]), a["planned"]) for a in arms), strict=True))
    return (
        f"{done:,} of {planned:,} runs finished{failures(arms)}. Every arm of a world but `ppo+pca` and "
        "`ppo+true_state` has the same encoder and augmentation; all have one hidden layer on top "
        "and the same cap of steps, in which pre-training and the collection of "
        "labels count. Letters: [the arms](../using.md). Commits of the runs: "
        f"{', '.join(f'`{commit}`' for commit in result['commits']) or 'none'}.{on_gpu(result)}\n\n"
        f"## Crossings\n\n{_crossings(result['crossings'])}\n## Claims\n\n{claims(result['claims'], '_label_claims')}"
        "\nClaims 1 and 2 rest on [the published rows](msa.md), 5 on [JEPA's terms](jepa.md), both judged by "
        "`studies/_other_claims.py`.\n\n"
        f"## Data or objective\n\n{_two_by_two_table(result['two_by_two'])}\n"
        f"## Scores\n\n{_scores(arms)}\n## Learning curves\n\n{CURVES}\n## Ranks\n\n{ranks(result['ranks'])}\n"
        f"## Probes\n\n{_probes(arms, result['claims'][-1])}\n## Ranks of features\n\n{_diagnoses(arms)}"
    )


CURVES = """IQM over seeds of the evaluations during training. Pre-training and the collection of labels see no reward:
on the right a curve begins where they end.

![Score against environment steps and against reward evaluations](labels_curves.png)
"""


def _probes(arms: Sequence[dict[str, Any]], claim: dict[str, Any]) -> str:
    """Of each world what is read in each arm's features, and how far it orders the arms of claim 6 as scores do."""
    probed = [arm for arm in arms if arm["probes"]]
    worlds = list(dict.fromkeys(arm["world"] for arm in probed))
    return (
        "What a linear reader finds in the features of the final encoder (`sandbox probe`): macro-F1 of the oracle's "
        "action and of the reward, and the mean of macro-F1 and R2 over the labels; means over n seeds; last one run's "
        "controls, that is the most frequent class, the untrained encoder, principal components, and an encoder "
        "trained on 2,000 labelled frames. Runs made before runs were probed have none. In worlds of pixels the fits "
        "of runs before commit `d902a15` stopped short of their optimum: read again, F1 differed by up to .04.\n\n"
        + "\n".join(_probed(world, [arm for arm in probed if arm["world"] == world], claim) for world in worlds)
    )


def _probed(world: str, arms: Sequence[dict[str, Any]], claim: dict[str, Any]) -> str:
    names = [name for name in ("oracle", "reward", "state") if any(name in arm["probes"] for arm in arms)]
    rows = []
    for arm in sorted(arms, key=_order):
        values = [[value for value in arm["probes"].get(name, []) if value is not None] for name in names]
        means = [f"{sum(one) / len(one):.3f}" if one else "-" for one in values]
        rows.append([arm["letter"], arm["arm"], str(max(map(len, values))), *means, f"{arm['score']['iqm']:.2f}"])
    control = next((arm["controls"] for arm in arms if arm["controls"]), {})
    rows += [["", f"*{name}*", "", *(_told(read.get(one)) for one in names), ""] for name, read in control.items()]
    taus = claim["worlds"].get(world, {})
    order = ", ".join(f"{name} {value:.2f}" for name, value in taus.items())
    said = f"\nKendall's tau with the scores of claim 6's agents: {order}.\n" if order else ""
    return f"### {world}\n\n" + markdown_table(["", "arm", "n", *names, "score"], rows) + said


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _diagnoses(arms: Sequence[dict[str, Any]]) -> str:
    """Whether features have collapsed: means over the runs that were diagnosed."""
    rows = [
        [
            arm["world"],
            arm["letter"],
            arm["arm"],
            str(len(arm["diagnoses"])),
            *(_sides(arm["diagnoses"], name) for name in MEASURES),
            _verdicts(arm["diagnoses"]),
        ]
        for arm in sorted((a for a in arms if a["diagnoses"]), key=lambda arm: (arm["world"], *_order(arm)))
    ]
    if not rows:
        return "No run has been diagnosed.\n"
    return (
        "Directions that the features of the final encoder use (centred RankMe), that tell frames of other times apart "
        "(LiDAR), and their spread (`sandbox diagnose`): mean over n runs, and of the untrained encoder. Runs made "
        "before runs were diagnosed have none.\n\n"
        + markdown_table(["world", "", "arm", "n", "RankMe", "LiDAR", "std", "verdicts"], rows, text_columns=3)
    )


def _sides(of: Sequence[dict[str, Any]], name: str) -> str:
    def mean(side: int) -> str:
        values = [one[name][side] for one in of if one[name][side] is not None]
        return f"{sum(values) / len(values):.3g}" if values else "-"

    return f"{mean(0)} ({mean(1)})"


def _verdicts(of: Sequence[dict[str, Any]]) -> str:
    told = [one["verdict"] for one in of]
    return ", ".join(f"{told.count(name)} {name}" for name in dict.fromkeys(told))


def _two_by_two_table(lines: Sequence[dict[str, Any]]) -> str:
    """The cells of the 2 x 2 and what each factor does."""
    if not lines:
        return f"No world has {MIN_SEEDS} seeds of the four arms.\n"
    names = ["world", "n", *(f"{data}, {encoder}" for data, encoder in ARMS), *EFFECTS]
    rows = [
        [
            line["worlds"][0] if len(line["worlds"]) == 1 else f"all {len(line['worlds'])}", str(line["n"]),
            *(f"{cell:.2f}" for cell in line["cells"]),
            *(f"{line[e]['value']:+.2f} [{line[e]['low']:.2f}, {line[e]['high']:.2f}]" for e in EFFECTS),
        ]
        for line in lines
    ]  # fmt: skip
    return (
        "Four agents with a frozen encoder: curious or without a bonus (while the encoder learns and afterwards), the "
        "encoder taught by inverse dynamics or not at all. IQM of each; the effect of either factor is the mean over "
        "the other, the interaction what both give beyond their sum; 95 % intervals "
        "([how](../statistics.md#claims-of-the-studies)). Data gathered without a bonus come with a head that "
        "has none: what they do for the encoder alone is the claim *encoder's data*.\n\n" + markdown_table(names, rows)
    )


def _crossings(crossings: Sequence[dict[str, Any]]) -> str:
    """n* of each world, and the sentences that may be said."""
    found = [one for crossing in crossings for one in crossing["found"] if "n_star" in one]
    lines = [f"* {escape(line)}\n" for crossing in crossings for line in crossing["sentences"]]
    if not lines:
        return "No world has enough finished runs.\n"
    rows = [
        [one["env"], one["supervised"], one["letter"], str(one["n"]), f"{one['level']:.2f}", f"{one['rewards']:,.0f}",
         *_n_star(one)]
        for one in found
    ]  # fmt: skip
    names = ["world", "supervised", "self-taught", "n", "level", "rewards", "n*", "95 % interval"]
    return (
        "n*: the action labels at which a supervised arm reaches the level of a self-taught one, which has none. But "
        "the self-taught arms see the reward, which is information too: *rewards* counts how many times, of which the "
        "supervised arms see none.\n\n"
        + markdown_table(names, rows, text_columns=3) + "\n" + "".join(lines)
    )  # fmt: skip


def _n_star(one: dict[str, Any]) -> tuple[str, str]:
    """n* and its interval; beyond the ends of the grid of labels nothing is known."""
    if one["low"] is not None and one["low"] >= one["largest"]:
        return f"> {one['largest']:,.0f}", "above what was tried"
    low = f"{one['low']:,.0f}" if one["low"] is not None else f"< {one['smallest']:,.0f}"
    high = f"{one['high']:,.0f}" if one["high"] is not None else f"> {one['largest']:,.0f}"
    known = one["n_star"] is not None and (one["low"] is not None or one["high"] is not None)
    return f"{one['n_star']:,.0f}" if known else "-", f"{low} to {high}"


def _scores(arms: Sequence[dict[str, Any]]) -> str:
    worlds = list(dict.fromkeys(arm["world"] for arm in arms))
    return (
        "IQM over seeds with 95 % bootstrap interval; ledger and costs are means per run. Terminations and reward "
        "evaluations are information too.\n\n" + "\n".join(_world(world, arms) for world in worlds)
    )


def _world(world: str, arms: Sequence[dict[str, Any]]) -> str:
    rows = [arm for arm in arms if arm["world"] == world and arm["seeds"]]
    if not rows:
        return f"### {world}\n\nNot run.\n"
    names = ["", "arm", "n", rows[0]["metric"], "coverage", "actions", "states", "rewards", "ends", "steps", "CPU s"]
    return f"### {world}\n\n" + markdown_table(names, [_row(row) for row in sorted(rows, key=_order)])


def _coverage(row: dict[str, Any]) -> str:
    found = row["coverage"]
    if found is None:
        return "-"
    return f"{found['iqm']:.2f}" + (f" (n = {found['n']})" if found["n"] != len(row["seeds"]) else "")


def _order(row: dict[str, Any]) -> tuple[str, float]:
    return row["letter"], row["ledger"]["actions"]


def _row(row: dict[str, Any]) -> list[str]:
    ledger = [f"{row['ledger'][kind]:,.0f}" for kind in ("actions", "states", "rewards", "terminations")]
    return [
        row["letter"], row["arm"], str(len(row["seeds"])), interval(row["score"], len(row["seeds"])),
        _coverage(row),
        *ledger, f"{row['steps']:,.0f}", f"{row['cpu_seconds']:.0f}",
    ]  # fmt: skip
