"""Steps ahead: against a loop, never across an episode's end, and mispaired in the negative control."""

from __future__ import annotations

import torch

from agents.objectives._ahead import ahead, mispaired
from agents.rollout import Rollout

T, N, K = 9, 3, 4


def world() -> Rollout:
    """Views are numbers: 100 n + t before the step, .5 more after it."""
    obs = (100 * torch.arange(N)[None] + torch.arange(T)[:, None])[..., None].float()
    ended = torch.rand(T, N, generator=torch.Generator().manual_seed(0)) < 0.3
    actions = torch.arange(T * N).reshape(T, N)
    return Rollout(obs, actions, obs + 0.5, torch.zeros(T, N), ended, torch.zeros(T, N).bool())


ALL = torch.arange(T).repeat_interleave(N), torch.arange(N).repeat(T)


def test_what_is_reached_is_what_a_loop_reaches() -> None:
    data, steps = world(), ahead(world(), ALL, K)
    for m, (t, n) in enumerate(zip(*ALL, strict=True)):
        assert torch.equal(steps.obs[m], data.obs[t, n])
        alive = True
        for k in range(K):
            alive = alive and int(t) + k < T
            assert bool(steps.reached[m, k]) == alive
            if alive:
                assert torch.equal(steps.next_obs[m, k], data.next_obs[t + k, n])
                assert steps.actions[m, k] == data.actions[t + k, n]
                alive = not bool(data.done[t + k, n])
    assert steps.reached[:, 0].all()
    assert 0 < steps.reached[:, -1].sum() < len(ALL[0])


def test_the_control_pairs_each_view_with_what_followed_others() -> None:
    steps = ahead(world(), ALL, 2)
    torch.manual_seed(0)
    control = mispaired(steps)
    torch.manual_seed(0)
    first, second = torch.randperm(len(ALL[0])), torch.randperm(len(ALL[0]))
    assert torch.equal(control.obs, steps.obs)
    assert torch.equal(control.actions, steps.actions)
    assert torch.equal(control.next_obs[:, 0], steps.next_obs[first, 0])
    assert torch.equal(control.next_obs[:, 1], steps.next_obs[second, 1])
    assert control.reached[:, 0].all()
    assert torch.equal(control.reached[:, 1], steps.reached[:, 1] & steps.reached[second, 1])
    assert (first == second).float().mean() < 0.2  # not even two steps of one row belong together


def test_the_control_stops_at_the_first_step_that_is_not_reached() -> None:
    control = mispaired(ahead(world(), ALL, K))
    assert (control.reached[:, 1:] <= control.reached[:, :-1]).all()
