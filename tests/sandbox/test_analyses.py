"""The main table, its claims, the curves and the ledger, on runs whose numbers are known."""

from __future__ import annotations

import csv
import io
import json
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox import statistics
from sandbox.analyses import _format, coverage, curves, ledger, table
from sandbox.analyses._arms import Snapshot, arms, snapshot
from sandbox.errors import CorruptFile

ESTIMATED = "estimated (10 W per busy core)"
KEYS = ["env", "agent", "runs", "failed", "steps", "success", "return", "score", "labels", "cpu_seconds", "joules"]


@dataclass
class FakeRun:
    agent: str
    seed: int = 0
    value: float = 0.0  # return
    success: float | None = None
    env: str = "World-v0"
    steps: int = 1000
    told: dict[str, int] = field(default_factory=dict)
    joules: tuple[float | None, str] = (20.0, ESTIMATED)
    status: str = "done"
    kwargs: dict[str, Any] = field(default_factory=dict)
    path: Path = Path("missing")
    settings: dict[str, Any] = field(default_factory=dict)
    cpu: float = 2.0

    @property
    def config(self) -> dict[str, Any]:
        world = {"id": self.env, "kwargs": self.kwargs}
        return {"agent": self.agent, "world": world, "steps": self.steps, "seed": self.seed} | self.settings

    @property
    def result(self) -> dict[str, Any] | None:
        if self.status != "done":
            return None
        labels = {"actions": 0, "states": 0, "rewards": self.steps, "terminations": self.steps} | self.told
        cost = {"cpu_seconds": self.cpu + self.seed, "wall_seconds": 3.0, "peak_memory_mb": 500 + self.seed}
        return {
            "steps": self.steps,
            "evaluation": {"episodes": 10, "levels": "held-out (512)", "deterministic": False},
            "return": {"mean": self.value},
            "success": None if self.success is None else {"mean": self.success},
            "labels": labels,
            "privileged": ["oracle"] if self.told else [],
            "cost": cost | {"joules": {"value": self.joules[0], "source": self.joules[1]}},
        }


def seeds(agent: str, values: list[float], **more: Any) -> list[FakeRun]:
    return [FakeRun(agent, seed, value, **more) for seed, value in enumerate(values)]


ENDS = [*seeds("random", [0.0, 0.2]), *seeds("oracle", [1.0, 1.2])]  # mean returns 0.1 and 1.1


def row_of(runs: list[FakeRun], agent: str) -> dict[str, Any]:
    (row,) = [row for row in table.rows(runs) if row["agent"] == agent]
    return row


def test_a_row_has_exactly_the_agreed_form() -> None:
    runs = seeds("bc:labels=50", [0.5, 0.7, 0.6], success=0.9, told={"actions": 50, "rewards": 0})
    row = row_of(runs, "bc:labels=50")
    assert list(row)[: len(KEYS)] == KEYS
    assert list(row["return"]) == ["iqm", "mean", "low", "high"]
    assert row["labels"] == {"actions": 50, "states": 0, "rewards": 0, "terminations": 1000}
    assert (row["runs"], row["failed"], row["steps"]) == (3, 0, 1000)
    assert row["cpu_seconds"] == pytest.approx(3.0)  # mean of 2, 3, 4
    assert row["joules"] == {"value": pytest.approx(20.0), "source": ESTIMATED}
    assert row["score"] is None
    assert (row["privileged"], row["seeds"], row["levels"]) == (["oracle"], [0, 1, 2], "held-out (512)")


def test_numbers_are_the_statistics_of_the_seeds() -> None:
    values = [0.1, 0.9, 0.5, 0.6, 0.7]
    row = row_of(seeds("ppo", values), "ppo")
    expected = statistics.interval(values)
    assert row["return"]["iqm"] == pytest.approx((0.5 + 0.6 + 0.7) / 3)
    assert row["return"]["mean"] == pytest.approx(0.56)
    assert (row["return"]["low"], row["return"]["high"]) == (expected.low, expected.high)
    assert row["median"]["return"] == 0.6
    assert row["success"] is None
    assert row == row_of(seeds("ppo", values)[::-1], "ppo")  # the order in which runs are found does not matter


