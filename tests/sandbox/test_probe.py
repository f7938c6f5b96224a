"""Probes: the readers against literal versions, the common frames and their split, and the verb on a tiny run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sandbox import _readout
from sandbox._probe_set import normalised_entropy
from sandbox._readout import Parts
from sandbox._walk import Walk, frame_keys, split, walk
from sandbox.config import World
from sandbox.runs import slug

Call = Callable[..., Any]
GENERATOR = torch.Generator().manual_seed(0)


def parts(x: Tensor) -> Parts:
    """70 / 10 / 20"""
    n = len(x)
    return Parts(x[: 7 * n // 10], x[7 * n // 10 : 8 * n // 10], x[8 * n // 10 :])


# ---------------------------------------------------------------------- readers


def test_ridge_is_the_best_of_its_alphas_by_the_validation_part() -> None:
    x, noise = torch.randn(100, 30, generator=GENERATOR), torch.randn(100, 1, generator=GENERATOR)
    y = x[:, :3].sum(1, keepdim=True) + 2 * noise + 5
    train, validation, test = (part.double().numpy() for part in (parts(x).train, parts(x).validation, parts(x).test))
    mean, std = train.mean(0), train.std(0)
    a, b, c = ((part - mean) / std for part in (train, validation, test))
    ya, yb, yc = (part[:, 0].double().numpy() for part in (parts(y).train, parts(y).validation, parts(y).test))
    best, score = math.inf, math.nan
    for alpha in _readout.ALPHAS:
        w = np.linalg.solve(a.T @ a + alpha * np.eye(30), a.T @ (ya - ya.mean()))
        read, told = (np.clip(part @ w + ya.mean(), ya.min(), ya.max()) for part in (b, c))
        error = np.mean((read - yb) ** 2)
        if error < best:
            best, score = error, 1 - sum((yc - told) ** 2) / sum((yc - yc.mean()) ** 2)
    assert _readout.ridge_r2(parts(x), parts(y))[0] == pytest.approx(score, rel=1e-6)
    assert 0.1 < score < 0.9


def test_one_frame_far_out_is_not_the_score() -> None:
    """A feature that is on in two of 300 training frames is 12 standard deviations out where it is on."""
    x = torch.randn(400, 4, generator=GENERATOR)
    y = x.sum(1, keepdim=True) + torch.randn(400, 1, generator=GENERATOR) * 0.1
    x[:, 3] = 0
    x[[5, 6], 3] = 1e-3
    x[-1, 3] = 1.0
    found = Parts(x[:300], x[300:350], x[350:]), Parts(y[:300], y[300:350], y[350:])
    assert 0 < _readout.ridge_r2(*found)[0] < 1


def test_each_number_has_its_own_alpha() -> None:
    x = torch.randn(100, 30, generator=GENERATOR)
    clean, noisy = x[:, :1], x[:, :1] + 5 * torch.randn(100, 1, generator=GENERATOR)
    together = _readout.ridge_r2(parts(x), parts(torch.cat([clean, noisy], 1)))
    apart = [_readout.ridge_r2(parts(x), parts(y))[0] for y in (clean, noisy)]
    assert together == pytest.approx(apart)


@pytest.mark.parametrize("features", [3, 40])
def test_logistic_regression_reaches_the_optimum(features: int) -> None:
    x, y = torch.randn(200, features, generator=GENERATOR), torch.randint(3, (200,), generator=GENERATOR)
    x = x @ torch.randn(features, features, generator=GENERATOR)  # directions of very different length
    x = _readout.standardised(parts(x)).train.float()
    found = _readout._fits(x, y[: len(x), None], [3])
    for l2, weights in zip(_readout.L2, found, strict=True):
        w = weights.double().numpy()
        gradient = np.zeros_like(w)
        for row, label in zip(x.double().numpy(), y[: len(x)].tolist(), strict=True):
            p = np.exp(w @ row) / np.exp(w @ row).sum()
            gradient += np.outer(p - np.eye(3)[label], row) / len(x)
        gradient[:, :-1] += l2 * w[:, :-1]
        assert np.abs(gradient).max() < 2 * _readout.TOLERANCE


def test_features_that_are_dead_or_alike_are_fitted() -> None:
    x = torch.randn(200, 8, generator=GENERATOR)
    classes = (x[:, :1] > 0).long()
    many = torch.cat([x.relu().repeat(1, 30), torch.zeros(200, 272)], 1)
    assert _readout.logistic_f1(parts(many), parts(classes))[0] > 0.9


def test_classifiers_fitted_together_are_those_fitted_apart() -> None:
    x = torch.randn(200, 5, generator=GENERATOR)
    y = torch.stack([(x[:, 0] > 0).long(), (3 * x[:, 1]).round().long(), torch.randint(4, (200,))], 1)
    together = _readout.logistic_f1(parts(x), parts(y))
    apart = [_readout.logistic_f1(parts(x), parts(y[:, k : k + 1]))[0] for k in range(3)]
    assert together == pytest.approx(apart, abs=0.02)


def test_macro_f1_by_counting() -> None:
    truth, said = [0, 0, 0, 1, 1, 5], [0, 0, 1, 1, 7, 7]
    scores = []
    for one in (0, 1, 5, 7):
        hits = sum(t == s == one for t, s in zip(truth, said, strict=True))
        precision = hits / said.count(one) if one in said else 0
        recall = hits / truth.count(one) if one in truth else 0
        scores.append(2 * precision * recall / (precision + recall) if hits else 0)
    assert _readout.macro_f1(torch.tensor(truth), torch.tensor(said)) == pytest.approx(sum(scores) / 4)


def test_a_reader_finds_the_true_state_and_nothing_in_noise() -> None:
    state = torch.rand(1000, 4, generator=GENERATOR)
    mixed = state @ torch.randn(4, 40, generator=GENERATOR) + 3
    noise = torch.randn(1000, 40, generator=GENERATOR)
    classes = (state[:, :1] > 0.5).long() + (state[:, :1] > 0.85).long()
    assert min(_readout.ridge_r2(parts(mixed), parts(state))) > 0.999
    assert max(map(abs, _readout.ridge_r2(parts(noise), parts(state)))) < 0.1
    assert _readout.logistic_f1(parts(mixed), parts(classes))[0] > 0.9
    assert _readout.logistic_f1(parts(noise), parts(classes))[0] < 0.5


def test_a_class_that_training_lacks_is_never_found() -> None:
    y = torch.tensor([0, 1] * 8 + [0, 7, 0, 7])[:, None]
    assert _readout.logistic_f1(parts(torch.randn(20, 2, generator=GENERATOR)), parts(y))[0] <= 1 / 3 + 1e-6


def test_features_that_never_change_are_harmless() -> None:
    x, y = torch.ones(50, 3), torch.arange(50.0)[:, None]
    assert _readout.ridge_r2(parts(x), parts(y)) == pytest.approx(_readout.mean_r2(parts(y)))


def test_majority_and_mean() -> None:
    y = torch.tensor([[2], [2], [2], [0], [0], [2], [2], [1], [2], [0]])
    assert _readout.majority_f1(parts(y)) == pytest.approx([(2 / 3 + 0) / 2])
    numbers = y.double()
    expected = 1 - ((2 - 10 / 7) ** 2 + (10 / 7) ** 2) / 2
    assert _readout.mean_r2(parts(numbers)) == pytest.approx([expected])


def test_pca_spans_what_an_exact_svd_spans() -> None:
    x = torch.randn(300, 20, generator=GENERATOR) @ torch.diag(0.7 ** torch.arange(20.0)) + 2
    x[:, 3] = 1  # never changes
    found = _readout.pca(parts(x), 5)
    train, test = parts(x).train.double().numpy(), parts(x).test.double().numpy()
    v = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:5]
    expected = (test - train.mean(0)) @ v.T
    np.testing.assert_allclose(np.abs(found.test.numpy()), np.abs(expected), atol=0.02)


def test_entropy_is_relative_to_the_classes_that_occur() -> None:
    assert normalised_entropy(torch.tensor([3, 3, 9, 9])) == pytest.approx(1)
    assert normalised_entropy(torch.tensor([3, 3, 3])) == 0
    p = [0.9, 0.1]
    assert normalised_entropy(torch.tensor([0] * 9 + [1])) == pytest.approx(-sum(q * math.log2(q) for q in p))


# ---------------------------------------------------------------------- the common frames


@pytest.fixture(scope="module")
def rooms() -> Walk:
    return walk(World(id="MiniGrid-MultiRoom-N4-S5-v0"), frames=4000)[0]


def test_the_frames_are_the_same_every_time(rooms: Walk) -> None:
    torch.rand(5)
    again = walk(World(id="MiniGrid-MultiRoom-N4-S5-v0"), frames=4000)[0]
    assert frame_keys(again.obs) == frame_keys(rooms.obs)
    assert torch.equal(again.actions, rooms.actions)


def test_half_of_the_copies_follow_the_oracle_in_seven_steps_of_ten_and_a_random_hit(rooms: Walk) -> None:
    assert rooms.oracle is not None
    agrees = (rooms.actions == rooms.oracle).double().mean(0)
    assert agrees[1::2].mean() == pytest.approx(0.7 + 0.3 / 7, abs=0.03)
    assert agrees[0::2].mean() == pytest.approx(1 / 7, abs=0.03)


def test_episodes_are_numbered_apart() -> None:
    done = torch.tensor([[0, 1], [1, 0], [0, 0]], dtype=torch.bool)
    empty = torch.zeros(3, 2)
    found = Walk(empty, empty, empty, done, {}, None, "").episodes
    assert found.tolist() == [[0, 2], [0, 3], [1, 3]]


def test_no_test_episode_is_in_training_and_no_frame_is_in_two_parts(rooms: Walk) -> None:
    found = split(rooms)
    assert found.by == "episode"
    episodes, keys = rooms.episodes.flatten(), frame_keys(rooms.obs)
    sides = [set(episodes[part].tolist()) for part in (found.train, found.validation, found.test)]
    frames = [[keys[i] for i in part.tolist()] for part in (found.train, found.validation, found.test)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not sides[a] & sides[b]
        assert not set(frames[a]) & set(frames[b])
    assert all(len(set(part)) == len(part) > 20 for part in frames)
    assert set().union(*frames) == set(keys)  # nothing is lost but what occurs twice


def test_a_small_world_is_split_by_frame_and_says_so() -> None:
    walked = walk(World(id="DeepSea-v0"))[0]
    found = split(walked)
    assert found.by == "frame"
    keys = frame_keys(walked.obs)
    assert len(found.train) + len(found.validation) + len(found.test) == len(set(keys)) == 55


# ---------------------------------------------------------------------- the verb


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervised control learns for two epochs."""
    monkeypatch.setattr("sandbox.probe.SUPERVISED_EPOCHS", 2)


