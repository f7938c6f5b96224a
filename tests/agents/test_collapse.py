"""Measures of collapse against literal loops in float64, and what must be true of a point, a line and a sphere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import collapse

GENERATOR = torch.Generator().manual_seed(0)
SKEWED = torch.randn(60, 8, generator=GENERATOR) @ torch.diag(torch.tensor([5.0, 3, 2, 1, 0.5, 0.1, 0.01, 0])) + 1.5


def entropy_rank(strengths: np.ndarray, eps: float) -> float:
    total = sum(strengths)
    return math.exp(-sum((s / total + eps) * math.log(s / total + eps) for s in strengths))


@pytest.mark.parametrize("z", [SKEWED, SKEWED[:5], SKEWED.abs()])
@pytest.mark.parametrize("centred", [False, True])
def test_rankme_is_the_entropy_of_the_singular_values(z: Tensor, centred: bool) -> None:
    rows = z.double().numpy()
    s = np.linalg.svd(rows - rows.mean(0) if centred else rows, compute_uv=False)
    assert collapse.rankme(z, centred=centred) == pytest.approx(entropy_rank(s, 1e-7), rel=1e-6)


def test_participation_ratio_by_covariance() -> None:
    values = np.linalg.eigvalsh(np.cov(SKEWED.double().numpy().T))
    expected = sum(values) ** 2 / sum(v**2 for v in values)
    assert collapse.participation_ratio(SKEWED) == pytest.approx(expected)


def test_lidar_by_loops() -> None:
    groups = torch.randn(7, 5, 4, generator=GENERATOR) + 3 * torch.randn(7, 1, 4, generator=GENERATOR)
    z = groups.double().numpy()
    means = [sum(group) / 5 for group in z]
    overall = sum(means) / 7
    between = sum(np.outer(m - overall, m - overall) for m in means) / 7
    within = sum(np.outer(x - m, x - m) for group, m in zip(z, means, strict=True) for x in group) / 35
    values, vectors = np.linalg.eigh(within + 1e-4 * np.eye(4))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    expected = entropy_rank(np.linalg.eigvalsh(root @ between @ root), 1e-8)
    assert collapse.lidar(groups) == pytest.approx(expected)


def test_normalised_std_by_loops() -> None:
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in SKEWED.double().tolist()]
    stds = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        stds.append(math.sqrt(sum((x - mean) ** 2 for x in column) / len(column)))
    assert collapse.normalised_std(SKEWED) == pytest.approx(sum(stds) / len(stds))


def test_contrast_accuracy_by_loops() -> None:
    n = collapse.BATCH + 44  # a whole batch and a part of one
    z = torch.randn(n, 3, generator=GENERATOR)
    z_next = z + 0.2 * torch.randn(n, 3, generator=GENERATOR)
    z_next[10] = 2 * z_next[11]  # two that the cosine cannot tell apart
    a, b = z.double().numpy(), z_next.double().numpy()
    right = 0.0
    for i in range(n):
        batch = range(i // collapse.BATCH * collapse.BATCH, min(n, (i // collapse.BATCH + 1) * collapse.BATCH))
        similar = {j: a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j]) for j in batch}
        best = [j for j in batch if similar[j] > max(similar.values()) - 1e-9]
        right += (i in best) / len(best)
    assert collapse.contrast_accuracy(z, z_next) == pytest.approx(right / n)
    assert 0.01 < right / n < 0.9


@pytest.mark.parametrize("row", [torch.zeros(16), torch.rand(16, generator=GENERATOR)])
def test_a_point_has_one_direction_and_no_spread(row: Tensor) -> None:
    point = row.expand(300, 16)
    assert collapse.rankme(point) == pytest.approx(1, abs=0.01)
    assert collapse.rankme(point, centred=True) == pytest.approx(1, abs=0.01)
    assert collapse.participation_ratio(point) == pytest.approx(1, abs=0.01)
    assert collapse.lidar(row.expand(20, 10, 16)) == pytest.approx(1, abs=0.01)
    assert collapse.normalised_std(point) == pytest.approx(0, abs=1e-9)
    assert collapse.contrast_accuracy(point, point) == pytest.approx(2 / 300)  # one in 256, and one in the other 44


def test_a_line_away_from_the_origin_has_one_direction_only_when_centred() -> None:
    line = torch.rand(500, 1, generator=GENERATOR) * torch.ones(16) + torch.randn(16, generator=GENERATOR)
    assert collapse.rankme(line, centred=True) == pytest.approx(1, abs=0.01)
    assert collapse.rankme(line) > 1.2


def test_a_gaussian_has_nearly_all_directions() -> None:
    z = torch.randn(4000, 32, generator=GENERATOR)
    assert 31 < collapse.rankme(z) < 32.1
    assert 31 < collapse.rankme(z, centred=True) < 32.1
    assert 31 < collapse.participation_ratio(z) <= 32
    assert collapse.normalised_std(z) == pytest.approx(32**-0.5, rel=0.01)
    assert collapse.lidar(z.reshape(400, 10, 32)) > 28


def test_groups_that_noise_hides_are_fewer() -> None:
    """LiDAR sees what RankMe cannot: directions that do not tell groups apart."""
    means = torch.zeros(100, 1, 16)
    means[..., :3] = 5 * torch.randn(100, 1, 3, generator=GENERATOR)
    groups = means + 0.5 * torch.randn(100, 10, 16, generator=GENERATOR)
    assert collapse.lidar(groups) < 5
    assert collapse.rankme(groups.flatten(0, 1)) > 8


def test_no_rank_exceeds_its_limit() -> None:
    z = torch.randn(10, 64, generator=GENERATOR)
    assert collapse.rankme(z, centred=True) < collapse.rank_limit(10, 64, centred=True) + 0.01 == 9.01
    assert collapse.rank_limit(10, 64) == 10


# ---------------------------------------------------------------------- along episodes


def test_neighbours_lie_in_one_episode_and_in_one_group() -> None:
    done = torch.rand(40, 3, generator=GENERATOR) < 0.1
    groups = collapse.neighbours(done, 4, 1000)
    assert len(groups) > 3
    assert len(groups.flatten().unique()) == groups.numel()
    for group in groups.tolist():
        steps, copies = [i // 3 for i in group], {i % 3 for i in group}
        assert steps == list(range(steps[0], steps[0] + 4))
        assert len(copies) == 1
        assert not done[steps[:-1], copies.pop()].any()  # only the last step of a group may end the episode
    assert len(collapse.neighbours(done, 4, 3)) == 3
    assert collapse.neighbours(torch.ones(40, 3, dtype=torch.bool), 4, 3).shape == (0, 4)


def test_what_follows_is_of_the_same_episode() -> None:
    done = torch.rand(40, 3, generator=GENERATOR) < 0.3
    start, follow = collapse.following(done)
    assert sorted(start.tolist()) == [t * 3 + n for t in range(39) for n in range(3) if not done[t, n]]
    assert torch.equal(follow, start + 3)


def test_what_short_episodes_do_not_allow_is_left_out() -> None:
    found = collapse.measures(torch.randn(2, 2, 6, generator=GENERATOR), torch.ones(2, 2, dtype=torch.bool))
    assert "lidar" not in found
    assert "contrast_accuracy" not in found
    assert found["rankme_normalised"] == found["rankme_centred"] / 3  # of four rows, centred


# ---------------------------------------------------------------------- the verdict


@pytest.mark.parametrize(
    ("rank", "std", "word"),
    [(41, 0.1, "healthy"), (4.9, 0.1, "collapsed"), (12.9, 0.1, "collapsing"), (41, 0.009, "collapsed"),
     (41, 0.029, "collapsing"), (13.1, 0.031, "healthy"), (80, 0.5, "healthy")],
)  # fmt: skip
def test_a_verdict_reads_rank_and_std_against_the_untrained_encoder(rank: float, std: float, word: str) -> None:
    untrained = {"rankme_centred": 41.0, "normalised_std": 0.1}
    assert collapse.verdict({"rankme_centred": rank, "normalised_std": std}, untrained) == word


def test_a_world_that_shows_one_frame_is_no_collapse() -> None:
    point = collapse.spread(torch.ones(50, 8))
    assert collapse.verdict(point, point) == "healthy"


def test_constant_features_are_collapsed() -> None:
    assert collapse.verdict(collapse.spread(torch.ones(50, 8)), collapse.spread(SKEWED)) == "collapsed"