def test_one_run_has_no_interval() -> None:
    row = row_of(seeds("ppo", [0.5]), "ppo")
    assert row["return"] == {"iqm": 0.5, "mean": 0.5, "low": None, "high": None}


def test_score_is_nothing_at_random_and_one_at_the_oracle() -> None:
    runs = [*ENDS, *seeds("ppo", [0.1, 1.1, 0.6])]
    assert row_of(runs, "ppo")["score"]["mean"] == pytest.approx((0 + 1 + 0.5) / 3)
    assert row_of(runs, "random")["score"]["mean"] == pytest.approx(0)
    assert row_of(runs, "oracle")["score"]["mean"] == pytest.approx(1)


@pytest.mark.parametrize("missing", ["random", "oracle", "gap", "order"])
def test_no_score_without_two_ends_in_order(missing: str) -> None:
    ends = [run for run in ENDS if run.agent != missing]
    if missing in ("gap", "order"):
        ends = [*seeds("random", [0.5]), *seeds("oracle", [0.5 if missing == "gap" else 0.4])]
    assert row_of([*ends, *seeds("ppo", [0.3])], "ppo")["score"] is None


def test_ends_of_another_world_are_not_used() -> None:
    other = [*seeds("random", [0.0], env="Other-v0"), *seeds("oracle", [1.0], env="Other-v0")]
    assert row_of([*other, *seeds("ppo", [0.3])], "ppo")["score"] is None


def test_worlds_with_other_arguments_are_other_worlds() -> None:
    runs = [*seeds("ppo", [0.1], kwargs={"size": 10}), *seeds("ppo", [0.9], kwargs={"size": 20})]
    assert [row["env"] for row in table.rows(runs)] == ["World-v0:size=10", "World-v0:size=20"]


def test_failed_and_unfinished_runs_are_counted_not_averaged() -> None:
    runs = [*seeds("ppo", [0.5, 0.7]), FakeRun("ppo", 2, status="failed"), FakeRun("ppo", 3, status="stopped")]
    row = row_of(runs, "ppo")
    assert (row["runs"], row["failed"], row["unfinished"]) == (2, 1, 1)
    assert row["return"]["mean"] == pytest.approx(0.6)
    assert _format.runs(row) == "2/4"
    (line,) = csv.DictReader(io.StringIO(_format.to_csv([row])))
    assert (line["runs"], line["failed"], line["unfinished"]) == ("2", "1", "1")
    assert _format.runs(row_of([*runs[:2], runs[3]], "ppo")) == "2/3"
    assert _format.runs(row_of(runs[:2], "ppo")) == "2"
    nothing = row_of([FakeRun("ppo", status="failed")], "ppo")
    assert (nothing["runs"], nothing["failed"], nothing["return"], nothing["joules"]) == (0, 1, None, None)


def test_joules_of_two_kinds_are_not_averaged() -> None:
    runs = [FakeRun("ppo", 0), FakeRun("ppo", 1, joules=(30.0, "measured (RAPL, whole machine)"))]
    assert row_of(runs, "ppo")["joules"] == {"value": None, "source": "mixed: not summed"}


def test_floor_first_ceiling_last() -> None:
    runs = [*ENDS[::-1], *seeds("ppo+rnd", [0]), *seeds("bc", [0]), *seeds("ppo", [0])]
    assert [arm.agent for arm in arms(runs)] == ["random", "bc", "ppo", "ppo+rnd", "oracle"]


def test_numbers_in_a_name_are_in_their_order() -> None:
    agents = ["bc:labels=8", "bc:labels=16", "bc:labels=32", "bc:lr=1e-3", "bc:lr=0.05", "bc:lr=0.1", "bc:lr=2"]
    runs = [FakeRun(agent) for agent in sorted(agents)]
    assert [row["agent"] for row in table.rows(runs)] == agents
    assert list(curves._styles([arms(runs)])) == agents
    worlds = [FakeRun("ppo", kwargs={"size": size}) for size in (10, 8)]
    assert [row["env"] for row in table.rows(worlds)] == ["World-v0:size=8", "World-v0:size=10"]


