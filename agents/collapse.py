"""Has a representation collapsed? How many directions its features use, how far they spread, what they tell apart.

All measures take features Z [N, D] as they are and compute in float64:

    RankMe               exp(-sum_k p_k log p_k),  p_k = s_k / sum(s) + 1e-7,  s the singular values of Z
    RankMe, centred      the same of Z minus its mean
    participation ratio  (sum l)^2 / sum l^2,  l the eigenvalues of the covariance of Z
    LiDAR                RankMe's entropy (with 1e-8) of the eigenvalues of S_w^-1/2 S_b S_w^-1/2, S_b the covariance of
                         the means of groups and S_w that within groups + 1e-4 I
    normalised std       mean over features of the std of z / |z|: 0 is a point, 1/sqrt(D) spreads over the sphere
    contrast accuracy    how often z_t finds its own z_{t+1} among those of its batch by the cosine; ties share

Sources: Garrido et al. 2023 (RankMe, eqs. 1-2), Thilak et al. 2024 (LiDAR, eqs. 1-3: a group is q views of one frame),
Chen & He 2021 (SimSiam, the std), Stooke et al. 2021 (ATC, contrast accuracy). What differs: RankMe is also taken of
centred features, as those of ReLU layers share a mean that hides how few directions vary, and then cannot exceed
min(N - 1, D); a group of LiDAR is q frames of one episode in a row, as views by augmentation would say nothing of
symbols. Features without any spread count as one direction.

None of these numbers means anything alone: observations may have few directions themselves, and an encoder that
learned nothing may keep more of them than a good one. `verdict` reads them against the untrained encoder's.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Verdict = Literal["healthy", "collapsing", "collapsed"]

RANKME_EPS, LIDAR_DELTA, LIDAR_EPS = 1e-7, 1e-4, 1e-8
GROUPS, VIEWS = 100, 10  # of LiDAR
BATCH = 256  # among how many z_{t+1} the contrast is
COLLAPSED, COLLAPSING = 0.1, 0.3  # shares of the untrained encoder's rank or std that are left


def rankme(z: Tensor, *, centred: bool = False) -> float:
    """Effective number of directions of Z [N, D], between 1 and `rank_limit`, a little above for the 1e-7."""
    return _effective_rank(_powers(z, centred=centred).sqrt(), RANKME_EPS)


def rank_limit(n: int, d: int, *, centred: bool = False) -> int:
    """What no rank of N features of size D can exceed."""
    return max(1, min(n - 1 if centred else n, d))


def participation_ratio(z: Tensor) -> float:
    """How many equally strong directions would spread as Z [N, D] does."""
    powers = _powers(z, centred=True)
    total = powers.sum().square()
    return float(total / powers.square().sum()) if total > 0 else 1.0


def lidar(groups: Tensor) -> float:
    """Effective number of directions that tell groups [C, q, D] apart; at most min(C - 1, D)."""
    means = groups.double().mean(1)
    apart, inside = means - means.mean(0), (groups.double() - means[:, None]).flatten(0, 1)
    between, within = apart.T @ apart / len(apart), inside.T @ inside / len(inside)
    values, vectors = torch.linalg.eigh(within + LIDAR_DELTA * torch.eye(len(within)).to(within))
    whiten = vectors * values.rsqrt()
    return _effective_rank(torch.linalg.eigvalsh(whiten.T @ between @ whiten).clamp(min=0), LIDAR_EPS)


def normalised_std(z: Tensor) -> float:
    """Mean over features of the std of L2-normalised Z [N, D]."""
    return float(F.normalize(z.double(), dim=-1).std(0, correction=0).mean())


def contrast_accuracy(z: Tensor, z_next: Tensor) -> float:
    """Share of z_t [M, D] whose most similar z_{t+1} [M, D] in its batch is its own; of k equal ones 1/k counts."""
    z, z_next = F.normalize(z.double(), dim=-1), F.normalize(z_next.double(), dim=-1)
    right = 0.0
    for a, b in zip(z.split(BATCH), z_next.split(BATCH), strict=True):
        similar = a @ b.T
        best = similar >= similar.max(1, keepdim=True).values - 1e-9  # what is equal but for rounding
        right += float((best.diagonal() / best.sum(1)).sum())
    return right / len(z)


def _powers(z: Tensor, *, centred: bool) -> Tensor:
    """Squared singular values [min(N, D)] of Z, from the smaller of Z Z^T and Z^T Z: several times quicker than an SVD,
    and wrong by 1e-8 of the largest singular value, where RankMe adds 1e-7 of their sum."""
    z = z.double()
    z = z - z.mean(0) if centred else z
    return torch.linalg.eigvalsh(z.T @ z if len(z) > z.shape[1] else z @ z.T).clamp(min=0)


def _effective_rank(strengths: Tensor, eps: float) -> float:
    if strengths.sum() <= 0:
        return 1.0
    p = strengths / strengths.sum() + eps
    return float(torch.exp(-(p * p.log()).sum()))


# ---------------------------------------------------------------------- of a walk through episodes


def measures(z: Tensor, done: Tensor) -> dict[str, float]:
    """Every measure of a walk's features z [T, N, D] (T steps of N copies); `done` [T, N]: the episode ends there.

    `rankme_normalised` is the centred one as a share of what is possible. `lidar` is left out where fewer than two
    groups fit into episodes, `contrast_accuracy` where no step goes on.
    """
    flat = z.flatten(0, 1)
    found = {"rankme": rankme(flat), "participation_ratio": participation_ratio(flat), **spread(flat)}
    found["rankme_normalised"] = found["rankme_centred"] / rank_limit(*flat.shape, centred=True)
    groups = neighbours(done, VIEWS, GROUPS)
    if len(groups) > 1:
        found["lidar"] = lidar(flat[groups.to(flat.device)])
    start, follow = following(done)
    if len(start):
        found["contrast_accuracy"] = contrast_accuracy(flat[start.to(flat.device)], flat[follow.to(flat.device)])
    return found


def spread(z: Tensor) -> dict[str, float]:
    """The two measures of Z [N, D] that the verdict reads."""
    return {"rankme_centred": rankme(z, centred=True), "normalised_std": normalised_std(z)}


def neighbours(done: Tensor, q: int, most: int) -> Tensor:
    """Flat indices [C, q] of disjoint groups of q steps in a row of one episode; C <= `most`, evenly chosen.

    `done` [T, N]; the flat index of (t, n) is t N + n.
    """
    steps, copies = done.shape
    found = []
    for n, ended in enumerate(done.T.tolist()):
        start = 0
        for t in range(steps):
            if t - start + 1 == q:
                found.append(torch.arange(start, t + 1) * copies + n)
                start = t + 1
            elif ended[t]:
                start = t + 1
    if not found:
        return torch.empty(0, q, dtype=torch.int64)
    return torch.stack([found[i] for i in _evenly(len(found), most)])


def following(done: Tensor) -> tuple[Tensor, Tensor]:
    """Flat indices of s_t and s_{t+1} in one episode, shuffled: a batch shall not be one history."""
    t, n = (~done[:-1].cpu()).nonzero(as_tuple=True)
    order = torch.randperm(len(t), generator=torch.Generator().manual_seed(0))
    index = (t * done.shape[1] + n)[order]
    return index, index + done.shape[1]


def _evenly(available: int, wanted: int) -> list[int]:
    """Indices, spread evenly over what is available."""
    if available <= wanted:
        return list(range(available))
    return torch.linspace(0, available - 1, wanted, dtype=torch.float64).round().long().tolist()


# ---------------------------------------------------------------------- the verdict


def shares(trained: dict[str, float], untrained: dict[str, float]) -> dict[str, float]:
    """What is left of the untrained encoder's spread: `rank_share`, of its centred RankMe above the one direction that
    there always is, and `std_share`, of its normalised std. 1 where the untrained encoder has none itself."""
    rank, whole = trained["rankme_centred"] - 1, untrained["rankme_centred"] - 1
    std, all_of_it = trained["normalised_std"], untrained["normalised_std"]
    return {
        "rank_share": max(rank, 0.0) / whole if whole > 1e-3 else 1.0,
        "std_share": std / all_of_it if all_of_it > 1e-9 else 1.0,
    }


def verdict(trained: dict[str, float], untrained: dict[str, float]) -> Verdict:
    """One word on the smaller of both shares: below 0.1 `collapsed`, below 0.3 `collapsing`, else `healthy`.

    Where the two lines lie: untrained encoders with other first weights keep 0.9 or more; encoders of agents that had
    solved their task kept 0.53 to 0.67 of the rank (reward alone lowers it too); encoders that are only taught to bring
    s_t and s_{t+1} together, which is collapse by construction, fell below 0.1 within 200 steps of Adam in each of four
    worlds, by either distance (one of them: `tests/sandbox/test_diagnose.py`).
    """
    left = min(shares(trained, untrained).values())
    return "collapsed" if left < COLLAPSED else "collapsing" if left < COLLAPSING else "healthy"
