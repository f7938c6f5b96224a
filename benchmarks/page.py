"""docs/benchmark.md, made from benchmarks/results: never edited by hand.

python -m benchmarks.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.ours import products
from benchmarks.table import CONTENDERS, CURIOSITY, GROUPS
from studies.pages import grid

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "benchmark.md"
PEER_SIZED = "The same with networks of the peer's size"
Rows = list[tuple[Any, ...]]
PairOfTables = list[tuple[str, list[str], Rows]]

INTRODUCTION = """\
# Benchmark

`make bench` measures this tool beside what people would use instead, and makes this page from what it found
(`benchmarks/results/*.json`). It builds an environment of its own for the peers, `.venv-bench`, with the same torch,
stable-baselines3 (SB3), gymnasium and minigrid as ours (`constraints.txt`), so that only the code differs. It needs the
network for that, and takes about twenty minutes on a machine with nothing else to do. It is not a test: a slow machine
fails nothing.

How it measures: every contender is a process with one thread that is built, warmed up by one whole measurement (which
is thrown away), and then waits. The contenders of a group take turns, five rounds. A speed is environment steps by CPU
second of its process, the median of the rounds with the smallest and the largest; *wall* is the median by the clock on
the wall, lower where other programs held the core. A ratio is made within each round. Only ratios of one run hold on
another machine. *kFLOP a step* is what torch's own counter finds of matrix products, over one rollout and its update
(lookups and element-wise arithmetic are not counted), the products that were computed: where equal views are computed
once, they count once, so that fewer kFLOP a step are a saving and not a smaller network. They are counted after the
warm-up; later fewer views repeat. *of the limit* is the speed's share of what these products alone would allow at this
core's rate, measured in the same rounds on the default network's shapes; *at the limit* is what a ratio would be if the
first of the two did its products at that rate and nothing else.

What is in a measurement: acting, worlds with their resets, bonus, advantages, updates. What is not: imports,
compilation, level pools, RLeXplore's random prelude for its observation statistics, evaluation, files.

## The peers

* **SB3**: its PPO on Minigrid with copies one after the other in one process (`DummyVecEnv`, its default), over one
  vector of 151 numbers a view.
* **SB3 + RLeXplore**: the reward classes of the package rllte-core 1.0.1, unchanged, joined to SB3's PPO by a callback
  as in RLeXplore's own notebook for SB3, written anew in `benchmarks/peers/rlexplore.py`. **That recipe adds the bonus
  to advantages and returns after SB3 has computed them, so it reaches the step that earned it and no step before: it is
  not propagated.** Ours computes both reward streams' advantages with discount and bootstrap. The peer thus does less
  here; the row is its speed as published, not as it would be if corrected.
* **SB3 on our batched world**: tells what comes from the world and what from the learner.

rllte-core is installed with `--no-deps`: its requirements (matplotlib 3.6.0, huggingface-hub 0.14.1, ...) do not go
with these versions, and its reward classes use none of them but `termcolor` and `pynvml`, which are installed beside
it. Nothing in it is patched. EnvPool is not among the peers: its MiniGrid differs from Minigrid's (see
[Decisions](decisions.md)).
"""


def number(value: float) -> str:
    """Three digits that count, or whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def span(found: dict[str, Any]) -> str:
    return f"{number(found['low'])} - {number(found['high'])}"


def target(found: dict[str, Any], form: str) -> str:
    """`>= 10 (met)`, `>= 10 (not met)`, or nothing."""
    if found["target"] is None:
        return ""
    return f">= {form.format(found['target'])} ({'met' if found['median'] >= found['target'] else 'not met'})"


def product_rate(found: dict[str, Any]) -> float:
    """FLOPs per second of the group's matrix products alone (0 for a group of worlds)."""
    speeds = [r["median"] for r in found["rows"] if CONTENDERS[r["name"]].options.get("parts") == ["act", "learn"]]
    return max(speeds, default=0.0) * sum(products.flops_per_step().values())


def arithmetic(row: dict[str, Any], rate: float) -> tuple[str, str]:
    """(thousand FLOPs of an environment step, share of the speed that they alone would allow)."""
    if not row["flops"]:
        return "", ""
    return number(row["flops"] / 1000), f"{100 * row['median'] * row['flops'] / rate:.0f} %"


def speed_table(found: dict[str, Any]) -> tuple[list[str], Rows]:
    names = ["contender", "what", "steps/s", "smallest - largest", "wall", "target"]
    rows: Rows = [
        (r["name"], r["what"], number(r["median"]), span(r), number(r["wall"]), target(r, "{:,}"))
        for r in found["rows"]
    ]
    if rate := product_rate(found):
        names += ["kFLOP a step", "of the limit"]
        rows = [(*cells, *arithmetic(r, rate)) for cells, r in zip(rows, found["rows"], strict=True)]
    return names, rows