def test_a_result_that_is_not_finite_is_named() -> None:
    runs = [FakeRun("ppo", value=float("inf"), path=Path("some/run"))]
    with pytest.raises(CorruptFile, match=r"some/run/result\.json: return\.mean is inf"):
        table.rows(runs)


NEEDED = (
    "steps", "return", "return.mean", "success", "success.mean", "labels.states", "evaluation.levels", "privileged",
    "cost", "cost.cpu_seconds", "cost.wall_seconds", "cost.peak_memory_mb", "cost.joules", "cost.joules.source",
)  # fmt: skip


@pytest.mark.parametrize("place", NEEDED)
@pytest.mark.parametrize("wrong", [False, True])
def test_a_result_without_what_the_table_needs_is_named(place: str, wrong: bool) -> None:
    run = snapshot(FakeRun("ppo", success=0.5, path=Path("some/run")))
    *above, last = place.split(".")
    found: Any = run.result
    for key in above:
        found = found[key]
    del found[last]
    if wrong:
        found[last] = ()  # of no kind that a result has
    with pytest.raises(CorruptFile, match=rf"some/run/result\.json: {place}"):
        table.rows([run])


def test_a_copy_of_a_run_is_no_replicate() -> None:
    """One configuration and seed; what a plugin's file is called by its folder does not matter."""
    ours, theirs = ({"plugins": [{"path": f"{place}/my_bonus.py", "sha256": "ab"}]} for place in ("/ours", "/theirs"))
    runs = seeds("ppo+my_bonus", [0.1, 0.5, 0.9], settings=ours, path=Path("ours"))
    copies = seeds("ppo+my_bonus", [0.1, 0.5, 0.9], settings=theirs, path=Path("theirs"))
    cut = FakeRun("ppo+my_bonus", 1, status="stopped", settings=ours, path=Path("cut"))
    alone, row = row_of(runs, "ppo+my_bonus"), row_of([cut, *copies, *runs], "ppo+my_bonus")
    assert row.pop("notes") == "4 copies of runs left out"
    assert alone.pop("notes") == ""
    assert row == alone
    assert row_of([*runs, cut], "ppo+my_bonus")["notes"] == "1 copy of a run left out"


def test_runs_of_several_settings_have_no_interval() -> None:
    runs = [*seeds("ppo", [0.1, 0.5, 0.9], success=0.5), *seeds("ppo", [0.2, 0.4], success=0.5, steps=2000)]
    row = row_of(runs, "ppo")
    assert row["runs"] == 5
    for metric in ("success", "return"):
        assert row[metric]["mean"] == pytest.approx(np.mean([run.result[metric]["mean"] for run in runs]))  # type: ignore[index]
        assert (row[metric]["low"], row[metric]["high"]) == (None, None)
    assert row["notes"] == "no interval, a seed twice, not the same steps"
    assert "\nppo: no interval, a seed twice, not the same steps.\n" in table.markdown([row], [])
    assert row["notes"] in _format.to_csv([row])
    apart = [*seeds("ppo", [0.1, 0.5]), FakeRun("ppo", 2, 0.9, settings={"checkpoint_rollouts": 7})]
    row = row_of(apart, "ppo")
    assert (row["notes"], row["return"]["low"]) == ("no interval, not the same checkpoint_rollouts", None)


def test_a_note_names_the_world_where_there_are_several() -> None:
    runs = [FakeRun("ppo"), FakeRun("ppo", steps=2000), FakeRun("ppo", env="Other-v0")]
    assert _format.notes(table.rows(runs)) == ["World-v0, ppo: no interval, a seed twice, not the same steps"]


