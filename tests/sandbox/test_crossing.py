"""The crossing: its Gaussian process against formulas written out, its interval against the truth, its sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.analyses import _label_curve as lc
from sandbox.analyses import crossing
from sandbox.analyses._label_curve import Centre
from sandbox.label_study import label_study

GRID = np.arange(5.0, 14.0)  # 32 to 8192 labels
COUNTS = [int(2**x) for x in GRID]


def logistic(x: float, middle: float = 9.0, steepness: float = 1.2) -> float:
    return 1 / (1 + math.exp(-steepness * (x - middle)))


def known(value: float, seeds: int = 5) -> Centre:
    return Centre(value, 0.0, seeds - 1, seeds)


# ---------------------------------------------------------------------- the Gaussian process


def kernel(a: float, b: float, length: float, amplitude: float) -> float:
    return amplitude**2 * math.exp(-((a - b) ** 2) / (2 * length**2))


@pytest.mark.parametrize(("length", "amplitude", "noise"), [(1.0, 1.0, 0.1), (2.8, 0.5, 0.3), (8.0, 4.0, 0.01)])
def test_draws_have_the_posteriors_mean_and_covariance(length: float, amplitude: float, noise: float) -> None:
    """A draw is affine in its standard normals: the mean is the draw at zero, the covariance that of its columns."""
    x, y, at = np.array([5.0, 6.0, 7.5, 9.0]), np.array([-1.0, -0.4, 0.3, 1.1]), np.array([5.5, 7.0, 8.9, 11.0])
    variances = noise**2 * np.array([1.0, 0.5, 2.0, 1.0])

    inverse = np.linalg.inv(np.array([[kernel(a, b, length, amplitude) for b in x] for a in x]) + np.diag(variances))
    across = np.array([[kernel(a, b, length, amplitude) for b in x] for a in at])
    mean = [sum(across[g, i] * inverse[i, j] * y[j] for i in range(4) for j in range(4)) for g in range(4)]
    covariance = np.array([[kernel(a, b, length, amplitude) for b in at] for a in at])
    for g, h in np.ndindex(4, 4):
        covariance[g, h] -= sum(across[g, i] * inverse[i, j] * across[h, j] for i in range(4) for j in range(4))

    normals = np.concatenate([np.zeros((1, 12)), np.eye(12)])  # [D, K + G + K]
    draws = lc.condition(
        x, y, np.tile(variances, (13, 1)), at, length, np.full((13, 1), amplitude), normals[:, :8], normals[:, 8:]
    )
    columns = draws[1:] - draws[0]
    np.testing.assert_allclose(draws[0], mean, atol=1e-7)
    np.testing.assert_allclose(columns.T @ columns, covariance, atol=1e-6)


def test_evidence_is_the_normal_density() -> None:
    rng = np.random.default_rng(0)
    y, root = rng.normal(size=4), rng.normal(size=(3, 4, 4))
    covariances = root @ root.transpose(0, 2, 1) + np.eye(4)
    for found, covariance in zip(lc.log_evidence(y, covariances), covariances, strict=True):
        inverse = np.linalg.inv(covariance)
        square = sum(y[i] * inverse[i, j] * y[j] for i in range(4) for j in range(4))
        assert found == pytest.approx(-0.5 * square - 0.5 * math.log(np.linalg.det(covariance)))


def pooled(y: list[float]) -> list[float]:
    """Isotonic regression by pooling neighbours that fall."""
    blocks: list[list[float]] = []
    for value in y:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) >= np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [float(np.mean(block)) for block in blocks for _ in block]


def test_rising_is_isotonic_regression() -> None:
    draws = np.random.default_rng(0).normal(size=(20, 9)) + np.linspace(0, 1, 9)
    np.testing.assert_allclose(lc.rising(draws, piece=7), [pooled(list(draw)) for draw in draws], atol=1e-12)


def test_first_is_where_a_line_meets_the_level() -> None:
    at = np.array([0.0, 1.0, 2.0])
    draws = np.array([[0.0, 0.0, 1.0], [0.0, 0.5, 0.5], [0.7, 0.8, 0.9], [0.0, 0.5, 1.0]])
    found = lc.first(at, draws, np.array([0.25, 0.6, 0.7, 0.5]))
    np.testing.assert_allclose(found, [1.25, np.inf, -np.inf, 1.0])


def test_a_centre_knows_its_iqm_and_doubts_what_a_bootstrap_doubts() -> None:
    values = np.random.default_rng(0).normal(size=40)
    found = lc.centre(values)
    assert found.value == pytest.approx(np.sort(values)[10:30].mean())
    # Asymptotically the variance of a 25 % trimmed mean of normals is 1.19 / S.
    assert found.variance == pytest.approx(1.19 / 40, rel=0.6)
    assert (found.freedom, found.seeds) == (39, 40)
    assert lc.centre(np.ones(5), least=0.0025).variance == pytest.approx(0.0005)
    assert lc.centre(np.array([0.3])) == Centre(0.3, 0.0, 0, 1)


def test_success_comes_back_from_its_scale() -> None:
    p = np.array([0.0, 0.2, 0.9, 1.0])
    np.testing.assert_allclose(lc.success_of(lc.stabilised(p, np.array(1e9))), p, atol=1e-8)
    spread = [
        lc.stabilised(np.random.default_rng(0).binomial(100, q, 20_000) / 100, np.array(100.0)).var() for q in p[1:3]
    ]
    np.testing.assert_allclose(spread, 1 / 400, rtol=0.05)


# ---------------------------------------------------------------------- n*


def n_star(y: list[float], level: float, x: np.ndarray = GRID) -> lc.Range:
    draws = lc.curves(x, [known(value) for value in y])
    return lc.reach(lc.grid(x), draws, np.full(lc.DRAWS, level))


@pytest.mark.parametrize("target", [6.0, 8.3, 9.5, 11.25])
def test_n_star_of_a_curve_without_noise_is_where_it_is(target: float) -> None:
    found = n_star([logistic(x) for x in GRID], logistic(target))
    assert found.middle[0] == found.middle[1] == pytest.approx(target, abs=0.05)  # octaves
    assert found.high - found.low < 0.05


def test_n_star_of_a_straight_line_is_exact() -> None:
    assert n_star(list(GRID / 10), 0.93).middle[0] == pytest.approx(9.3, abs=0.01)


def test_outside_what_was_tried_n_star_has_an_open_end() -> None:
    y = [logistic(x) for x in GRID]
    above, below = n_star(y, 1.5), n_star(y, -0.5)
    assert (above.low, above.high) == (13.0, np.inf)
    assert (below.low, below.high) == (-np.inf, 5.0)
    ratio = above - n_star(y, logistic(9.0))  # more than 8192 against about 512: more than 16 times
    assert ratio.low == pytest.approx(4.0, abs=0.1)
    assert ratio.high == np.inf
    unknown = above - above
    assert (unknown.low, unknown.high) == (-np.inf, np.inf)


def study(rng: np.random.Generator, target: float, seeds: int = 5, episodes: int = 100) -> lc.Range:
    """n* of a supervised arm with a known curve, at the level of an arm that is as good as it with 2^target labels."""

    def arm(x: float) -> Centre:
        rates = rng.binomial(episodes, logistic(x), seeds) / episodes
        return lc.centre(lc.stabilised(rates, np.array(float(episodes))), least=0.25 / episodes)

    x = GRID[::2]
    draws = lc.curves(x, [arm(one) for one in x])
    return lc.reach(lc.grid(x), draws, lc.levels(arm(target)))


def test_the_interval_covers_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """95 % of studies with binomial noise; 88 of 100 or fewer would be chance once in 300 times."""
    monkeypatch.setattr(lc, "DRAWS", 300)
    rng = np.random.default_rng(0)
    found = [study(rng, 9.7) for _ in range(100)]
    assert sum(one.low <= 9.7 <= one.high for one in found) >= 89
    assert np.median([one.high - one.low for one in found]) < 1.5  # octaves: not by saying nothing
    assert np.median([one.middle[0] for one in found]) == pytest.approx(9.7, abs=0.15)


exact = st.integers(-300, 300).map(lambda k: k / 256)  # sums of these do not round


@settings(max_examples=25, deadline=None)
@given(y=st.lists(exact, min_size=3, max_size=7), more=exact.map(abs), level=exact)
def test_more_success_everywhere_never_raises_n_star(y: list[float], more: float, level: float) -> None:
    """As much more everywhere: a smooth curve lifted at one count alone may sink a little at its neighbours."""
    x = GRID[: len(y)]
    with pytest.MonkeyPatch.context() as quicker:
        quicker.setattr(lc, "DRAWS", 200)
        before, after = n_star(y, level, x), n_star([value + more for value in y], level, x)
    for a, b in ((after.low, before.low), (after.high, before.high), *zip(after.middle, before.middle, strict=True)):
        assert a <= b + 1e-6


@settings(max_examples=15, deadline=None)
@given(y=st.lists(exact, min_size=3, max_size=7), less=exact.map(abs), level=exact)
def test_a_lower_level_never_raises_n_star(y: list[float], less: float, level: float) -> None:
    x = GRID[: len(y)]
    with pytest.MonkeyPatch.context() as quicker:
        quicker.setattr(lc, "DRAWS", 200)
        before, after = n_star(y, level, x), n_star(y, level - less, x)
    assert after.middle <= before.middle
    assert (after.low, after.high) <= (before.low, before.high)


# ---------------------------------------------------------------------- what may be said


@dataclass
class FakeRun:
    agent: str
    seed: int
    success: float | None
    told: dict[str, int] = field(default_factory=dict)
    status: str = "done"
    value: float = 0.0
    steps: int = 1000
    path: Path = Path("missing")

    @property
    def config(self) -> dict[str, Any]:
        return {"agent": self.agent, "world": {"id": "World-v0"}, "steps": self.steps, "seed": self.seed}

    @property
    def result(self) -> dict[str, Any] | None:
        labels = {"actions": 0, "states": 0, "rewards": 0, "terminations": 7} | self.told
        return {
            "evaluation": {"episodes": 100, "levels": "held-out (512)"},
            "return": {"mean": self.value},
            "success": None if self.success is None else {"mean": self.success},
            "labels": labels,
        }


def arm(agent: str, success: float, n: int = 0, seeds: int = 5, kind: str = "actions") -> list[FakeRun]:
    """Seeds that scatter a little, always the same way."""
    scatter = np.random.default_rng(len(agent)).normal(0, 0.01, seeds)
    told = {kind: n} if n else {"rewards": 1000}
    return [FakeRun(agent, k, float(np.clip(success + s, 0, 1)), told) for k, s in enumerate(scatter)]


def supervised(seeds: int = 5, middle: float = 9.0, name: str = "bc:labels={}", top: float = 1.0) -> list[FakeRun]:
    return [
        run for x, n in zip(GRID, COUNTS, strict=True)
        for run in arm(name.format(n), top * logistic(x, middle), n, seeds)
    ]  # fmt: skip


def said(runs: list[FakeRun], level: float | None = None) -> list[str]:
    return [text for world in crossing.worlds(runs, level) for text in crossing.sentences(world)]


def test_the_sentence_names_n_star_with_interval_and_seeds() -> None:
    runs = [*arm("random", 0.0), *supervised(10), *arm("ppo+noveld", logistic(9.5), seeds=10)]
    (text,) = said(runs)
    (found,) = crossing.crossings(crossing.worlds(runs)[0])
    assert found["n_star"] == pytest.approx(2**9.5, rel=0.1)
    assert found["low"] < 2**9.5 < found["high"]
    assert (found["supervised"], found["self_taught"], found["n"]) == ("bc", "ppo+noveld", 10)
    numbers = [f"{float(f'{found[key]:.3g}'):,.0f}" for key in ("n_star", "low", "high")]
    expected = "ppo+noveld without labels is worth about {} [{}, {}] action labels of bc on World-v0 (10 seeds)"
    assert text == expected.format(*numbers)


def test_a_ratio_is_named_where_a_few_draws_alone_are_open() -> None:
    """Their two sides are a hair apart then, and both ends of the interval are there."""
    few = crossing.Range(np.array([1.0, 2.0, 3.0, -np.inf, 2.0]), np.array([1.0, 2.001, 3.0, np.inf, 2.0]))
    assert crossing._middle(few) == pytest.approx(2.0, abs=1e-3)
    assert crossing._times(few).startswith("4 [")
    half = crossing.Range(np.array([1.0, -np.inf, -np.inf]), np.array([1.0, 2.0, 3.0]))
    assert crossing._middle(half) is None


def test_a_set_level_of_one_is_reached_where_all_episodes_are_solved() -> None:
    runs = [*arm("random", 0.0), *supervised(middle=4.0)]
    for run in runs:
        if run.agent != "random" and run.told["actions"] >= 256:
            run.success = 1.0
    (found,) = crossing.crossings(crossing.worlds(runs, 1.0)[0])
    assert found["n_star"] is not None and 64 < found["n_star"] < 2048  # ten episodes a run leave room for doubt


def test_a_curve_that_never_reaches_the_level() -> None:
    (text,) = said([*supervised(top=0.5), *arm("ppo", 0.95)])
    assert text == "ppo without labels is worth more than 8,192 action labels of bc on World-v0 (5 seeds)"


def test_a_curve_that_starts_above_the_level() -> None:
    (text,) = said([*supervised(middle=2.0), *arm("ppo", 0.3)])
    assert text == "ppo without labels is worth less than 32 action labels of bc on World-v0 (5 seeds)"


def test_a_learner_that_has_learned_nothing_is_told() -> None:
    (text,) = said([*arm("random", 0.1), *supervised(middle=2.0), *arm("ppo", 0.1)])
    assert text.endswith("(5 seeds; no evidence that it is above random)")


def test_an_end_that_is_open_on_one_side() -> None:
    late, early = said([*supervised(middle=13.2), *arm("ppo", 0.44)]), said([*supervised(middle=5.0), *arm("ppo", 0.5)])
    assert "more than 8,192]" in late[0] or "at least" in late[0]
    assert "[less than 32, " in early[0] or "at most" in early[0]


def test_no_evidence_where_the_interval_is_everything() -> None:
    flat = [run for n in COUNTS[:3] for run in arm(f"bc:labels={n}", 0.5, n)]
    wild = [FakeRun("ppo", k, value) for k, value in enumerate([0.1, 0.9, 0.2, 0.8, 0.5])]
    (text,) = said([*flat, *wild])
    assert "ppo without labels is worth an unknown number of action labels of bc on World-v0: no evidence" in text
    assert "less than 32 to more than 128" in text


@pytest.mark.parametrize("seeds", [1, 3, 4])
def test_under_five_seeds_no_winner_is_named(seeds: int) -> None:
    (text,) = said([*supervised(seeds), *arm("ppo", 0.5, seeds=seeds)])
    (few,) = said([*supervised(5), *arm("ppo", 0.5, seeds=seeds)])
    assert text == few == f"ppo against bc on World-v0, {seeds} seed{'s' if seeds > 1 else ''}: no winner named"


def test_under_five_seeds_a_level_is_not_named_either() -> None:
    (text,) = said(supervised(4), level=0.9)
    assert text == "success 0.9 against bc on World-v0, 4 seeds: no winner named"


def test_a_seed_that_occurs_twice_names_no_winner() -> None:
    (text,) = said([*supervised(), *arm("ppo", 0.5), FakeRun("ppo", 0, 0.4, steps=2000)])
    assert text.endswith("no winner named, ppo has a seed twice (settings differ)")


def test_unfinished_runs_and_several_settings_are_seen_in_the_rows(tmp_path: Path) -> None:
    other = FakeRun("ppo", 7, 0.5, steps=2000)
    runs = [*supervised(), *arm("ppo", 0.5), FakeRun("ppo", 8, None, status="stopped"), other]
    (world,) = crossing.worlds(runs)
    row = next(row for row in crossing.rows(world) if row["agent"] == "ppo")
    assert (row["runs"], row["unfinished"], row["low"], row["high"]) == (6, 1, None, None)
    assert row["notes"] == "no interval, not the same steps"
    assert next(cells for cells in crossing.cells(world) if cells["agent"] == "ppo")["runs"] == "6/7"
    assert world.levels[0].low is None
    path = crossing.analyse(runs, tmp_path)
    assert path is not None
    assert "\nppo: no interval, not the same steps.\n" in path.read_text()


def test_failed_runs_and_unlike_settings_are_told() -> None:
    other = [FakeRun("ppo", k, 0.5 + k / 100, {"rewards": 1}, steps=2000) for k in range(5)]
    (text,) = said([*supervised(), *other, FakeRun("ppo", 9, None, status="failed", steps=2000)])
    assert text.endswith("(5 seeds; 1 failed run of ppo left out; not the same steps)")


def test_a_level_that_is_set_and_labels_of_states() -> None:
    runs = [
        run
        for n, x in zip(COUNTS, GRID, strict=True)
        for run in arm(f"ppo+state:labels={n}", logistic(x), n, 5, "states")
    ]
    (text,) = said(runs, level=0.9)
    assert text.startswith("success 0.9 takes about ")
    assert text.endswith(" state labels of ppo+state on World-v0 (5 seeds)")


def test_what_self_teaching_saves_is_a_ratio() -> None:
    """Both curves are one, an octave and a half apart."""
    runs = [*supervised(10), *supervised(10, 7.5, "bc:labels={}+inverse:mode=frozen"), *arm("ppo", 0.6, seeds=10)]
    (world,) = crossing.worlds(runs)
    assert [curve.name for curve in world.few] == ["bc+inverse:mode=frozen"]
    (ratio,) = crossing.ratios(world)
    assert ratio["low"] < 2**1.5 < ratio["high"]
    assert ratio["ratio"] == pytest.approx(2**1.5, rel=0.15)
    assert ratio["text"].startswith("at the success 0.60 of ppo on World-v0: bc needs 2.")
    assert "times the labels of bc+inverse:mode=frozen (10 seeds)" in ratio["text"]


def test_two_arms_that_are_alike_have_a_ratio_without_evidence() -> None:
    runs = [*supervised(), *supervised(name="bc:labels={}+inverse"), *arm("ppo", 0.6)]
    (ratio,) = crossing.ratios(crossing.worlds(runs)[0])
    assert "no evidence of a difference" in ratio["text"]


def test_the_score_where_a_world_knows_no_success() -> None:
    runs = [*supervised(), *arm("ppo", 0.5), *arm("random", 0.0), *arm("oracle", 1.0)]
    scored = [FakeRun(run.agent, run.seed, None, run.told, value=10 + 5 * (run.success or 0)) for run in runs]
    (world,) = crossing.worlds(scored)
    assert world.metric == "score"
    assert crossing.crossings(world)[0]["n_star"] == pytest.approx(2**9, rel=0.15)
    assert crossing.worlds([run for run in scored if run.agent != "oracle"]) == []


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("bc:labels=64", "bc"),
        ("bc", "bc"),
        ("bc:labels=64,lr=0.01", "bc:lr=0.01"),
        ("bc:batch_size=32,labels=64", "bc:batch_size=32"),
        ("ppo+noveld+state:labels=64", "ppo+noveld+state"),
        ("bc:labels=64+inverse:mode=frozen", "bc+inverse:mode=frozen"),
    ],
)
def test_an_arm_is_its_agent_without_the_labels(agent: str, name: str) -> None:
    assert crossing.family(agent) == name


def test_labels_are_counted_by_the_ledger() -> None:
    """`bc` alone has a number of labels too, its default."""
    runs = [run for run in supervised() if run.agent != "bc:labels=1024"] + arm("bc", logistic(10), 1024)
    (world,) = crossing.worlds([*runs, *arm("ppo", 0.5)])
    np.testing.assert_allclose(world.supervised[0].x, GRID)
    row = next(row for row in crossing.rows(world) if row["agent"] == "bc")
    assert (row["n"], row["arm"], row["labels"]["actions"], row["labels"]["terminations"]) == (1024, "bc", 1024, 7)


# ---------------------------------------------------------------------- files


def test_files_are_the_same_each_time_and_go_when_there_is_no_crossing(tmp_path: Path) -> None:
    runs = [*arm("random", 0.0), *supervised(), *arm("ppo", 0.5), *arm("oracle", 1.0)]
    names = ("crossing.md", "crossing.json", "crossing.png")
    assert crossing.analyse(runs, tmp_path, level=0.9) == tmp_path / "crossing.md"
    first = [(tmp_path / name).read_bytes() for name in names]
    crossing.analyse(runs[::-1], tmp_path, level=0.9)
    assert [(tmp_path / name).read_bytes() for name in names] == first
    assert first[2].startswith(b"\x89PNG")
    assert len(json.loads(first[1])["worlds"][0]["crossings"]) == 2
    for fewer in ([run for run in runs if run.agent != "ppo"], [*supervised()[:10], *arm("ppo", 0.5)]):
        assert crossing.analyse(fewer, tmp_path) is None
        assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- the verb

WORDS = [
    "labels",
    "--env",
    "DeepSea-v0",
    "--self-taught",
    "ppo",
    "--min-labels",
    16,
    "--max-labels",
    64,
    "--steps",
    256,
]


@pytest.mark.slow
def test_a_study_from_end_to_end(sandbox: Callable[..., Any], tmp_path: Path, small: list[str]) -> None:
    words = [*WORDS, "--seeds", 1, "--out", "out", "--jobs", 2, "--level", 0.9, *small]
    answer = sandbox(*words)
    assert answer.code == 0, answer.err
    assert "ppo against bc on DeepSea-v0, 1 seed: no winner named" in answer.out
    assert "bc:labels=32" in answer.out
    out = tmp_path / "out"
    assert {path.name for path in out.glob("crossing.*")} == {"crossing.md", "crossing.json", "crossing.png"}
    assert len(list(out.rglob("result.json"))) == 6
    again = sandbox(*words, "--format", "json")
    assert "6 of 6 runs are done already" in again.err
    assert json.loads(again.out) == json.loads((out / "crossing.json").read_text())
    assert sandbox("report", "out").code == 0
    assert "## Crossing\n\n### DeepSea-v0" in (out / "report" / "report.md").read_text()


def test_a_dry_run_runs_nothing(sandbox: Callable[..., Any], tmp_path: Path) -> None:
    answer = sandbox(*WORDS, "--dry-run", "--out", "out")
    assert answer.code == 0, answer.err
    assert "30 runs" in answer.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (["--env", "DeepSea-v0", "--min-labels", "64", "--max-labels", "32"], "--min-labels 32 --max-labels 8192"),
        (["--env", "DeepSea-v0", "--min-labels", "33", "--max-labels", "200"], "there are 2"),
        (["--env", "DeepSae-v0"], "Did you mean"),
        (["--env", "CartPole-v1"], "neither an oracle, which the score needs, nor info['is_success']"),
        (["--env", "DeepSea-v0", "--supervised", "ppo"], "sandbox list supervised"),
        (["--env", "DeepSea-v0", "--supervised", "dager"], "unknown part"),
        (["--env", "DeepSea-v0", "--level", "2"], "less than or equal to 1"),
        (["--env", "DeepSea-v0", "--steps", "4000"], "raise --steps"),
    ],
)
def test_what_cannot_be_is_a_usage_error(
    sandbox: Callable[..., Any], tmp_path: Path, words: list[str], mend: str
) -> None:
    answer = sandbox("labels", *words, "--out", "out")
    assert answer.code == 2
    assert mend in " ".join(answer.err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_the_grid_holds_every_power_of_two_and_each_arm_once() -> None:
    study = label_study("DeepSea-v0", ["bc", "state", "bc"], ["ppo", "ppo+counts"], 30, 128, 2, 1000, [])
    assert study.agents == [
        "random", "oracle", "ppo", "ppo+counts", "bc:labels=32", "bc:labels=64", "bc:labels=128",
        "ppo+state:labels=32", "ppo+state:labels=64", "ppo+state:labels=128",
    ]  # fmt: skip


def test_a_bonus_of_ones_own_and_a_trained_expert_take_part() -> None:
    plugin = Path(__file__).parents[2] / "examples" / "my_bonus.py"
    expert = Path("runs/expert")
    study = label_study("DeepSea-v0", ["bc"], ["ppo+my_bonus"], 32, 128, 1, 1000, [], [plugin], expert)
    assert "ppo+my_bonus" in study.agents
    assert (study.plugins, study.expert) == ([str(plugin)], str(expert))


OWN = """
import gymnasium as gym, numpy as np
from gymnasium import spaces

