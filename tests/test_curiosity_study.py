"""The curiosity study: its files agree, its claims follow from made-up scores, a part of it gives a page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sandbox import registry
from sandbox.config import Study, to_dict
from sandbox.errors import CorruptFile
from sandbox.files import write_json
from sandbox.runs import create
from sandbox.study import folder_of
from sandbox.versions import versions
from studies import _beside_none, _claims, _fly_claims, _ranks, curiosity
from studies._batches import Batch, every, run, tidy
from studies._curiosity_page import curiosity as page
from studies._records import carry, keep, load, name_of

SEEDS = range(10)
PLANNED = {
    (curiosity.world_name(one), curiosity.arm_name(one.agent)): len(SEEDS)
    for batch in curiosity.batches()
    for one in batch.study(1).experiments()
}
PLANNED |= {
    cell: n for cell, n in curiosity.watched_cells(PLANNED).items() if cell[0].startswith(_claims.TV + _claims.FREE)
}


def test_every_file_has_the_same_arms_but_for_those_that_its_world_lacks() -> None:
    arms: dict[str, set[str]] = {}
    for batch in curiosity.batches():
        study = batch.study()
        arms[batch.file] = {curiosity.arm_name(agent) for agent in study.agents}
        assert len(study.seeds) == 10  # type: ignore[arg-type]
    full = arms["curiosity"]
    assert {"none", "random", "oracle", "counts:state=full", "e3b.rnd", "rnd+e3b"} <= full
    assert set(registry.names("curiosity")) <= full
    lacking = {"curiosity_cartpole": {"oracle", "counts:state=full"}}
    lacking["curiosity_deep_sea"] = lacking["curiosity_cartpole"] | {"random"}
    lacking["curiosity_harder"] = full - {"random", "oracle", "counts", "counts:state=full", "contacts"}
    for file, found in arms.items():
        assert full - found == lacking.get(file, set()), file


def test_a_run_of_deep_sea_holds_ten_thousand_episodes() -> None:
    for batch in curiosity.batches()[-5:]:
        study = batch.study()
        size = int(study.world.kwargs["size"])
        assert study.steps % (16 * 32) == 0
        assert 10_000 <= study.steps // 16 // size * 16 < 10_000 + 16 * 32 / size + 16


def test_the_claims_ask_only_for_what_is_planned() -> None:
    for claim in _claims.CLAIMS:
        for comparison in claim.comparisons:
            assert comparison.cells <= PLANNED.keys()


def test_what_the_claims_compare_is_run_first() -> None:
    first = curiosity.wanted({}, True)
    cells = {curiosity.cell_of(arm[0]) for batch in curiosity.batches() for arm in batch.arms if first(arm[0])}
    assert cells >= {cell for cell in _claims.COMPARED if not cell[0].endswith(_claims.WATCHED)}
    assert "CartPole-v1" not in {world for world, _ in cells}
    assert {world for world, _ in cells if "DeepSea" in world} == {"DeepSea:size=20"}


def test_an_arm_climbs_where_it_solved_half_of_each_size_from_20_on() -> None:
    half, less = {k: float(k % 2) for k in range(6)}, {k: float(k == 0) for k in range(6)}
    made_up = {("DeepSea:size=10", "rnd"): less, ("DeepSea:size=20", "rnd"): half, ("DeepSea:size=30", "rnd"): less}
    found = [size for size in _claims.SIZES if _claims.climbs(f"DeepSea:size={size}", "rnd", made_up)]
    assert found == [10, 20, 30]
    assert _claims.climbs("CartPole-v1", "rnd", {})
    few = {("DeepSea:size=20", "rnd"): {k: 1.0 for k in range(4)}}
    assert not _claims.climbs("DeepSea:size=30", "rnd", few)  # not known before five seeds


def test_arms_that_fell_on_the_way_count_as_unable_to_solve_the_largest_size() -> None:
    def told(counts: float, rnd: float, seeds: int = 10) -> tuple[str, int]:
        cells = {("DeepSea:size=20", "rnd"): rnd, **{(f"DeepSea:size={n}", "counts"): 1.0 for n in (20, 30, 40)}}
        cells["DeepSea:size=50", "counts"] = counts
        made_up = {cell: {seed: value for seed in range(seeds)} for cell, value in cells.items()}
        (claim,) = [one for one in _claims.judge(made_up, dict.fromkeys(made_up, 10)) if one["claim"] == "4"]
        return claim["verdict"], claim["n"]

    assert told(1.0, 0.0) == ("held", 10)
    assert told(0.0, 0.0) == ("refuted", 10)
    assert told(1.0, 0.0, seeds=5) == ("no evidence", 5)
    assert told(1.0, 1.0)[0] == "not run (50 of 50)"  # rnd climbs, but was not tried at 30


def scores(value: Callable[[str, str, int], float]) -> dict[Any, dict[int, float]]:
    return {(world, arm): {seed: value(world, arm, seed) for seed in SEEDS} for world, arm in PLANNED}


def verdicts(made_up: Any) -> dict[str, str]:
    return {one["claim"]: one["verdict"] for one in _claims.judge(made_up, PLANNED)}


def as_claimed(world: str, arm: str, seed: int) -> float:
    """A world in which every claim is true."""
    noise = 0.01 * ((seed * 7 + len(arm)) % 10)
    low = {
        "icm": "NoisyTV" in world and "AlwaysOn" not in world,
        "random": True,
        "rnd": "AlwaysOn" in world or world.startswith(("Disco", "Sparse")) or world in _claims.HARD,
        "simhash": "AlwaysOn" in world or world.startswith(("Disco", "Sparse")),
        "re3": "AlwaysOn" in world or world.startswith("Disco"),
        "counts:episodic=none": True,
    }
    middle = {"counts:lifelong=false": True, "e3b": world in _claims.HARD}
    if world.startswith("DeepSea"):
        return float(arm != "none")
    if world.startswith("Disco"):  # where chance, and what counts as no better, are small
        noise /= 20
    if world.endswith(_claims.WATCHED):
        return (0.7 if arm == "icm" else 0.1) + noise
    if arm == "counts:state=full":
        return 0.9 + noise
    return (0.1 if low.get(arm) else 0.4 if middle.get(arm) else 0.7) + noise / 10


def test_claims_are_held_where_they_are_true_and_refuted_where_the_contrary_is() -> None:
    true = verdicts(scores(as_claimed))
    assert {number: verdict for number, verdict in true.items() if number not in ("5a", "5c")} == dict.fromkeys(
        ("1a", "1b", "1c", "2", "3a", "3b", "4", "5b", "6"), "held"
    )
    contrary = verdicts(scores(lambda w, a, k: 1 - as_claimed(w, a, k)))
    assert {number for number, verdict in contrary.items() if verdict == "no evidence"} == {"1a", "1b"}  # the premise
    assert {verdict for number, verdict in contrary.items() if number not in ("1a", "1b", "5a", "5c")} == {"refuted"}


def test_what_holds_on_the_whole_and_not_in_each_world_is_mixed() -> None:
    """Counts in the episode alone are better by far in two of three worlds, and worse in the third."""

    def value(world: str, arm: str, seed: int) -> float:
        flip = world == "ObstructedMaze-1Dlh" and arm in ("counts:lifelong=false", "counts:episodic=none")
        return (0.5 if flip else 1.0) * as_claimed(world, arm if not flip else "counts:lifelong=false", seed) + (
            0.1 if flip and arm == "counts:episodic=none" else 0.0
        )

    found = {one["claim"]: one for one in _claims.judge(scores(value), PLANNED)}
    assert found["3a"]["verdict"] == "mixed"
    assert [line for line in found["3a"]["lines"] if line.startswith("there refuted: counts:lifelong=false in Obstr")]
    assert sum(line.startswith("there held") for line in found["3a"]["lines"]) == 5
    assert found["6"]["verdict"] == "held"


def test_equal_arms_are_no_evidence() -> None:
    rng = np.random.default_rng(0)
    found = verdicts(scores(lambda w, a, k: float(rng.random())))
    assert not {"held", "refuted"} & set(found.values())


def test_under_five_seeds_nothing_is_judged_and_the_missing_runs_are_counted() -> None:
    full = scores(as_claimed)
    four = {cell: {seed: of[seed] for seed in range(4)} for cell, of in full.items()}
    assert verdicts(four)["6"] == "not run (32 of 80)"
    assert all(verdict.startswith("not run") for verdict in verdicts(four).values())
    one_arm_short = full | {("MultiRoom-N6", "counts"): {}}
    assert verdicts(one_arm_short)["6"] == "not run (70 of 80)"
    assert verdicts(one_arm_short)["2"] == "held"
    assert _ranks.stability(four) == {"worlds": [], "arms": []}


def test_no_better_is_judged_by_a_margin() -> None:
    def found(low: float, high: float) -> str:
        estimate = _claims.Estimate((low + high) / 2, low, high, (10, 10))
        return _claims.outcome("not above", estimate, 0.95)

    assert _claims.outcome("not above", _claims.Estimate(0.005, 0.001, 0.009, (10, 10)), 0.95, 0.004) == "refuted"
    assert [found(-0.3, -0.1), found(-0.1, 0.04), found(0.01, 0.04)] == ["held"] * 3
    assert found(-0.01, 0.06) == "no evidence"
    assert found(0.01, 0.06) == "refuted"


def test_what_does_not_vary_between_seeds_is_no_evidence_of_equality_and_of_a_difference_with_enough_seeds() -> None:
    def found(expected: str, x: float, y: float, n: int, level: float) -> str:
        one = _claims.Comparison(_claims.arm_in("w", "a"), _claims.arm_in("w", "b"), expected)
        cells = {("w", "a"): dict.fromkeys(range(n), x), ("w", "b"): dict.fromkeys(range(n), y)}
        estimate = one.estimate(cells, level)
        assert estimate is not None and estimate.degenerate
        return _claims.outcome(expected, estimate, level)

    assert found("not above", 0.0, 0.0, 10, 0.95) == "no evidence"  # none of ten solved it: neither may be able to
    assert found("not above", 0.0, 0.5, 10, 0.95) == "held"
    assert [found("above", 1.0, 0.0, n, 0.95) for n in (5, 6)] == ["no evidence", "held"]  # 2 / 2^5 is above 0.05
    assert [found("above", 0.0, 1.0, n, 0.99) for n in (7, 8)] == ["no evidence", "refuted"]


def test_without_its_premise_a_claim_has_no_evidence() -> None:
    def lost(world: str, arm: str, seed: int) -> float:
        """ICM never learns, so that the television takes nothing from it."""
        return as_claimed(world, "random" if arm == "icm" else arm, seed)

    found = {one["claim"]: one for one in _claims.judge(scores(lost), PLANNED)}
    assert found["1a"]["verdict"] == found["1b"]["verdict"] == "no evidence"
    assert found["1a"]["lines"][0].startswith("premise no evidence: icm in MultiRoom-N4-S5")
    assert found["2"]["verdict"] == "held"


def test_the_hash_claim_reads_the_hash_study() -> None:
    hashes = json.loads(curiosity.FLY_HASH.read_text("utf-8"))
    (claim,) = [one for one in _fly_claims.judge(hashes) if one["claim"] == "5a"]
    assert claim["verdict"] in ("held", "refuted", "no evidence") and claim["n"] == len(hashes["runs"])
    hashes["runs"] = hashes["runs"][:3]
    (claim,) = [one for one in _fly_claims.judge(hashes) if one["claim"] == "5a"]
    assert claim["verdict"] == "not run (3 of 5)"


def test_the_novelty_claim_is_about_the_bonuss_own_decay() -> None:
    def judged(r: float, runs: int = 10) -> str:
        novelty = [[{"delta": 0.9, "r": r + 0.001 * k}, {"delta": 0.0, "r": 0.1}] for k in range(runs)]
        hashes = {"runs": [{"similarity": [], "novelty": one} for one in novelty]}
        return _fly_claims.novelty(hashes)["verdict"]

    assert [judged(0.6), judged(0.4), judged(0.4955), judged(0.6, 4)] == [
        "held",
        "refuted",
        "no evidence",
        "not run (4 of 5)",
    ]
    assert _fly_claims.novelty(None)["verdict"] == "not run (0 of 5)"


# ---------------------------------------------------------------------- beside no bonus


def test_arms_are_told_apart_from_no_bonus() -> None:
    rng = np.random.default_rng(0)
    levels = {"none": 0.5, "rnd": 0.8, "icm": 0.2, "counts": 0.5, "random": 0.0}
    cells = {("w", arm): {k: x + 0.001 * rng.random() for k in SEEDS} for arm, x in levels.items()}
    cells["w", "wild"] = {k: float(rng.random()) for k in SEEDS}
    (row,) = _beside_none.beside(cells, {"w": "success", "nowhere": "success"})
    assert [row[name] for name in _beside_none.OUTCOMES] == [["rnd"], ["icm"], ["counts"], ["wild"]]
    floor = {
        cell: {k: x - 0.5 if cell[1] in ("none", "counts") else x for k, x in of.items()} for cell, of in cells.items()
    }
    (row,) = _beside_none.beside(floor, {"w": "success"})
    assert row["no worse"] == []  # who has nothing cannot lose it
    (row,) = _beside_none.beside(cells, {"w": "success"})
    assert row["level"] == 1 - 0.05 / 4 and row["n"] == 10
    assert row["iqm"]["rnd"] == pytest.approx(0.8, abs=0.01)


def test_no_harm_is_meant_on_the_scale_of_the_score() -> None:
    cells = {("w", arm): {k: x + k for k in SEEDS} for arm, x in (("none", 400.0), ("rnd", 390.0))}
    assert _beside_none.beside(cells, {"w": "return"})[0]["below"] == ["rnd"]
    lower = cells | {("w", "rnd"): {k: 400.0 + (-1) ** k * 3 + k for k in SEEDS}}
    assert _beside_none.beside(lower, {"w": "return"})[0]["no worse"] == ["rnd"]
    assert _beside_none.beside(lower, {"w": "success"})[0]["no evidence"] == ["rnd"]


def test_wilsons_interval_is_scipys() -> None:
    for k, n in ((0, 10), (3, 10), (10, 10)):
        low, high = stats.binomtest(k, n).proportion_ci(0.99, "wilson")
        assert _claims.share([1.0] * k + [0.0] * (n - k), 0.99) == pytest.approx((low, high), abs=1e-9)


# ---------------------------------------------------------------------- ranks


def test_ranks_and_tau_are_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 4, (2, 8))
        np.testing.assert_allclose(_ranks.ranks(x), stats.rankdata(-x))
        assert _ranks.tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)
    assert _ranks.tau(np.zeros(3), np.arange(3)) == 0


def test_an_order_without_noise_is_stable_and_one_of_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    sure = {("w", f"a{i}"): {seed: i + 0.01 * rng.random() for seed in SEEDS} for i in range(6)}
    luck = {("w", f"a{i}"): {seed: rng.random() for seed in SEEDS} for i in range(6)}
    stable, unstable = _ranks.stability(sure), _ranks.stability(luck)
    assert stable["worlds"][0]["halves"] == 1
    assert [row["arm"] for row in stable["arms"]] == [f"a{i}" for i in (5, 4, 3, 2, 1, 0)]
    assert {row["keeps"] for row in stable["arms"]} == {1.0}
    assert unstable["worlds"][0]["halves"] < 0.6
    assert min(row["keeps"] for row in unstable["arms"]) < 0.6


def test_places_are_over_the_largest_block_of_worlds_and_arms() -> None:
    held = {"one": "abcdefgh", "two": "abcd", "three": "dabc", "four": "ax"}
    value = {arm: i for i, arm in enumerate("habcdefgx")}  # h is worst, but only one world holds it
    found = _ranks.stability(
        {(w, arm): {seed: value[arm] + seed / 100 for seed in SEEDS} for w, arms in held.items() for arm in arms}
    )
    assert [(row["arm"], row["worlds"], row["place"]) for row in found["arms"]] == [
        ("d", 3, 0.0), ("c", 3, pytest.approx(1 / 3)), ("b", 3, pytest.approx(2 / 3)), ("a", 3, 1.0)
    ]  # fmt: skip
    assert [row["arms"] for row in found["worlds"]] == [8, 4, 4, 2]


# ---------------------------------------------------------------------- from runs to a page


def finish(batch: Batch, root: Path, agent: str, seeds: int, result: dict[str, Any]) -> None:
    """Made-up finished runs."""
    for one in batch.study(seeds).experiments():
        if one.agent == agent:
            made = create(folder_of(one, root / batch.folder), to_dict(one))
            write_json(made.versions_file, versions() | {"commit": "made-up"})
            told = {"status": "done", "steps": one.steps, "cost": {"cpu_seconds": one.steps * 1e-5}}
            write_json(made.result_file, told | result)


def test_a_part_of_the_study_gives_a_page(tmp_path: Path) -> None:
    few = 'agents=["random", "ppo", "ppo+counts"]'
    cart = Batch("curiosity_cartpole", "cart", (few,))
    disco = Batch("curiosity_free", "free", (few, 'envs=["DiscoMaze-v0"]'))
    sea = Batch("curiosity_deep_sea", "sea", ('agents=["ppo+flat", "ppo+flat+rnd"]',))
    planned = [cart, disco, sea]
    assert "0 of 80 runs finished" in page(curiosity.result({}, planned))

    dense = {"success": None, "return": {"mean": 400.0}, "coverage": None}
    seen = {"evaluation": 0.25, "training": {"entropy": 0.5}, "visits": [[1]]}
    finish(cart, tmp_path, "ppo", 3, dense)
    finish(cart, tmp_path, "ppo+counts", 10, dense)
    finish(disco, tmp_path, "ppo", 5, {"success": None, "return": {"mean": 0.0}, "coverage": seen})
    for agent, after in (("ppo+flat", 0), ("ppo+flat+rnd", 1123)):  # bsuite: before episode 2^10 + 100 = 1124
        told = {"evaluation": 1.0, "training": {"entropy": 1.0, "coverage": 1.0, "solved_after": after}}
        finish(sea, tmp_path, agent, 5, {"success": {"mean": 1.0}, "return": {"mean": 0.99}, "coverage": told})

    kept = keep(tmp_path / "runs.jsonl", tmp_path, every(planned), curiosity.record)
    for folder in ("cart", "free", "sea"):
        shutil.rmtree(tmp_path / folder)  # the records are enough
    assert keep(tmp_path / "runs.jsonl", tmp_path, every(planned), curiosity.record) == kept
    found = curiosity.result(kept, planned)
    rows = {(row["world"], row["arm"]): row for row in found["arms"]}
    assert rows["CartPole-v1", "none"]["score"] == {"iqm": 400, "low": 400, "high": 400, "n": 3}
    assert rows["CartPole-v1", "random"]["scores"] == [] and rows["CartPole-v1", "random"]["planned"] == 10
    assert rows["DiscoMaze, no reward", "none"]["scores"] == [0.25] * 5
    assert rows["DeepSea:size=10", "none"]["scores"] == [0.0] * 5
    assert rows["DeepSea:size=10", "rnd"]["scores"] == [1.0] * 5
    assert rows["CartPole-v1", "counts"]["us"] == 10.0
    text = page(found)
    assert "28 of 80 runs finished. " in text and "made-up" in text
    assert "400.00 [400.00, 400.00] (n = 3)" in text and "of those no winner is named" in text
    assert "5 of 5" in text and "not run" in text and "| none | 10.0 |" in text


def test_a_record_counts_only_for_the_settings_that_made_it(tmp_path: Path) -> None:
    cart = Batch("curiosity_cartpole", "cart", ('agents=["ppo"]',))
    finish(cart, tmp_path, "ppo", 5, {"success": None, "return": {"mean": 1.0}, "coverage": None})
    kept = keep(tmp_path / "runs.jsonl", tmp_path, every([cart]), curiosity.record)
    longer = Batch("curiosity_cartpole", "cart", ('agents=["ppo"]', "steps=400_000"))
    counted = [curiosity.result(kept, [one])["arms"][0]["seeds"] for one in (cart, longer)]
    assert counted == [[0, 1, 2, 3, 4], []]


def test_what_no_record_tells_stays_as_it_was_published_of_the_same_scores(tmp_path: Path) -> None:
    old = {"world": "w", "arm": "a", "seeds": [0, 1], "scores": [0.5, 0.6], "us": 7.0, "coverage": {"iqm": 0.1, "n": 2}}
    write_json(tmp_path / "result.json", {"arms": [old]})

    def carried(**changes: Any) -> dict[str, Any]:
        row = {"world": "w", "arm": "a", "seeds": [0, 1, 2], "scores": [0.5, 0.6, 0.9], "us": None, "coverage": None}
        carry([row := row | changes], tmp_path / "result.json", ("us", "coverage"))
        return row

    assert (carried()["us"], carried()["coverage"]) == (7.0, {"iqm": 0.1, "n": 2})
    assert carried(us=3.0)["us"] == 3.0
    assert carried(scores=[0.4, 0.6, 0.9])["us"] is None
    assert carried(arm="b")["us"] is None


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"run": "a/seed-0", "commit": "x", "score": 1.0}\n{"score": 1.0}\n', "utf-8")
    with pytest.raises(CorruptFile, match=r"runs\.jsonl, line 2"):
        load(path)


def test_what_is_kept_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cart = Batch("curiosity_cartpole", "cart", ('agents=["random", "ppo"]',))
    kept = {name_of("cart", one): {} for one in cart.study(5).experiments() if one.agent == "ppo" and one.seed != 3}
    asked: list[tuple[str, int]] = []

    def compare(study: Study, *_others: Any) -> None:
        asked.extend((one.agent, one.seed) for one in study.experiments())
        kept.update({name_of("cart", one): {} for one in study.experiments()})

    monkeypatch.setattr("sandbox.main_job.compare", compare)
    run([cart], tmp_path, 1, "test", lambda _kept, first: lambda one: not first or one.agent == "ppo", lambda: kept)
    assert asked[:6] == [("ppo", 3), *(("random", seed) for seed in range(5))]
    assert sorted(asked[6:]) == [(agent, seed) for agent in ("ppo", "random") for seed in range(5, 10)]


def test_a_finished_run_loses_its_checkpoints_and_an_unfinished_one_keeps_them(tmp_path: Path) -> None:
    batch = Batch("curiosity_cartpole", "cart", ('agents=["ppo"]',))
    finish(batch, tmp_path, "ppo", 1, {"success": None, "return": {"mean": 1.0}, "coverage": None})
    done, other = (folder_of(one, tmp_path / "cart") for one in batch.study(2).experiments())
    create(other, to_dict(batch.study(2).experiments()[1]))
    for folder in (done, other):
        (folder / "checkpoints").mkdir()
    tidy(tmp_path / "cart")
    assert not (done / "checkpoints").exists() and (other / "checkpoints").exists()
    assert (done / "result.json").exists()
