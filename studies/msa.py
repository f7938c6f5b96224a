"""The Markov-state-abstraction gridworld: are the published rows ours too, and do mean and IQM disagree?

Allen et al. 2021, "Learning Markov state abstractions for deep reinforcement learning", the visual gridworld, with
the protocol of the authors' code. A seed is a goal in `MarkovGrid`, a representation (where it is learned: 20,000 free
random steps of which 10,000 train it) and a double-DQN head on it for 100 episodes; its score is the mean return of the
100. The published scores are the same mean of each of 300 seeds, from the authors' files (studies/msa_published.json),
and both get the same statistic. Many seeds are one tensor program (`_msa_nets`).

    make study-msa                     goes on where the file of results ends
    python -m studies.msa --rounds 2   the first seeds of every row only
    python -m studies.msa --rows "autoencoder 30k"

A round is a chunk of seeds of each row, those without a representation first. The rows of 30,000 updates cost one to
two CPU minutes a seed: those that hardly vary get 20 seeds, the other 100.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from studies import _run

EPISODES, LAST, FAILED = 100, 10, -20.0
PUBLISHED = Path(__file__).parent / "msa_published.json"


@dataclass(frozen=True)
class Row:
    """A line of the table: what the learner sees, how many seeds, and how many of them are one program."""

    name: str
    view: str  # random, end to end, state, or the objective of a frozen phi
    updates: int = 0
    chunk: int = 50
    seeds: int = 100
    over_time: bool = True  # see `_msa_phi`


ROWS = (
    Row("random", "random"),
    Row("true x-y", "state"),
    Row("end to end", "end to end"),
    Row("inverse 3k", "inverse", 3_000, 10),
    Row("markov 3k", "markov", 3_000, 10),
    Row("autoencoder 3k", "autoencoder", 3_000, 10),
    Row("autoencoder 30k", "autoencoder", 30_000, 5),
    Row("markov 30k", "markov", 30_000, 5, seeds=20),
    Row("inverse 30k", "inverse", 30_000, 5, seeds=20),
    Row("autoencoder 3k, each picture by itself", "autoencoder", 3_000, 10, seeds=20, over_time=False),
    Row("inverse 3k, each picture by itself", "inverse", 3_000, 10, seeds=20, over_time=False),
)
NAMED = {row.name: row for row in ROWS}


def run(name: str, chunk: int) -> dict[str, Any]:
    """The seeds of one chunk of a row: each one's mean return, and that of its last ten episodes."""
    import torch

    from envs.msa_grid import MarkovGrid
    from studies import _msa_dqn, _msa_phi

    row, start = NAMED[name], time.process_time()
    numbers = np.random.SeedSequence([chunk, row.chunk, ROWS.index(row)]).generate_state(3)
    rng, generator = np.random.default_rng(numbers[0]), torch.Generator().manual_seed(int(numbers[1]))
    world = MarkovGrid(row.chunk, goal_seed=None, view="state" if row.view == "state" else "picture")
    learner: _msa_dqn.Learner
    if row.view == "random":
        learner = _msa_dqn.Random(rng)
    elif row.view in ("state", "end to end"):
        phi = None if row.view == "state" else _msa_phi.new_phi(row.chunk, generator)
        learner = _msa_dqn.DQN(row.chunk, phi, train_phi=phi is not None, generator=generator)
    else:
        data = _msa_phi.walks(row.chunk, rng, over_time=row.over_time)
        phi = _msa_phi.train(row.view, data, row.updates + _msa_phi.EXTRA, generator)
        learner = _msa_dqn.DQN(row.chunk, phi, generator=generator)
    returns = _msa_dqn.play(world, learner, EPISODES, int(numbers[2]))
    scores = {"mean": returns.mean(1).round(4).tolist(), "last": returns[:, -LAST:].mean(1).round(4).tolist()}
    return {"row": name, "chunk": chunk, **scores, "cpu_seconds": round(time.process_time() - start, 1)}