def test_runs_of_several_settings_have_no_interval_in_coverage_and_curves(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    results = {"coverage": {"evaluation": 0.5}, "success": None, "return": {"mean": 0.0}}
    results |= {"labels": {"actions": 0, "states": 0}}
    points = {0: 0.0, 1000: 1.0}
    for number, steps in enumerate((1000, 2000)):
        runs = []
        for seed, one in ((0, 1000), (1, steps)):
            made = with_metrics(
                FakeRun("ppo", seed, steps=one), tmp_path / f"{number}-{seed}", points, "eval/mean_reward"
            )
            runs.append(Snapshot(made.path, made.config, "done", results))
        text = coverage.analyse(runs, tmp_path).read_text()
        panel, group = Figure().subplots(), arms(runs)
        curves._panel(panel, "World", group, curves._styles([group]))
        mixed = steps == 2000
        assert ("0.50 [0.50, 0.50]" in text, "ppo: no interval, not the same steps" in text) == (not mixed, mixed)
        assert len(panel.collections) == (not mixed)


def using(*plugins: str, expert: str | None = None, place: str = "/here") -> dict[str, Any]:
    """Settings with plugins ("name sha256") and an expert by its SHA-256."""
    parts = [{"path": f"{place}/{name}.py", "sha256": content} for name, content in map(str.split, plugins)]
    return {"plugins": parts} | ({"expert": {"path": f"{place}/run", "sha256": expert}} if expert else {})


def test_two_versions_of_a_plugin_or_an_expert_are_no_arm() -> None:
    for name, first, second in (
        ("plugins", using("mine ab"), using("mine cd")),
        ("expert", using(expert="ab"), using(expert="cd")),
        ("expert", using(expert="ab"), using()),
    ):
        mixed = [FakeRun("ppo+mine", seed, HIGH[seed], settings=first if seed < 3 else second) for seed in range(5)]
        assert row_of(mixed, "ppo+mine")["notes"] == f"no interval, not the same {name}"
        assert claim_of([*seeds("ppo", LOW), *mixed])["text"].endswith(f"; not the same {name}")


@pytest.mark.parametrize(
    ("ours", "theirs", "doubt"),
    [
        (using("mine ab"), using(), ""),  # plain ppo has no use for it
        (using("mine ab"), using("mine ab", place="/there"), ""),
        (using("mine ab"), using("other cd"), ""),
        (using("mine ab"), using("mine cd", "other ab"), "plugins"),
        (using(expert="ab"), using(), "expert"),  # the world's oracle
        (using(expert="ab"), using(expert="cd"), "expert"),
        (using(expert="ab"), using(expert="ab", place="/there"), ""),
    ],
)
def test_arms_are_apart_by_versions_of_one_plugin_and_by_experts(
    ours: dict[str, Any], theirs: dict[str, Any], doubt: str
) -> None:
    told = {"actions": 9} if "expert" in ours else {}
    a, b = (arms(seeds(name, HIGH, settings=s, told=told))[0] for name, s in (("ppo+a", ours), ("ppo+b", theirs)))
    assert table.doubts(a, b) == ([f"not the same {doubt}"] if doubt else [])


def test_an_arm_that_takes_no_action_labels_has_no_use_for_an_expert() -> None:
    claim = claim_of(
        [*seeds("ppo", LOW), *seeds("bc:labels=9", HIGH, told={"actions": 9}, settings=using(expert="ab"))]
    )
    assert "not the same" not in claim["text"]


LOW, HIGH = [0.10, 0.12, 0.14, 0.11, 0.13], [0.80, 0.85, 0.90, 0.82, 0.88]


def claim_of(runs: list[FakeRun]) -> dict[str, Any]:
    (claim,) = table.claims(runs)
    return claim


def test_a_claim_is_the_paired_difference() -> None:
    claim = claim_of([*seeds("ppo", LOW), *seeds("ppo+rnd", HIGH)])
    expected = statistics.difference(HIGH, LOW)
    assert list(claim) == ["env", "metric", "a", "b", "difference", "low", "high", "n", "text"]
    assert (claim["a"], claim["b"], claim["metric"], claim["n"]) == ("ppo+rnd", "ppo", "return", 5)
    assert (claim["difference"], claim["low"], claim["high"]) == (expected.value, expected.low, expected.high)
    assert claim["text"] == f"return: {statistics.verdict('ppo+rnd', 'ppo', expected)}"
    assert "ppo+rnd is above ppo by 0.73" in claim["text"]


def test_seeds_are_paired_by_their_number_and_only_where_they_are_the_same() -> None:
    shuffled = [FakeRun("ppo+rnd", seed, HIGH[seed]) for seed in (3, 1, 4, 0, 2)]
    assert claim_of([*seeds("ppo", LOW), *shuffled])["low"] == statistics.difference(HIGH, LOW).low
    shifted = [FakeRun("ppo+rnd", seed + 10, value) for seed, value in enumerate(HIGH)]
    assert claim_of([*seeds("ppo", LOW), *shifted])["low"] == statistics.difference(HIGH, LOW, paired=False).low


def test_metric_is_score_then_success_then_return() -> None:
    both = [*seeds("ppo", LOW, success=0.5), *seeds("ppo+rnd", HIGH, success=0.7)]
    assert claim_of([*both, *ENDS])["metric"] == "score"
    assert claim_of(both)["metric"] == "success"
    assert claim_of([*seeds("ppo", LOW), *seeds("ppo+rnd", HIGH, success=0.7)])["metric"] == "return"


def test_pairs_are_against_the_plain_learner_and_self_taught_against_supervised() -> None:
    told = seeds("bc:labels=9", LOW, told={"actions": 9}), seeds("ppo+state", LOW, told={"states": 9})
    runs = [*ENDS, *seeds("ppo", LOW), *seeds("ppo+rnd", LOW), *told[0], *told[1]]
    pairs = {(claim["a"], claim["b"]) for claim in table.claims(runs)}
    plain = {(agent, "ppo") for agent in ("ppo+rnd", "bc:labels=9", "ppo+state")}
    assert pairs == plain | {("ppo+rnd", "bc:labels=9"), ("ppo+rnd", "ppo+state")}
    assert table.claims(ENDS) == []


def test_three_seeds_name_no_winner() -> None:
    claim = claim_of([*seeds("ppo", LOW[:3]), *seeds("ppo+rnd", HIGH[:3])])
    assert claim["text"] == "return: ppo+rnd against ppo, 3 seeds: no winner named"
    assert claim_of([*seeds("ppo", LOW[:1]), *seeds("ppo+rnd", HIGH[:1])])["low"] is None


def test_what_makes_arms_unlike_is_said() -> None:
    runs = [*seeds("ppo", LOW), *seeds("ppo+rnd", HIGH, steps=2000), FakeRun("ppo", 5, status="failed")]
    assert claim_of(runs)["text"].endswith("; 1 failed run of ppo left out; not the same steps")


def test_a_seed_counted_twice_is_no_replicate() -> None:
    claim = claim_of([*seeds("ppo", LOW), *seeds("ppo+rnd", HIGH), FakeRun("ppo+rnd", 0, 0.9, steps=2000)])
    assert "no winner named, ppo+rnd has a seed twice" in claim["text"]


def test_table_files(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "report"
    folder.mkdir(parents=True)
    runs = [*ENDS, *seeds("ppo", LOW), *seeds("ppo+rnd", HIGH, success=0.5), FakeRun("bc", status="failed")]
    text = table.analyse(runs, folder).read_text()
    content = json.loads((folder / "table.json").read_text())
    assert content["study"] == "study"
    assert content["rows"] == table.rows(runs)
    assert content["claims"] == table.claims(runs)
    lines = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert [line["agent"] for line in lines] == [row["agent"] for row in content["rows"]]
    assert float(lines[-2]["score_iqm"]) == content["rows"][-2]["score"]["iqm"]
    assert lines[-2]["success_median"] == "0.5"
    assert lines[0]["success_low"] == ""
    assert all(claim["text"] in text for claim in content["claims"])


def test_markdown_shows_names_as_they_are() -> None:
    text = _format.markdown_table(["a"], [["x|y\n<b>[l](u)*_`\x1b[31m"], ["0.5 [0.4, 0.6]"]])
    assert text.splitlines()[2] == r"| x\|y?\<b\>[l\](u)\*\_\`?[31m |"
    assert text.splitlines()[3] == "| 0.5 [0.4, 0.6] |"  # numbers stay readable without a renderer


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0"),
        (0.0199, "0.02"),
        (9.13, "9.13"),
        (999, "999"),
        (999.9, "1k"),
        (499_712, "500k"),
        (1.25e7, "12.5M"),
        (None, "-"),
    ],
)
def test_counts_are_short(x: float | None, text: str) -> None:
    assert _format.count(x) == text