def ratio_table(found: dict[str, Any]) -> tuple[list[str], Rows]:
    names = ["ratio", "median", "smallest - largest", "target"]
    rows: Rows = [
        (f"{r['ours']} / {r['theirs']}", number(r["median"]), span(r), target(r, "{:g}")) for r in found["ratios"]
    ]
    if rate := product_rate(found):
        names.append("at the limit")
        rows = [(*cells, at_the_limit(r, found, rate)) for cells, r in zip(rows, found["ratios"], strict=True)]
    return names, rows


def at_the_limit(ratio: dict[str, Any], found: dict[str, Any], rate: float) -> str:
    """The ratio if ours did its matrix products at the core's rate and nothing else took time."""
    by_name = {row["name"]: row for row in found["rows"]}
    if not by_name[ratio["theirs"]]["flops"]:
        return ""
    return number(rate / by_name[ratio["ours"]]["flops"] / by_name[ratio["theirs"]]["median"])


def limit_table(found: dict[str, Any]) -> tuple[list[str], Rows]:
    """FLOPs, rates and our share, from the rows of the default loop."""
    flops = products.flops_per_step()
    median = {r["name"]: r["median"] for r in found["rows"]}
    counted = {"limit": sum(flops.values()), "limit, acting": flops["act"]}
    counted |= dict.fromkeys(("limit, learning", "learning, MKL", "learning, oneDNN"), flops["learn"])
    share = next(r for r in found["ratios"] if r["theirs"] == "limit")
    rows: Rows = [
        (name, f"{count:,}", f"{count * median[name] / 1e9:.0f}", number(median[name]))
        for name, count in counted.items()
    ]
    rows.append(("our share of the limit, which computes every view", "", "", f"{100 * share['median']:.0f} %"))
    return ["products", "FLOPs a step", "GFLOP/s", "steps/s"], rows


def bonus_table(found: list[dict[str, Any]]) -> tuple[list[str], Rows]:
    names = ["bonus", "reward", "update", "together", "smallest - largest"]
    names += ["RLeXplore", "smallest - largest", "ratio", "smallest - largest"]
    return names, [bonus_cells(row) for row in sorted(found, key=lambda row: row["ours"]["sum"])]


def bonus_cells(row: dict[str, Any]) -> tuple[str, ...]:
    ours, peer = row["ours"], row["peer"]
    cells = (row["bonus"], number(ours["reward"]), number(ours["update"]), number(ours["sum"]), span(ours))
    if peer is None:
        return (*cells, f"{row['peer_class']}: crashes" if "peer_failed" in row else "", "", "", "")
    ratio = number(row["ratio"]), span({"low": row["ratio_low"], "high": row["ratio_high"]})
    return (*cells, f"{row['peer_class']}: {number(peer['sum'])}", span(peer), *ratio)


def bonus_notes(found: dict[str, Any]) -> dict[str, str]:
    """What goes above the two tables of bonuses."""
    share = {name: f"{100 * value:.0f} %" for name, value in found["different_views"].items()}
    failed = {row["peer_class"]: row["peer_failed"] for row in found["rows"] if "peer_failed" in row}
    crashes = "".join(f" Its {name} crashes as published (`{error}`)." for name, error in failed.items())
    return {
        CURIOSITY.title: f"{CURIOSITY.note} Ours reads the symbolic views through the default encoder. It computes "
        "equal views once, so that its cost depends on how often they repeat: here "
        f"{share['rollout']} of a rollout's views are different ones and {share['minibatch']} of a minibatch's. Where "
        "none repeat, as with continuous observations, it costs more. RLeXplore's classes read the 151 numbers, have "
        "networks and defaults of their own and learn from every step, in minibatches of 256; most of ours learn from "
        "half of the steps of 64 copies, in minibatches of 1,024, as they do by default. A part of RLeXplore's work is "
        f"done while it watches each step, so only the whole is stated.{crashes} A round takes ours over the four "
        "recorded rollouts and RLeXplore's over the first of them. Ratio: RLeXplore / ours.",
        PEER_SIZED: "Ours over the same 151 numbers, with encoders of the peer's size, learning from every step. What "
        "stands on the encoder, ensembles, numbers of neighbours, memories and minibatches are each side's own "
        "(RLeXplore's Disagreement has four models, each of which learns from a quarter of the minibatches; ours has "
        "five, each of which learns from four fifths of every one).",
    }


def memory_table(found: dict[str, Any]) -> tuple[list[str], Rows]:
    return ["what", "peak MB"], [(r["what"], f"{r['mb']:,.0f}") for r in found["rows"]]


def jobs_table(found: dict[str, Any]) -> tuple[list[str], Rows]:
    names = ["what", "median", "smallest - largest", "target"]
    rows: Rows = [(f"seconds, --jobs {jobs}", number(t["median"]), span(t), "") for jobs, t in found["seconds"].items()]
    efficiency = found["efficiency"] | {"target": found["target"]}
    rows.append(("efficiency", number(efficiency["median"]), span(efficiency), target(efficiency, "{:g}")))
    if bare := found.get("bare"):
        rows.append(("efficiency of two bare learners", number(bare["median"]), span(bare), ""))
    return names, rows


