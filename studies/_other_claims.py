"""Claims of the labels study that rest on other studies: the published rows (`msa.py`), JEPA's terms (`jepa.py`).

Judged from the result files: 1 by each row's difference from the published scores (intervals at 1 - 0.05 / 7), 2 by the
signs of two differences, 5 by the share of runs that collapse without a term (Wilson's interval at 1 - 0.05 / k for k
settings).
"""

from __future__ import annotations

import json
from typing import Any

from studies import msa
from studies._claims import share

ROWS = ("random", "true x-y", "end to end", "inverse 3k", "markov 3k", "autoencoder 3k", "autoencoder 30k")
ENOUGH = 100  # seeds of a row that the issue of the published table is settled with
COLLAPSING = ("without inverse", "without variance")


def msa_claims(result: dict[str, Any]) -> list[dict[str, Any]]:
    rows = {row["row"]: row for row in result["rows"] if "verdict" in row}
    there = [row | {"verdict": _beside_published(row["row"], result)} for name in ROWS if (row := rows.get(name))]
    few = [row for row in there if row["seeds"] < ENOUGH]
    apart = [f"{row['row']} {row['verdict']} ({row['seeds']} seeds)" for row in there if row["verdict"] != "inside"]
    complete = len(there) == len(ROWS) and not few
    first = {
        "claim": "1",
        "text": "The published scores of the Markov-state-abstraction gridworld (Allen et al. 2021) come out again.",
        "verdict": ("refuted" if apart else "held") if complete
        else f"not run ({len(there) - len(few)} of {len(ROWS)} rows with {ENOUGH} seeds)",
        "n": min((row["seeds"] for row in there), default=0),
        "lines": apart or [f"of {len(there)} rows none differs from the published one"],
    }  # fmt: skip
    return [first, _mean_against_iqm(result["mean_against_iqm"])]


def _beside_published(name: str, result: dict[str, Any]) -> str:
    """ "inside", or how the mean differs, at a level for all rows together."""
    published = json.loads(msa.PUBLISHED.read_text("utf-8"))["rows"][name]
    ours = [x for run in result["runs"] if run["row"] == name for x in run["mean"]]
    return msa.verdict(msa.apart(ours, published, "mean", level=1 - 0.05 / len(ROWS)))


def _mean_against_iqm(found: dict[str, Any]) -> dict[str, Any]:
    ours = found["ours"]
    sure = ours is not None and all(ours[name]["low"] > 0 or ours[name]["high"] < 0 for name in ("mean", "iqm"))
    agree = ours is not None and (ours["mean"]["value"] > 0) == (ours["iqm"]["value"] > 0)
    return {
        "claim": "2",
        "text": "By mean and by IQM the autoencoder (30k) and end-to-end learning are ordered differently.",
        "verdict": "not run" if ours is None else ("refuted" if agree else "held") if sure else "no evidence",
        "n": min(ours["seeds"]) if ours else 0,
        "lines": [f"ours: {ours['text']}; published: {found['published']['text']}"] if ours else [],
    }


def jepa_claim(result: dict[str, Any]) -> dict[str, Any]:
    lines = [line for line in result["lines"] if line["variant"].endswith(COLLAPSING)]
    ends = [
        share([1.0] * line["collapsed"] + [0.0] * (line["of"] - line["collapsed"]), 1 - 0.05 / len(lines))
        for line in lines
    ]
    held, refuted = all(low > 0.5 for low, _ in ends), any(high < 0.5 for _, high in ends)
    return {
        "claim": "5",
        "text": "JEPA's features collapse in most runs without its inverse term, and without its variance term.",
        "verdict": "held" if held else "refuted" if refuted else "no evidence",
        "n": min((line["of"] for line in lines), default=0),
        "lines": [
            f"{line['variant']}: {line['collapsed']} of {line['of']} collapsed [{low:.2f}, {high:.2f}]; {line['text']}"
            for line, (low, high) in zip(lines, ends, strict=True)
        ],
    }
