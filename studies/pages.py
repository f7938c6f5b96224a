"""Turn the small result files in studies/results and benchmarks/results into the pages of docs/results.

python -m studies.pages                       every page again from the committed files
python -m studies.pages --take NAME FOLDER    first keep the table of a study's runs as studies/results/NAME.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sandbox.analyses import table
from sandbox.files import read_json, write_json
from sandbox.runs import find_runs
from studies import _label_curves
from studies._curiosity_page import curiosity
from studies._jepa_page import jepa
from studies._labels_page import labels
from studies._msa_page import msa
from studies._timed import SOLVED
from studies._tuning_page import tuning
from studies.how_far import TASKS as HOW_FAR
from studies.time_to_solve import TARGETS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGES = HERE.parent / "docs" / "results"
COMMANDS = {"demo": "make demo"}


def take(name: str, folder: Path) -> None:
    """Rows and claims of the runs below `folder`, with the versions that made the first of them."""
    runs = find_runs(folder)
    content = {"command": COMMANDS[name], "versions": read_json(runs[0].path / "versions.json")}
    write_json(RESULTS / f"{name}.json", content | {"rows": table.rows(runs), "claims": table.claims(runs)})


def grid(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def provenance(result: dict[str, Any]) -> str:
    """How and where it was made."""
    made = result["versions"]
    packages = ", ".join(f"{name} {made['packages'][name]}" for name in ("torch", "stable-baselines3", "gymnasium"))
    if "commits" in result:  # its runs were made on other machines too
        return f"Made by `{result['command']}` from runs of the commits named above, one thread a run; {packages}.\n"
    return (
        f"Made by `{result['command']}` at commit `{made['commit']}` on {made['cpu']}, one thread a run; {packages}.\n"
    )


def bracket(value: dict[str, Any] | None) -> str:
    if value is None:
        return "-"
    return f"{value['iqm']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def comparison(result: dict[str, Any]) -> str:
    """The table of `compare`, and what the statistics allow to say."""
    rows = [
        (
            f"`{row['agent']}`", row["runs"], bracket(row["success"]), bracket(row["return"]), f"{row['steps']:,.0f}",
            f"{row['labels']['actions'] + row['labels']['states']:,.0f}", f"{row['labels']['rewards']:,.0f}",
            f"{row['cpu_seconds']:.1f}", f"{row['joules']['value']:.0f}",
        )
        for row in result["rows"]
    ]  # fmt: skip
    names = ["agent", "runs", "success", "return", "steps", "labels", "rewards seen", "CPU s", "joules (estimated)"]
    claims = "".join(f"* {claim['metric']}: {claim['text']}\n" for claim in result["claims"])
    levels = result["rows"][0]["levels"]
    head = f"{result['rows'][0]['env']}, evaluation levels: {levels}. IQM over seeds with 95 % bootstrap interval; "
    return head + "steps, labels and costs are means per run.\n\n" + grid(names, rows) + "\n" + claims


def sb3(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        apart = "-"
        if "difference" in row:
            apart = f"{row['difference']:.2f} [{row['difference_low']:.2f}, {row['difference_high']:.2f}]"
        iqm = f"{row['iqm']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
        rows.append((row["task"], row["arm"], row["n"], iqm, apart, row.get("margin", "-"), row.get("verdict", "-")))
    names = ["task", "arm", "seeds", "return (IQM)", "difference from SB3", "margin", "verdict"]
    return (
        "Same hyper-parameters (rl-baselines3-zoo's), paired seeds, 100 evaluation episodes of the final policy. That "
        "the arithmetic is SB3's is a test (`tests/agents/test_ppo.py`); this is the same at the level of results.\n\n"
    ) + grid(names, rows)


def deep_sea(result: dict[str, Any]) -> str:
    def score(row: dict[str, Any]) -> str:
        found = row["score"]
        ends = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
        return f"{found['iqm']:.2f}{ends}"

    scores = [(row["form"], f"`{row['arm']}`", len(row["seeds"]), score(row)) for row in result["rows"]]
    by_size = []
    for size in result["rows"][0]["sizes"]:
        cells = [(row["sizes"][size], len(row["seeds"])) for row in result["rows"]]
        by_size.append(
            (size, *(f"{at['n']} of {n}" + (f", {at['episode']:,.0f}" if at["n"] else "") for at, n in cells))
        )
    return (
        "bsuite's experiments: the share of the sizes 10, 12, ..., 50 that are solved before episode 2^N + 100 and "
        "within 10,000, where solved means that less than nine tenths of all episodes so far were bad (stochastic: "
        "eight tenths, from episode 100 on). IQM over seeds, which begin at 100; one setting for all arms, sizes and "
        "both forms, found on size 20 of the deterministic form with seeds 0 to 2.\n\n"
        + grid(["form", "arm", "seeds", "score"], scores)
        + "\nSeeds that solved a size in time, and the median episode in which they did:\n\n"
        + grid(["size", *(f"{row['form']}, `{row['arm']}`" for row in result["rows"])], by_size)
    )


def resume(result: dict[str, Any]) -> str:
    rows = [
        (
            c["case"]["env"],
            f"`{c['case']['agent']}`",
            f"{c['case']['steps']:,}",
            len(c["kills"]),
            "yes" if c["equal"] else "NO",
        )
        for c in result["cases"]
    ]
    return (
        "A run is killed by SIGKILL again and again (half of the kills inside checkpoint writing), resumed each time, "
        "and compared with one that was never interrupted: SHA-256 of the final weights and of metrics.jsonl.\n\n"
    ) + grid(["env", "agent", "steps", "kills", "byte for byte equal"], rows)


def parity(result: dict[str, Any]) -> str:
    rows = [[f"`{row['id']}`", *list(row.values())[1:]] for row in result["rows"]]
    total = result["total"]
    rows.append([f"all {len(rows)}", "", *total.values()])
    return (
        "The compiled worlds beside Minigrid itself, random and oracle-directed actions: view, direction, reward, "
        "mission, terminated and truncated of every step, compared exactly.\n\n"
    ) + grid(["id", "levels", "steps", "episodes", "successes", "mismatches"], rows)


def oracle(result: dict[str, Any]) -> str:
    rows = [
        (
            f"`{row['id']}`", row["levels"], row["episodes"], f"{row['success']:.3f}", row["hopeless"],
            f"{row['elsewhere']:.3f}", f"{row['length']:.1f}", f"{row['as planned']:.3f}", f"{row['ms']:.2f}",
        )
        for row in result["rows"]
    ]  # fmt: skip
    names = ["id", "levels", "episodes", "success", "impossible", "success elsewhere", "mean steps", "as planned", "ms"]
    return (
        "Evaluation levels played by the oracle's actions. *Impossible* are levels that nobody can solve, proven one "
        "by one (in ObstructedMaze v0 a ball can overwrite the box with a key); *as planned* is the share of successes "
        "that took as many steps as the plan at the start said (where obstacles move no plan can say it); *ms* is a "
        f"call for 64 copies. Without an oracle: {', '.join(result['no oracle'])}.\n\n"
    ) + grid(names, rows)


def within(runs: Sequence[dict[str, Any]], name: str) -> dict[str, list[dict[str, Any]]]:
    """Runs by task, in the order of `name`'s own list."""
    tasks = list(TARGETS) if name == "time_to_solve" else HOW_FAR
    named = {task: [run for run in runs if run["key"][0] == task] for task in tasks}
    return {task: found for task, found in named.items() if found}


