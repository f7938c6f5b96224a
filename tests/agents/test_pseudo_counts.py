"""Pseudo-counts: against algorithm 1 of the paper in loops, and what identical views must be paid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents.context import Context
from agents.curiosity.pseudo_counts import PseudoCounts
from agents.rollout import Rollout

SPACE = spaces.Box(-100, 100, (2,), np.float32)


def context(n_envs: int) -> Context:
    """Features are the view's own two numbers."""
    return Context(SPACE, spaces.Discrete(2), n_envs, lambda: FlattenExtractor(SPACE))


def scripted(obs: list, next_obs: list, terminated: list, truncated: list | None = None) -> Rollout:
    """One environment; a view is one number, written twice."""
    done = torch.tensor(terminated, dtype=torch.bool)[:, None]
    cut = torch.zeros_like(done) if truncated is None else torch.tensor(truncated, dtype=torch.bool)[:, None]
    before, after = (torch.tensor(x, dtype=torch.float32)[:, None, None].expand(-1, 1, 2) for x in (obs, next_obs))
    return Rollout(before, torch.zeros(done.shape).long(), after, torch.zeros(done.shape), done, cut)


def standing(steps: int, ends: tuple[int, ...] = (), cuts: tuple[int, ...] = ()) -> Rollout:
    """The same view at every step."""
    place = [3.0] * steps
    return scripted(place, place, [t in ends for t in range(steps)], [t in cuts for t in range(steps)])


def walk(steps: int, n_envs: int, rollouts: int, seed: int, views: int = 5) -> list[Rollout]:
    """Successive rollouts of random steps over a grid, with episode ends of both kinds."""
    rng = np.random.default_rng(seed)
    here, out = rng.integers(views, size=(n_envs, 2)), []
    for _ in range(rollouts):
        obs, following = np.zeros((2, steps, n_envs, 2), np.float32)
        ends = rng.random((2, steps, n_envs)) < 0.04
        for t in range(steps):
            obs[t], following[t] = here, rng.integers(views, size=(n_envs, 2))
            here = np.where(ends[:, t].any(0)[:, None], rng.integers(views, size=(n_envs, 2)), following[t])
        before, after, done = torch.from_numpy(obs), torch.from_numpy(following), torch.from_numpy(ends)
        actions = torch.from_numpy(rng.integers(2, size=(steps, n_envs)))
        out.append(Rollout(before, actions, after, torch.zeros(steps, n_envs), *done))
    return out


def literal(rollouts: list[Rollout], n: int, k: int, epsilon: float, bound: int) -> np.ndarray:
    """Algorithm 1 for environment n, one step at a time; the moving average is shared at the end of a rollout."""
    xi, c, s_max = 0.008, 0.001, 8.0
    sums = np.zeros((rollouts[0].shape[1], 2))
    shared, episodes, out = np.zeros(2), [[] for _ in sums], []
    for data in rollouts:
        for t in range(data.shape[0]):
            for m, episode in enumerate(episodes):
                x = data.next_obs[t, m].double().numpy()
                stored = (episode or [data.obs[t, m].double().numpy()])[-bound:]
                d_k = sorted(((x - y) ** 2).sum() for y in stored)[:k]
                sums[m] += sum(d_k), len(d_k)
                total, number = shared + sums[m]
                d_n = [max(d / (total / number) - xi, 0) if d > 0 else 0 for d in d_k]
                s = sum(epsilon / (d + epsilon) for d in d_n) ** 0.5 + c
                if m == n:
                    out.append(0 if s > s_max else 1 / s)
                episodes[m] = [] if data.done[t, m] else [*stored, x]
        shared, sums = 0.9 * shared + sums.sum(0), np.zeros_like(sums)
    return np.array(out)


@pytest.mark.parametrize(("k", "epsilon", "bound"), [(10, 1e-4, 5000), (3, 1e-2, 5000), (3, 1e-2, 7), (80, 1.0, 500)])
def test_reward_equals_algorithm_1(k: int, epsilon: float, bound: int) -> None:
    bonus = PseudoCounts(context(3), features="random", k=k, epsilon=epsilon, memory=bound)
    rollouts, found = walk(70, 3, rollouts=3, seed=k), []
    for data in rollouts:
        found.append(bonus.reward(data))
        assert bonus.update(data) == {}
    for n in range(3):
        expected = literal(rollouts, n, k, epsilon, bound)
        np.testing.assert_allclose(torch.cat(found)[:, n].numpy(), expected, rtol=1e-5)


def test_identical_views_are_paid_their_count_up_to_k() -> None:
    reward = PseudoCounts(context(1), features="random", k=4).reward(standing(8))[:, 0]
    expected = [1 / (min(count, 4) ** 0.5 + 0.001) for count in range(1, 9)]  # the start view is the first
    assert reward.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["ends", "cuts"])
def test_an_episode_goes_on_over_a_rollout_and_ends_within_it(kind: str) -> None:
    bonus, counts = PseudoCounts(context(1), features="random"), []
    for data in (standing(3), standing(4, **{kind: (1,)}), standing(2)):
        counts += (1 / bonus.reward(data)[:, 0] - 0.001).square().tolist()
        bonus.update(data)
    assert counts == pytest.approx([1, 2, 3, 4, 5, 1, 2, 3, 4], rel=1e-4)


def test_more_similarity_than_s_max_is_paid_nothing() -> None:
    reward = PseudoCounts(context(1), features="random", k=100).reward(standing(70))[:, 0]
    assert (reward[:63] > 0).all()  # s = sqrt(63) + c < 8
    assert (reward[63:] == 0).all()


def test_views_within_the_cluster_distance_are_the_same_and_far_ones_are_not() -> None:
    bonus = PseudoCounts(context(1), features="random")
    bonus.average.shared.copy_(torch.tensor([1e9, 1e9 / 2]))  # d_m^2 = 2
    near, far = 0.008**0.5 * 0.999, 10.0
    reward = bonus.reward(scripted([0, near], [near, far], [0, 0]))[:, 0]
    kernel = 1e-4 / (far**2 - 0.008 + 1e-4) + 1e-4 / ((far - near) ** 2 - 0.008 + 1e-4)
    assert reward.tolist() == pytest.approx([1 / (1 + 0.001), 1 / (kernel**0.5 + 0.001)], rel=1e-4)


def test_the_memory_forgets_the_oldest_view() -> None:
    kept, lost = (PseudoCounts(context(1), features="random", memory=3) for _ in range(2))
    within = kept.reward(scripted([0, 10, 20], [10, 20, 0], [0] * 3))[:, 0]
    assert within[2] == pytest.approx(1 / 1.001, rel=1e-2)  # 0 is among the last three
    beyond = lost.reward(scripted([0, 10, 20, 30], [10, 20, 30, 0], [0] * 4))[:, 0]
    assert beyond[3] > 10