def plan(rounds: int, names: Sequence[str] = tuple(NAMED)) -> list[tuple[str, int]]:
    """(row, chunk) in order: those without a representation first, then round by round."""
    jobs = [(k, NAMED[name]) for k in range(rounds) for name in names if k < NAMED[name].seeds // NAMED[name].chunk]
    return [(row.name, k) for k, row in sorted(jobs, key=lambda job: job[1].updates > 0)]


# ---------------------------------------------------------------------- what the scores say


def estimate(scores: Sequence[float], name: str) -> dict[str, Any]:
    from sandbox import statistics

    found = statistics.interval(scores, getattr(statistics, name))
    return {"value": found.value, "low": found.low, "high": found.high, "seeds": found.n}


def apart(
    x: Sequence[float], y: Sequence[float], name: str, paired: bool = False, level: float = 0.95
) -> dict[str, Any]:
    """statistic(x) - statistic(y); paired where row i of both had the same seed and goal."""
    from sandbox import statistics

    found = statistics.difference(x, y, paired=paired, statistic=getattr(statistics, name), level=level)
    return {"value": found.value, "low": found.low, "high": found.high}


def verdict(difference: dict[str, Any]) -> str:
    """Of ours less the published: "inside" where its interval holds zero."""
    if difference["low"] <= 0 <= difference["high"]:
        return "inside"
    return f"differs by {difference['value']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}]"


def table(runs: Sequence[dict[str, Any]], published: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A line for each row that was run, in the order of `ROWS`."""
    lines = []
    for row in ROWS:
        mine = [run for run in runs if run["row"] == row.name]
        if not mine:
            continue
        ours, last = (np.concatenate([run[name] for run in mine]).tolist() for name in ("mean", "last"))
        line: dict[str, Any] = {"row": row.name, "updates": row.updates, "seeds": len(ours)}
        line |= {name: estimate(ours, name) for name in ("mean", "iqm")}
        line |= {"failed": float(np.mean(np.array(last) < FAILED))}
        line |= {"cpu_seconds_a_seed": sum(run["cpu_seconds"] for run in mine) / len(ours)}
        if row.name in published:
            theirs = published[row.name]
            line |= {f"published_{name}": estimate(theirs, name) for name in ("mean", "iqm")}
            line |= {f"apart_{name}": apart(ours, theirs, name) for name in ("mean", "iqm")}
            line["verdict"] = verdict(line["apart_mean"])
        lines.append(line)
    return lines


def disagreement(scores: dict[str, list[float]], paired: bool) -> dict[str, Any] | None:
    """Autoencoder (30k) less end to end, by mean and by IQM; None where one was not run.

    Paired where a seed has one goal in all rows, as the authors' have; ours draws its goal for each row.
    """
    one, other = scores.get("autoencoder 30k"), scores.get("end to end")
    if not one or not other:
        return None
    found = {name: apart(one, other, name, paired=paired) for name in ("mean", "iqm")}
    signs = [np.sign(found[name]["value"]) for name in ("mean", "iqm")]
    sure = [not found[name]["low"] <= 0 <= found[name]["high"] for name in ("mean", "iqm")]
    if signs[0] == signs[1]:
        text = "mean and IQM agree" if all(sure) else "mean and IQM have the same sign, not both beyond doubt"
    else:
        unsure = [name for name, ok in zip(("mean", "IQM"), sure, strict=True) if not ok]
        doubt = f", but zero is in the interval of the {' and in that of the '.join(unsure)}"
        text = "mean and IQM disagree" + (doubt if unsure else ", beyond doubt")
    return found | {"seeds": [len(one), len(other)], "text": text}


def content(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    published: dict[str, list[float]] = json.loads(PUBLISHED.read_text("utf-8"))["rows"]
    ours = {row.name: [x for run in runs if run["row"] == row.name for x in run["mean"]] for row in ROWS}
    claim = {"ours": disagreement(ours, paired=False), "published": disagreement(published, paired=True)}
    commits = list(dict.fromkeys(run["commit"] for run in runs))
    return {"rows": table(runs, published), "mean_against_iqm": claim, "commits": commits, "runs": list(runs)}


def save(out: Path, runs: Sequence[dict[str, Any]], versions: dict[str, Any]) -> None:
    from sandbox.files import write_json

    order = {name: i for i, name in enumerate(NAMED)}
    runs = sorted(runs, key=lambda run: (order[run["row"]], run["chunk"]))
    write_json(out, {"command": "make study-msa", "versions": versions} | content(runs))


def main() -> None:
    from sandbox.versions import versions

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--rows", nargs="+", choices=NAMED, default=tuple(NAMED), metavar="ROW", help="all by default")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=_run.RESULTS / "msa.json")
    options = parser.parse_args()
    runs = json.loads(options.out.read_text("utf-8"))["runs"] if options.out.exists() else []
    done = {(run["row"], run["chunk"]) for run in runs}
    made_by = versions()  # before the work: the source may change while it lasts
    todo = [job for job in plan(options.rounds, options.rows) if job not in done]
    # glibc keeps freed memory: else the batch's pictures are paged in again at every update.
    os.environ |= {"OMP_NUM_THREADS": "1"} | dict.fromkeys(
        ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**28)
    )
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), _run.one_thread) as pool:
        for i, future in enumerate(as_completed([pool.submit(run, *job) for job in todo])):
            one = future.result()
            runs.append(one | {"commit": made_by["commit"]})
            save(options.out, runs, made_by)
            mean, seconds = np.mean(one["mean"]), one["cpu_seconds"]
            print(
                f"{i + 1}/{len(todo)} {one['row']}, chunk {one['chunk']}: {mean:.2f} ({len(one['mean'])} seeds, "
                f"{seconds:.0f} CPU seconds)",
                file=sys.stderr,
                flush=True,
            )
    for line in content(runs)["rows"]:
        print(f"{line['row']}: {line['mean']['value']:.2f}, n {line['seeds']}, {line.get('verdict', '-')}")


if __name__ == "__main__":
    main()