def spread(values: Sequence[float], form: str = "{:,.1f}") -> str:
    """Median, least and most."""
    return "{} ({} to {})".format(*(form.format(f(values)) for f in (statistics.median, min, max)))


def time_to_solve(result: dict[str, Any]) -> str:
    rows = []
    for task, runs in within(result["runs"], "time_to_solve").items():
        target, solved = TARGETS[task], sum(run["success"] >= SOLVED for run in runs)
        in_time = sum(run["success"] >= SOLVED and run["seconds"] <= target.seconds for run in runs)
        rows.append((
            task, f"{runs[0]['steps'] / 1e6:.1f}", spread([run["seconds"] for run in runs]),
            spread([run["success"] for run in runs], "{:.3f}"), f"{solved} of {len(runs)}",
            f"{target.seconds:g} s, {target.solved} of 10", f"{in_time} of {len(runs)}",
        ))  # fmt: skip
    names = [
        "task",
        "M steps",
        "CPU seconds",
        "success",
        f"at least {SOLVED:.2f}",
        "target",
        "solved within its seconds",
    ]
    return (
        "`ppo+contacts` with every setting at its default, trained for a fixed number of steps; then the final policy "
        f"plays {result['runs'][0]['episodes']} episodes on unseen levels with sampled actions. CPU seconds of "
        "training alone: start-up, the level pool, compilation and evaluation are not counted. Median (least to most) "
        "over seeds; no setting was chosen on these seeds.\n\n"
    ) + grid(names, rows)


def how_far(result: dict[str, Any]) -> str:
    rows = []
    for task, every in within(result["runs"], "how_far").items():
        runs = longest(every)
        solved = [run for run in runs if run["solved"]]
        if solved:
            steps, seconds = spread([run["steps"] / 1e6 for run in solved]), spread([run["seconds"] for run in solved])
        else:
            steps, seconds = "-", "-"
        spent = f"{max(run['steps'] for run in runs) / 1e6:,.0f} M in {max(run['seconds'] for run in runs):,.0f} s"
        best, last = (", ".join(f"{run[name]:.2f}" for run in runs) for name in ("best", "last"))
        rows.append((task, f"{len(solved)} of {len(runs)}", steps, seconds, best, last, spent, limits(runs)))
    names = ["task", f"solved ({SOLVED:.2f})", "M steps", "CPU seconds", "best of each seed", "last", "longest run"]
    return (
        "The same default, evaluated about every million steps on 200 episodes on unseen levels. Solved: two "
        "evaluations in a row of at least .95, and the steps and seconds are those of the first of them, median (least "
        "to most) over the seeds that solved it. A run that does not ends at its limit of CPU seconds of training; "
        "where a seed was given more time later, that run counts.\n\n"
    ) + grid([*names, "limit (seeds)"], rows)


