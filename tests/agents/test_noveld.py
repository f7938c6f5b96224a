"""NovelD: against a literal loop, once per view and episode, with the norm that is not squared."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from agents.context import Context
from agents.curiosity.noveld import NovelD
from agents.rollout import Rollout

SPACE = spaces.Box(-10, 10, (2,), np.float32)


def context(n_envs: int) -> Context:
    return Context(SPACE, spaces.Discrete(2), n_envs, lambda: FlattenExtractor(SPACE))


def walk(steps: int, n_envs: int, seed: int) -> Rollout:
    """Random steps over a 3 x 3 grid, with episode ends of both kinds."""
    rng = np.random.default_rng(seed)
    obs, following = np.zeros((2, steps, n_envs, 2), np.float32)
    ends = rng.random((2, steps, n_envs)) < 0.1
    here = rng.integers(3, size=(n_envs, 2))
    for t in range(steps):
        obs[t], following[t] = here, rng.integers(3, size=(n_envs, 2))
        here = np.where(ends[:, t].any(0)[:, None], rng.integers(3, size=(n_envs, 2)), following[t])
    tensors = torch.from_numpy(obs), torch.from_numpy(following), torch.from_numpy(ends)
    return Rollout(tensors[0], torch.zeros(steps, n_envs).long(), tensors[1], torch.zeros(steps, n_envs), *tensors[2])


def nov(bonus: NovelD, view: torch.Tensor) -> float:
    """The distance between the two networks on one view, number by number."""
    difference = bonus.networks.difference(view[None])[0].detach().double()
    return float(sum(x * x for x in difference.tolist()) ** 0.5)


@pytest.mark.parametrize("alpha", [0.5, 0.0, 1.0])
def test_reward_equals_a_literal_loop(alpha: float) -> None:
    torch.manual_seed(0)
    bonus, data = NovelD(context(3), alpha=alpha), walk(60, 3, seed=0)
    expected = torch.zeros(60, 3)
    for n in range(3):
        seen = {tuple(data.obs[0, n].tolist())}
        for t in range(60):
            view = tuple(data.next_obs[t, n].tolist())
            rise = nov(bonus, data.next_obs[t, n]) - alpha * nov(bonus, data.obs[t, n])
            expected[t, n] = max(rise, 0) * (view not in seen)
            seen.add(view)
            if data.done[t, n] and t + 1 < 60:
                seen = {tuple(data.obs[t + 1, n].tolist())}
    torch.testing.assert_close(bonus.reward(data), expected, rtol=1e-4, atol=1e-5)
    assert (expected > 0).sum() > 10


class OneHot(FlattenExtractor):
    """Nine orthogonal views, so that novelty is set by hand."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return observations


def test_pays_once_per_view_and_episode_by_hand() -> None:
    """Novelty of view v set to v: the rise is next - obs / 2."""
    space = spaces.Discrete(9)
    bonus = NovelD(Context(space, spaces.Discrete(2), 1, lambda: FlattenExtractor(space)), width=1)
    bonus.networks.predictor = nn.Sequential(OneHot(space), nn.Unflatten(0, (-1, 1)))  # f^(s) = s, f(s) = 0
    bonus.networks.target = nn.Sequential(OneHot(space), nn.Unflatten(0, (-1, 1)), Zero())
    obs = torch.tensor([2, 4, 1, 4, 3, 8])[:, None]
    next_obs = torch.tensor([4, 1, 4, 5, 8, 3])[:, None]
    done = torch.tensor([0, 0, 0, 1, 0, 0], dtype=torch.bool)[:, None]
    data = Rollout(obs.float(), obs, next_obs.float(), torch.zeros(6, 1), done, torch.zeros_like(done))
    # 4 - 1; 1 - 2 < 0; 4 again; 5 - 2 at the end; new episode from 3: 8 - 1.5; 3 was its start
    assert bonus.reward(data)[:, 0].tolist() == [3, 0, 0, 3, 6.5, 0]
    assert bonus.reward(data)[:3, 0].tolist() == [3, 0, 0]  # the episode in progress knew 3 and 8 only


def test_first_visits_of_true_states_are_told_by_labels_whatever_the_view() -> None:
    torch.manual_seed(0)
    seen, told = (NovelD(context(1), alpha=0.0, state=state) for state in ("view", "full"))
    told.load_state_dict(seen.state_dict())
    data = walk(3, 1, seed=0)
    still = replace(data, next_obs=data.next_obs[:1].repeat(3, 1, 1), terminated=data.terminated & False,
                    truncated=data.truncated & False, labels={"cell": torch.tensor([[1], [2], [1]])})  # fmt: skip
    assert (seen.reward(still)[:, 0] > 0).tolist() == [True, False, False]
    assert (told.reward(still)[:, 0] > 0).tolist() == [True, True, False]
    assert told.privileged
    assert seen.privileged is None


class Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def test_new_episodes_pays_again() -> None:
    torch.manual_seed(0)
    bonus, data = NovelD(context(2), alpha=0.0), walk(5, 2, seed=1)
    data = Rollout(data.obs, data.actions, data.next_obs, data.rewards, *torch.zeros(2, 5, 2).bool())
    first = bonus.reward(data)
    assert first.sum() > 0
    assert bonus.reward(data).sum() == 0
    bonus.new_episodes()
    torch.testing.assert_close(bonus.reward(data), first)


def test_the_predictor_learns_from_successors() -> None:
    torch.manual_seed(0)
    bonus = NovelD(context(3), lr=1e-3)
    flags, numbers = torch.zeros(2, 20, 3).bool(), torch.zeros(20, 3)
    left, right = torch.tensor([-4.0, 1.0]).expand(20, 3, 2), torch.tensor([4.0, -1.0]).expand(20, 3, 2)
    for _ in range(100):
        bonus.update(Rollout(left, numbers.long(), right, numbers, *flags))
    # the statistics know `right` alone, so it is seen as zero and `left` as far away
    assert nov(bonus, right[0, 0]) < 0.05 * nov(bonus, left[0, 0])
