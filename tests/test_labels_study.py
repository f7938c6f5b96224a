"""The labels study: its files agree, every arm has its letter, claims follow from scores, a part gives a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.analyses._arms import Snapshot
from sandbox.config import to_dict
from sandbox.files import write_json
from sandbox.runs import create
from sandbox.study import folder_of
from sandbox.versions import versions
from studies import _label_claims, _labels_page, _other_claims, _probe_ranks, _two_by_two, labels
from studies._batches import Batch, every
from studies._labels_page import labels as page
from studies._records import keep
from studies.msa import PUBLISHED

PLANNED = labels.batches(further=True)


def arms(batch: Batch) -> list[str]:
    return [labels.arm_of(arm[0]) for arm in {one.agent: [one] for one in batch.study(1).experiments()}.values()]


def test_every_world_has_the_same_arms_and_every_arm_a_letter() -> None:
    by_file = {batch.file: arms(batch) for batch in PLANNED}
    for file, others in (("labels", ("_pixels", "_rendered")), ("labels_all", ("_pixels", "_rendered"))):
        for other in others:
            assert by_file[file] == by_file[file + other]
    assert by_file["labels_data"] == by_file["labels_data_pixels"] == by_file["labels_data_rendered"]
    letters = {labels.letter(arm) for file in by_file.values() for arm in file}
    assert {"L0", "L1", "R1", "R3", "S1", "S2", "S3", "S4", "U1", "U2", "U3", "U4", "H1", "P1", "O"} <= letters


def test_there_are_six_worlds_and_ten_seeds() -> None:
    worlds = {labels.world_name(one) for batch in PLANNED for one in batch.study(1).experiments()}
    assert len(worlds) >= 6
    assert set(_label_claims.WORLDS) <= worlds
    assert all(len(batch.study().seeds) == 10 for batch in PLANNED)  # type: ignore[arg-type]


def row(world: str, arm: str, scores: list[float]) -> dict[str, Any]:
    return {"world": world, "arm": arm, "seeds": list(range(len(scores))), "scores": scores, "planned": 10}


def around(middle: float, arm: str) -> list[float]:
    """Five seeds, whose luck is not that of another arm."""
    return list(middle + 0.02 * np.random.default_rng(len(arm)).random(5))


@pytest.mark.parametrize(("frozen", "verdict"), [(0.2, "held"), (0.95, "refuted"), (0.6, "no evidence")])
def test_a_claim_follows_from_the_scores(frozen: float, verdict: str) -> None:
    value = {_label_claims.FROZEN: frozen, _label_claims.SELF_TAUGHT: 0.6}
    rows = [row(w, arm, around(value[arm], arm)) for w in _label_claims.WORLDS for arm in value]
    found = {claim["claim"]: claim for claim in _label_claims.judge(rows)}
    assert found["4"]["verdict"] == verdict
    assert found["3"]["verdict"].startswith("not run")


def test_a_claim_that_misses_worlds_says_how_it_stands_in_the_others() -> None:
    value = {_label_claims.FROZEN: 0.2, _label_claims.SELF_TAUGHT: 0.6}
    few = _label_claims.WORLDS[:2]
    rows = [row(w, arm, around(value[arm], arm)) for w in few for arm in value]
    rows.append(row(_label_claims.WORLDS[2], _label_claims.FROZEN, around(0.2, "frozen")))
    claim = next(one for one in _label_claims.judge(rows) if one["claim"] == "4")
    assert claim["verdict"] == "not run (25 of 50)"
    assert len(claim["lines"]) == 3  # of both worlds together, and of each
    assert claim["lines"][0].startswith(f"so far, in {', '.join(few)}: held: ")


def test_a_part_of_the_study_gives_a_page(tmp_path: Path) -> None:
    few = 'agents=["ppo+cnn:shift=true", "bc:labels=64+cnn:shift=true"]'
    batch = Batch("labels_pixels", "pixels", (few, 'envs=["PixelGoal-v0"]'))
    assert "0 of 20 runs finished" in page(labels.result({}, [batch]))
    for one in batch.study(5).experiments():
        run, told = create(folder_of(one, tmp_path / "pixels"), to_dict(one)), 64 if one.agent[:2] == "bc" else 0
        write_json(run.versions_file, versions() | {"commit": "made-up"})
        ledger = {"actions": told, "states": 0, "rewards": 1000 - told, "terminations": 1000 - told}
        score = {"success": {"mean": 0.5}, "return": {"mean": 0.4}, "coverage": {"evaluation": 0.25}}
        cost = {"status": "done", "steps": 1000, "cost": {"cpu_seconds": 3.0}, "privileged": []}
        cost["evaluation"] = {"episodes": 100}
        write_json(run.result_file, score | cost | {"labels": ledger})
    kept = keep(tmp_path / "runs.jsonl", tmp_path, every([batch]), labels.record)
    text = page(labels.result(kept, [batch]))
    assert "10 of 20 runs finished. " in text and "made-up" in text
    assert "| U2 | bc:labels=64 | 5 | 0.50 [0.50, 0.50] | 0.25 | 64 | 0 | 936 | 936 | 1,000 | 3 |" in text
    assert "| R2 | ppo | 5 |" in text  # its pictures are shifted


def test_a_world_has_a_crossing_for_each_self_taught_level_and_sentences_of_the_main_one() -> None:
    def run(agent: str, seed: int, success: float, actions: int = 0) -> Snapshot:
        config = {"agent": agent, "seed": seed, "world": {"id": "MiniGrid-DoorKey-8x8-v0", "kwargs": {}}}
        ledger = {"actions": actions, "states": 0, "rewards": 0 if actions else 900.0, "terminations": 0}
        told = {"success": {"mean": success}, "return": None, "labels": ledger, "evaluation": {"episodes": 100}}
        return Snapshot(Path("records"), config, "done", told)

    curve = [run(f"bc:labels={2**k}", s, (k - 4) / 9, 2**k) for k in range(5, 13) for s in range(5)]
    taught = [run(agent, s, level) for agent, level in ((labels.MAIN, 0.4), ("ppo+noveld", 0.7)) for s in range(5)]
    (world,) = labels.crossings([*curve, *taught])
    by_letter = {one["letter"]: one for one in world["found"]}
    assert by_letter.keys() == {"S3", "R3"}
    assert by_letter["R3"]["n_star"] > 2 * by_letter["S3"]["n_star"] > 0
    assert all(one["rewards"] == 900 for one in world["found"])
    assert len(world["sentences"]) == 1 and labels.MAIN in world["sentences"][0]
    assert "| bc | R3 | 5 | 0.70 | 900 |" in _labels_page._crossings([world])


def test_ranks_of_features_stand_beside_the_untrained_encoders() -> None:
    def told(rank: float, verdict: str) -> dict[str, Any]:
        return {"verdict": verdict, "rankme_centred": [rank, 20.0], "lidar": [None, None], "normalised_std": [0.1, 0.2]}

    arm = {"world": "w", "letter": "S3", "arm": "ppo+x", "ledger": {"actions": 0}}
    text = _labels_page._diagnoses([arm | {"diagnoses": [told(4.0, "healthy"), told(2.0, "collapsing")]}])
    assert "| w | S3 | ppo+x | 2 | 3 (20) | - (-) | 0.1 (0.2) | 1 healthy, 1 collapsing |" in text
    assert _labels_page._diagnoses([arm | {"diagnoses": []}]) == "No run has been diagnosed.\n"


def test_what_the_claims_rest_on_is_planned_and_runs_first() -> None:
    first = labels.wanted({}, True)
    arms = [arm for batch in labels.batches(further=True) for arm in batch.arms if first(arm[0])]
    assert {(labels.world_name(one), labels.arm_of(one)) for one, *_ in arms} == _label_claims.COMPARED


def probed(world: str, arm: str, score: float, probe: float, rewards: int = 5) -> dict[str, Any]:
    """An arm of five seeds, of which the reward was probed in the first `rewards`."""
    rng = np.random.default_rng(len(world + arm))
    scores, read = (list(middle + 0.01 * rng.standard_normal(5)) for middle in (score, probe))
    return row(world, arm, scores) | {
        "probes": {"oracle": read, "reward": [*read[:rewards], *[None] * (5 - rewards)], "state": read}
    }


@pytest.mark.parametrize(("sign", "verdict"), [(1, "held"), (-1, "refuted"), (0, "no evidence")])
def test_probes_that_order_as_scores_do_hold_claim_6(sign: int, verdict: str) -> None:
    def rows(world: str) -> list[dict[str, Any]]:
        return [probed(world, arm, i / 10, 0.5 + sign * i / 10) for i, arm in enumerate(_probe_ranks.ARMS)]

    every = [one for world in ("one", "two") for one in rows(world)]
    found = _probe_ranks.judge(every, ["one", "two"])
    assert found["verdict"] == verdict and found["n"] == 5
    if sign:
        assert found["worlds"]["one"]["oracle"] == sign
    assert _probe_ranks.judge(every, ["one", "two", "three"])["verdict"] == "not run (2 of 3 worlds)"


def test_a_world_where_all_agents_score_alike_or_a_seed_is_not_probed_orders_nothing() -> None:
    alike = [probed("one", arm, 0.5, i / 10) for i, arm in enumerate(_probe_ranks.ARMS)]
    for one in alike:
        one["scores"] = [1.0] * 5
    assert _probe_ranks.table_of(alike, "one") is None
    missing = [probed("one", arm, i / 10, i / 10, rewards=4) for i, arm in enumerate(_probe_ranks.ARMS)]
    assert _probe_ranks.table_of(missing, "one") is None  # the reward of one seed is not there: four are left
    for one in missing:
        del one["probes"]["reward"]
    assert _probe_ranks.table_of(missing, "one") is not None


# ---------------------------------------------------------------------- data or objective


def four(cells: tuple[float, float, float, float], world: str, seeds: int = 6) -> list[dict[str, Any]]:
    rng = np.random.default_rng(len(world))
    return [
        row(world, arm, list(value + 0.01 * rng.standard_normal(seeds)))
        for arm, value in zip(_two_by_two.ARMS.values(), cells, strict=True)
    ]


def test_effects_of_the_two_by_two_are_those_put_in() -> None:
    one, two = four((0.1, 0.2, 0.5, 0.9), "one"), four((0.1, 0.1, 0.1, 0.1), "world two")
    first, second, both = _two_by_two.effects([*one, *two], ["one", "world two", "not run"])
    assert (first["worlds"], first["n"], both["worlds"]) == (["one"], 6, ["one", "world two"])
    assert first["data"]["value"] == pytest.approx((0.5 + 0.9 - 0.1 - 0.2) / 2, abs=0.02)
    assert first["objective"]["value"] == pytest.approx((0.2 + 0.9 - 0.1 - 0.5) / 2, abs=0.02)
    assert first["interaction"]["value"] == pytest.approx(0.9 - 0.5 - 0.2 + 0.1, abs=0.03)
    assert all(first[effect]["low"] > 0 for effect in _two_by_two.EFFECTS)
    assert all(second[effect]["low"] < 0 < second[effect]["high"] for effect in _two_by_two.EFFECTS)
    assert first["cells"] == pytest.approx([0.1, 0.2, 0.5, 0.9], abs=0.02)


def test_a_world_with_few_common_seeds_has_no_effects() -> None:
    rows = four((0.1, 0.2, 0.5, 0.9), "one")
    rows[2]["seeds"] = [0, 1, 2, 3, 7, 8]
    assert _two_by_two.effects(rows, ["one"]) == []
    assert set(_two_by_two.ARMS.values()) <= {arm for batch in PLANNED for arm in arms(batch)}


# ---------------------------------------------------------------------- claims of other studies


def msa(seeds: int, off: float = 0.0, ours: tuple[float, float] = (-1.0, 2.0)) -> dict[str, Any]:
    """The published scores themselves as ours, those of the last row `off` by so much."""
    published = json.loads(PUBLISHED.read_text("utf-8"))["rows"]
    rows = [{"row": name, "seeds": seeds, "verdict": "inside"} for name in _other_claims.ROWS]
    runs = [{"row": name, "mean": published[name]} for name in _other_claims.ROWS]
    runs[-1] = {"row": _other_claims.ROWS[-1], "mean": [x + off for x in published[_other_claims.ROWS[-1]]]}
    both = {
        name: {"value": value, "low": value - 0.5, "high": value + 0.5}
        for name, value in zip(("mean", "iqm"), ours, strict=True)
    }
    told = {"seeds": [seeds, seeds], "text": "as told"}
    return {"rows": rows, "runs": runs, "mean_against_iqm": {"ours": both | told, "published": both | told}}


@pytest.mark.parametrize(
    ("result", "verdicts"),
    [
        (msa(100), ["held", "held"]),
        (msa(100, 30.0, (1.0, 2.0)), ["refuted", "refuted"]),
        (msa(10, ours=(-0.1, 2.0)), ["not run (0 of 7 rows with 100 seeds)", "no evidence"]),
    ],
)
def test_the_published_rows_are_judged_with_a_hundred_seeds(result: dict[str, Any], verdicts: list[str]) -> None:
    found = _other_claims.msa_claims(result)
    assert [claim["verdict"] for claim in found] == verdicts
    assert [claim["claim"] for claim in found] == ["1", "2"]


@pytest.mark.parametrize(
    ("collapsed", "of", "verdict"),
    [(10, 10, "held"), (0, 10, "refuted"), (0, 5, "no evidence"), (5, 10, "no evidence")],
)
def test_a_term_keeps_from_collapse_if_most_runs_collapse_without_it(collapsed: int, of: int, verdict: str) -> None:
    terms = ("inverse", "variance", "covariance")
    lines = [
        {"variant": f"similarity {weight}, without {term}", "collapsed": collapsed, "of": of, "text": "as told"}
        for weight in (12, 0.75)
        for term in terms
    ]
    found = _other_claims.jepa_claim({"lines": lines})
    assert (found["verdict"], found["n"], len(found["lines"])) == (verdict, of, 4)