def longest(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each seed the run with the highest limit."""
    return [
        max((run for run in runs if run["key"][1] == seed), key=lambda run: run["key"][2])
        for seed in sorted({run["key"][1] for run in runs})
    ]


def limits(runs: Sequence[dict[str, Any]]) -> str:
    """How many seeds had each limit."""
    given = [run["key"][2] for run in runs]
    return ", ".join(f"{limit:,.0f} s ({given.count(limit)})" for limit in sorted(set(given), reverse=True))


def bounds(value: dict[str, Any]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def fly_hash(result: dict[str, Any]) -> str:
    rows = [(row["k"], row["arm"], bounds(row["found"]), bounds(row["all"])) for row in result["rows"]]
    fresh = [(row["delta"], bounds(row["r"])) for row in result["novelty"]]
    set_, seeds = result["settings"], result["rows"][0]["found"]["seeds"]
    return (
        f"{set_['pictures']:,} digits of 28 x 28 pixels, drawn in {set_['typefaces']} typefaces that come with "
        "matplotlib (not MNIST: it comes with no package that is installed, and a study downloads nothing; "
        f"scikit-learn's are 1,797 of 8 x 8). Truth: the {set_['nearest']} nearest in Euclidean distance of "
        f"{set_['queries']} queries; answer: the {set_['nearest']} "
        "nearest tags. `lsh`: k real Gaussian projections; `fly`: values of the k most active of 7,840 cells; `fly "
        f"binary`: their names alone. Means over {seeds} seeds (data, hash and queries drawn anew) with 95 % bootstrap "
        "intervals.\n\n"
        + grid(["k", "hash", "precision at the true neighbours found", "misses counted as 0"], rows)
        + "\nPublished for MNIST at k = 4: LSH 0.160, fly 0.448 (Dasgupta et al. 2017, first metric). The gain is per "
        "active cell, not per operation: a tag costs some 600,000 additions, a projection 3,136 products.\n\n"
        f"Novelty of {set_['asked']} pictures after {set_['stored']:,} others were written, against the distance to "
        f"the nearest of those (Pearson's r; 45,000 cells, k = {set_['active']}):\n\n" + grid(["delta", "r"], fresh)
    )


PAGE: dict[str, tuple[str, Path, Callable[[dict[str, Any]], str]]] = {
    "demo": ("The demo", RESULTS / "demo.json", comparison),
    "labels": ("What labels are worth", RESULTS / "labels.json", labels),
    "jepa": ("What keeps a latent world model from collapse", RESULTS / "jepa.json", jepa),
    "sb3_equivalence": ("Ours beside stable-baselines3's PPO", RESULTS / "sb3_equivalence.json", sb3),
    "deep_sea": ("DeepSea", RESULTS / "deep_sea.json", deep_sea),
    "curiosity": ("Which curiosity helps where", RESULTS / "curiosity.json", curiosity),
    "fly_hash": ("FlyHash beside random projections", RESULTS / "fly_hash.json", fly_hash),
    "tuning": ("Equal trials for each kind of arm", RESULTS / "tuning.json", tuning),
    "msa": ("Markov state abstractions: the published rows", RESULTS / "msa.json", msa),
    "time_to_solve": ("Time to solve", RESULTS / "time_to_solve.json", time_to_solve),
    "how_far": ("How far the default reaches", RESULTS / "how_far.json", how_far),
    "kill_resume": ("Killed and resumed", RESULTS / "kill_resume.json", resume),
    "parity": ("Parity with Minigrid", HERE.parent / "benchmarks" / "results" / "parity.json", parity),
    "oracle": ("The oracle of MiniGrid", HERE.parent / "benchmarks" / "results" / "oracle.json", oracle),
}
FIGURE: dict[str, Callable[[dict[str, Any], Path], None]] = {"labels": _label_curves.draw}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", nargs=2, metavar=("NAME", "FOLDER"))
    options = parser.parse_args()
    if options.take:
        take(options.take[0], Path(options.take[1]))
    for name, (title, source, render) in PAGE.items():
        if source.exists():
            result = json.loads(source.read_text("utf-8"))
            (PAGES / f"{name}.md").write_text(f"# {title}\n\n{render(result)}\n{provenance(result)}", "utf-8")
            print(PAGES / f"{name}.md")
            if name in FIGURE:
                FIGURE[name](result, PAGES / f"{name}_curves.png")


if __name__ == "__main__":
    main()