def test_ledger_sums_costs_and_names_their_kind(tmp_path: Path) -> None:
    runs = [*seeds("ppo", [0, 0]), *seeds("bc", [0], told={"actions": 50, "rewards": 0})]
    text = ledger.analyse(runs, tmp_path).read_text()
    assert "| World-v0 | bc | 1 | 1k | 50 | 0 | 0 | 1k | 2 | 3 | 20 est. | oracle |" in text
    assert "All 3 finished runs: 7 CPU s, joules 60 est., largest peak memory 501 MB." in text
    few = ledger.markdown([FakeRun("ppo", joules=(13.8, ESTIMATED), cpu=1.38)])
    assert "All 1 finished runs: 1.38 CPU s, joules 13.8 est.," in few  # as in the row
    runs += [FakeRun("ppo", 2, joules=(5.0, "measured (RAPL, whole machine)"))]
    text = ledger.markdown(runs)
    assert "joules mixed," in text
    assert "count each other" in text
    assert "No run has finished" in ledger.markdown([FakeRun("ppo", status="running")])


def with_metrics(run: FakeRun, folder: Path, points: dict[int, float], key: str) -> FakeRun:
    run.path = folder
    folder.mkdir(parents=True)
    rows = [{"step": step, key: value} for step, value in points.items()] + [{"step": max(points), "rollout/x": 1.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_a_curve_covers_what_every_seed_covers(tmp_path: Path) -> None:
    points = {0: 0.0, 100: 1.0, 200: 2.0}, {50: 10.0, 100: 20.0, 150: 30.0}
    runs = [with_metrics(FakeRun("ppo", i), tmp_path / str(i), p, "eval/mean_reward") for i, p in enumerate(points)]
    drawn = curves.curve(arms(runs)[0], "return")
    assert drawn is not None
    np.testing.assert_allclose(drawn[0], [50, 100, 150])
    np.testing.assert_allclose(drawn[1], [[0.5, 1.0, 1.5], [10, 20, 30]])
    assert curves.curve(arms(runs)[0], "success") is None


@pytest.mark.parametrize(
    "garbage", ["garbage", '{"step": 100, "eval/mean_reward": "high"}', '{"step": [], "eval/mean_reward": 1}']
)
def test_a_run_with_damaged_metrics_is_left_out_of_the_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], garbage: str
) -> None:
    from matplotlib.figure import Figure

    runs = [with_metrics(FakeRun("ppo", i), tmp_path / str(i), {0: 0.0, 100: i}, "eval/mean_reward") for i in range(3)]
    with (tmp_path / "1" / "metrics.jsonl").open("a") as file:
        file.write(garbage + "\n")
    drawn = curves.curve(arms(runs)[0], "return")
    assert drawn is not None
    np.testing.assert_allclose(drawn[1], [[0, 0], [0, 2]])
    assert f"warning: left out of the curves: {tmp_path / '1' / 'metrics.jsonl'}" in capsys.readouterr().err
    panel, group = Figure().subplots(), arms(runs)
    curves._panel(panel, "World", group, curves._styles([group]))
    assert panel.get_title() == "World (n=3; 1 without a curve)"