def trained(
    sandbox: Call, small: list[str], agent: str = "ppo+inverse", env: str = "MiniGrid-MultiRoom-N2-S4-v0"
) -> Path:
    answer = sandbox("train", agent, "--env", env, "--steps", 256, *small)
    assert answer.code == 0, answer.err
    return next(Path("runs").rglob(f"{slug(agent)[:6]}*/seed-0")).resolve()


def test_a_run_stands_beside_four_controls(sandbox: Call, small: list[str]) -> None:
    run = trained(sandbox, small)
    answer = sandbox("probe", run, "--format", "json")
    assert answer.code == 0, answer.err
    assert "probed in" in answer.err
    assert "carrying is left out: normalised entropy 0.00" in answer.err
    found = json.loads(answer.out)[0]
    kept = json.loads((run / "probe.json").read_text())
    assert {"run": str(run), **kept} == found
    scores = found["scores"]
    assert list(scores) == ["run", "majority", "untrained", "pca", "supervised"]
    for one in scores.values():
        assert set(one["variables"]) == set(found["metrics"])
        assert {"position", "direction", "oracle", "reward", "distance_to_goal"} <= set(one["labels"])
        position = [score for name, score in one["variables"].items() if name.startswith("position.")]
        assert one["labels"]["position"] == pytest.approx(sum(position) / 2)
        assert one["r2"] == one["labels"]["distance_to_goal"]
        assert all(score <= 1 for score in one["variables"].values())
    assert scores["pca"]["labels"]["direction"] > 0.95
    assert scores["majority"]["labels"]["direction"] < 0.3