def devices_table(found: dict[str, Any]) -> tuple[list[str], Rows]:
    """Steps a second of each run, and the ratio of the means."""
    speeds = found["steps_per_second"]
    rows: Rows = [
        (
            kind,
            *(", ".join(map(number, one[device])) for device in ("cpu", "cuda")),
            number(_mean(one["cuda"]) / _mean(one["cpu"])),
        )
        for kind, one in speeds.items()
    ]
    return ["run", "one core", "GPU", "GPU / core"], rows


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def tables(name: str, found: dict[str, Any]) -> PairOfTables:
    """(title, column names, rows) of everything that a part found."""
    if name == "memory":
        return [("Memory", *memory_table(found))]
    if name == "devices":
        return [("CPU or GPU", *devices_table(found))]
    if name == "jobs":
        return [("Two runs at once", *jobs_table(found))]
    if name == CURIOSITY.name:
        return [(CURIOSITY.title, *bonus_table(found["rows"])), (PEER_SIZED, *bonus_table(found["peer_sized"]))]
    made = [(GROUPS[name].title, *speed_table(found)), ("Ratios", *ratio_table(found))]
    return [*made, ("The arithmetic limit", *limit_table(found))] if name == "default_loop" else made


NOTES = {
    "Memory": "Largest resident memory of a process. The lifelong table of `counts` grows with the number of different "
    "views up to `max_views` (2^20 by default) and then forgets the half that was met least; the last rows feed it "
    "nothing but new views and say how much a process's peak grows.",
    "Two runs at once": "Efficiency = t(one job) / (2 t(two jobs)), by the wall clock from the command's start to its "
    "end, of a study of two runs: 1 where two runs at once take half the time of one after the other. It says "
    "something only on a machine with two cores free. Two bare learners, warm and without start, files and "
    "evaluations, say what the machine allows: the cores share caches, memory and clock.",
    "CPU or GPU": "Whole runs of `sandbox train` on one core and on a GPU of the same machine, all at once, by the "
    "clock on the wall (two seeds of each). Pictures are what a GPU is for here. The small networks of symbolic views "
    "wait for it: there a core is several times as fast, as on the CPU whole passes are compiled.",
    "The arithmetic limit": "Counted for each environment step: a multiply and an add for each weight of the hidden "
    f"layer (128 x 128) and of the heads (128 x 9); one forward pass to act ({products.forward_flops():,} FLOPs), and "
    f"in each of {products.EPOCHS} epochs a forward pass and a backward pass of twice its cost. Not counted: the first "
    "layer (a lookup), activations, losses, Adam, world and bonus (`benchmarks/ours/products.py`). The products alone, "
    "with nothing between them, each by the faster of torch's two libraries, run at the speeds below, measured in the "
    "same rounds as the loop: what float32 products allow a learner with this schedule and network that computes every "
    "view of a minibatch. Ours computes equal views once, so it needs fewer of them, by a share that depends on the "
    "world (*kFLOP a step* is what it computed).",
}


def provenance(found: dict[str, Any]) -> str:
    made, peers = found["versions"], found.get("environments", {}).get("peers")
    packages = ", ".join(f"{name} {made['packages'][name]}" for name in ("torch", "stable-baselines3", "gymnasium"))
    beside = f"; the peers' environment: {', '.join(f'{n} {v}' for n, v in peers.items() if v)}" if peers else ""
    processors = " and ".join(filter(None, (made["cpu"], found.get("gpu"))))
    where = f"commit `{made['commit']}`, {processors}, Python {made['python']}, {packages}{beside}"
    note = f" ({found['note']})" if "note" in found else ""
    return f"`{found['command']}`{note}, {found['date']}, {where}.\n"


def section(name: str, found: dict[str, Any]) -> str:
    """A part as Markdown."""
    text, notes = "", NOTES | (bonus_notes(found) if name == CURIOSITY.name else {})
    for title, names, rows in tables(name, found):
        if title == "Ratios":
            text += grid(names, rows) + "\n"
            continue
        note = notes.get(title) or GROUPS[name].note
        text += f"## {title}\n\n{note}\n\n{grid(names, rows)}\n"
    return text + provenance(found)


def render() -> str:
    """The page."""
    order = [*GROUPS, CURIOSITY.name, "memory", "jobs", "devices"]
    found = {name: json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in order if _there(name)}
    return INTRODUCTION + "\n" + "\n".join(section(name, content) for name, content in found.items())


def _there(name: str) -> bool:
    return (RESULTS / f"{name}.json").exists()


def write() -> Path:
    PAGE.write_text(render(), "utf-8")
    return PAGE


if __name__ == "__main__":
    print(write())