class Own(gym.Env):
    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}
    def step(self, action):
        return np.zeros(3, np.float32), 1.0, True, False, {"is_success": bool(action)}

gym.register("NoOracle-v0", entry_point=Own)
"""


def test_an_expert_labels_in_a_world_without_an_oracle(
    sandbox: Callable[..., Any], tmp_path: Path, small: list[str]
) -> None:
    (tmp_path / "own_world.py").write_text(OWN)
    world = ["--env", "own_world:NoOracle-v0", "--steps", "512", *small]
    assert sandbox("train", "ppo", *world, "--out", "my runs").code == 0
    (result,) = (tmp_path / "my runs").rglob("result.json")
    words = ["labels", *world, "--max-labels", "128", "--self-taught", "ppo", "--seeds", "1", "--dry-run"]
    answer = sandbox(*words, "--expert", result.parent)
    assert answer.code == 0, answer.err
    agents = {line.split()[0] for line in answer.out.splitlines() if "NoOracle" in line}
    assert agents == {"random", "ppo", "bc:labels=32", "bc:labels=64", "bc:labels=128"}
    assert "needs an oracle" in sandbox(*words).err
    result.unlink()
    answer = sandbox(*words, "--expert", result.parent)
    assert answer.code == 2 and f"`sandbox resume '{result.parent}'` goes on" in answer.err
