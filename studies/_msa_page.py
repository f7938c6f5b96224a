"""docs/results/msa.md from studies/results/msa.json."""

from __future__ import annotations

from typing import Any

from sandbox.analyses._format import markdown_table

SETTING = (
    "A seed's score is its mean return over the 100 episodes of training (-1 a step, 0 for the step that reaches the "
    "goal, at most 1,000 steps; double DQN on a 2-D representation; gamma .9), n the number of seeds. Ours beside the "
    "authors' own score files (300 seeds), the same statistic of both: mean and IQM over seeds with 95 % bootstrap "
    "intervals. *Inside*: the interval of the difference of the means holds zero; with few seeds that says little, and "
    "of {compared} rows one in twenty would fall out by chance. *Failed*: the last ten episodes average below -20."
)
BLUR = (
    "The authors' blur also runs over time in the representation's data (each picture holds a sixth of the brightness "
    "of the one before and of the one after; the agent's pictures do not), and so it does here, but for the rows *each "
    "picture by itself*, which were not published. The representations train on 10,000 random steps without reward, "
    "which the other rows do not get and the score does not count."
)


def bracket(value: dict[str, Any]) -> str:
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def claim(title: str, found: dict[str, Any] | None) -> str:
    if found is None:
        return f"* {title}: not run.\n"
    n = " and ".join(map(str, found["seeds"]))
    return f"* {title} ({n} seeds): mean {bracket(found['mean'])}, IQM {bracket(found['iqm'])}: {found['text']}.\n"


def msa(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        theirs = [bracket(row[f"published_{name}"]) if "verdict" in row else "-" for name in ("mean", "iqm")]
        rows.append((
            row["row"], row["seeds"], bracket(row["mean"]), theirs[0], row.get("verdict", "-"), bracket(row["iqm"]),
            theirs[1], f"{row['failed']:.0%}", f"{row['cpu_seconds_a_seed']:.1f}",
        ))  # fmt: skip
    names = ["row", "n", "mean", "published", "verdict", "IQM", "published", "failed", "CPU s a seed"]
    both = result["mean_against_iqm"]
    return (
        SETTING.format(compared=sum("verdict" in row for row in result["rows"]))
        + f"\n\n{markdown_table(names, rows, text_columns=1)}\n{BLUR}\n\n"
        + "Autoencoder (30k) less end to end, by both statistics:\n\n"
        + claim("ours", both["ours"])
        + claim("published", both["published"])
        + f"\nCommits of the runs: {', '.join(f'`{commit[:12]}`' for commit in result['commits'])}.\n"
    )