def test_coverage_takes_what_a_world_counts(tmp_path: Path) -> None:
    """Many levels have no coverage of a life, an untrained agent has no training."""
    told = {"evaluation": 0.5, "training": {"entropy": 0.25}, "visits": [[1, 0]]}
    runs = [FakeRun("ppo"), FakeRun("oracle")]
    results: list[dict[str, Any]] = [{"coverage": told}, {"coverage": {"evaluation": 0.75}}]
    made = [Snapshot(tmp_path, run.config, "done", result) for run, result in zip(runs, results, strict=True)]
    text = coverage.analyse(made, tmp_path).read_text()
    assert "| World-v0 | ppo | 1 | 0.50 | - | 0.25 |\n" in text
    assert "| World-v0 | oracle | 1 | 0.75 | - | - |\n" in text
    assert (tmp_path / "coverage.png").exists()


def test_where_nothing_has_finished_there_is_no_figure(tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_bytes(b"of runs that are gone")
    runs = [FakeRun("ppo", status="stopped"), FakeRun("ppo", 1, status="failed")]
    assert curves.analyse(runs, tmp_path) is None
    assert not (tmp_path / "curves.png").exists()
    assert coverage.analyse(runs, tmp_path).read_text() == "No run has finished.\n"


def study(tmp_path: Path) -> list[FakeRun]:
    rng = np.random.default_rng(0)
    runs = [*seeds("random", [0.1] * 5, success=0.1), *seeds("bc", [0.8] * 5, success=0.8, told={"actions": 9})]
    for i, agent in enumerate(["ppo", "ppo+rnd", "_odd$name$"]):
        for run in seeds(agent, [0.9] * 5, success=0.9):
            values = np.clip(np.linspace(0.1, 0.4 + i / 4, 20) + rng.normal(size=20) * 0.05, 0, 1)
            points = {1000 * k: float(value) for k, value in enumerate(values)}
            runs.append(with_metrics(run, tmp_path / f"{agent}-{run.seed}", points, "eval/success_rate"))
    return runs


def test_the_figure_is_a_picture_of_the_promised_size(tmp_path: Path) -> None:
    path = curves.analyse(study(tmp_path), tmp_path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1600, 1000)
    assert curves.draw(study(tmp_path / "again"), tmp_path / "again.png").read_bytes() == data


def test_a_panel_has_curves_and_final_values(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    groups = [arms(study(tmp_path))]
    panel = Figure().subplots()
    curves._panel(panel, "World", groups[0], curves._styles(groups))
    lines = {str(line.get_label()): line for line in panel.get_lines()}
    assert {name: line.get_linestyle() for name, line in lines.items()} == {
        "random": "--", "bc": "--", "ppo": "-", "ppo+rnd": "-", "_odd$name$": "-",
    }  # fmt: skip
    assert lines["bc"].get_ydata() == pytest.approx([0.8, 0.8])
    assert len(panel.collections) == 3  # an interval for each curve
    assert panel.get_title() == "World (n=5)"
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("environment steps", "success")


def test_return_is_drawn_where_an_arm_knows_no_success(tmp_path: Path) -> None:
    runs = [FakeRun("ppo", success=1.0), FakeRun("ppo+rnd")]
    assert curves._metric(arms(runs)) == "return"
    assert curves.draw([], tmp_path / "empty.png").exists()


def test_reading_runs_needs_no_torch() -> None:
    code = "import sys, sandbox.report, sandbox.energy\nfrom sandbox.analyses import table, curves, ledger\n"
    code += "print([m for m in ('torch', 'gymnasium', 'numba', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_seeds_of_unlike_settings_in_one_arm_are_said() -> None:
    steps = (1000, 1000, 1000, 5000, 5000)
    runs = [
        FakeRun(agent, k, k + 10 * (agent != "ppo"), steps=n)
        for agent in ("ppo", "ppo+rnd")
        for k, n in enumerate(steps)
    ]
    (claim,) = table.claims(runs)
    assert claim["text"].endswith("not the same steps")