def test_several_runs_give_a_row_each_and_share_their_controls(sandbox: Call, small: list[str]) -> None:
    first = trained(sandbox, small, "ppo+inverse", "DeepSea-v0")
    second = trained(sandbox, small, "bc:labels=60", "DeepSea-v0")
    floor = trained(sandbox, small, "random", "DeepSea-v0")
    answer = sandbox("probe", first, floor, second, "--format", "csv")
    assert answer.code == 0, answer.err
    assert "left out: 'random' learns no representation" in answer.err and not (floor / "probe.json").exists()
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [row["features"] for row in rows] == [
        "ppo+inverse",
        "bc:labels=60",
        "majority",
        "untrained",
        "pca",
        "supervised",
    ]
    assert (first / "probe.json").exists() and (second / "probe.json").exists()
    assert "frames are split and not episodes: 38 distinct frames to learn from, 11 to test on" in answer.err
    assert answer.err.count("frames are split") == 1
    assert sandbox("probe", first, second, "--format", "csv").out == answer.out  # the same numbers every time


def test_actions_that_are_numbers_are_read_as_numbers(sandbox: Call, small: list[str]) -> None:
    run = trained(sandbox, small, "ppo", "SparseMountainCarContinuous-v0")
    answer = sandbox("probe", run, "--format", "json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)[0]["metrics"]["oracle"] == "r2"


@pytest.mark.parametrize("verb", ["probe", "diagnose"])
def test_what_cannot_be_measured_is_said_in_one_line(
    sandbox: Call, small: list[str], tmp_path: Path, verb: str
) -> None:
    answer = sandbox(verb, tmp_path / "nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert "is no run: it has no config.json" in answer.err
    run = trained(sandbox, small, "random", "DeepSea-v0")
    answer = sandbox(verb, run)
    assert answer.code == 2
    assert "'random' learns no representation" in answer.err
    cut = trained(sandbox, small, "ppo", "DeepSea-v0")
    for path in (cut / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    answer = sandbox(verb, cut)
    assert answer.code == 2
    assert "are gone; delete" in answer.err
    assert "Traceback" not in answer.err


def test_a_world_without_labels_has_no_probe(sandbox: Call, small: list[str]) -> None:
    run = trained(sandbox, small, "ppo", "CartPole-v1")
    answer = sandbox("probe", run)
    assert (answer.code, answer.out) == (2, "")
    assert "'CartPole-v1' offers no labels; a world of your own does by a method labels()" in answer.err
    assert not (run / "probe.json").exists()
    assert sandbox("diagnose", run).code == 0  # which needs none
