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


def test_the_control_pairs_each_view_with_what_followed_another() -> None:
    torch.manual_seed(0)
    steps = ahead(world(), ALL, 2)
    control = mispaired(steps)
    assert torch.equal(control.obs, steps.obs)
    assert torch.equal(control.actions, steps.actions)
    assert sorted(control.next_obs[:, 0, 0].tolist()) == sorted(steps.next_obs[:, 0, 0].tolist())
    assert (control.next_obs[:, 0] != steps.next_obs[:, 0]).float().mean() > 0.8
    true = {float(view): bool(ok) for view, ok in zip(steps.next_obs[:, 0, 0], steps.reached[:, 1], strict=True)}
    for view, ok, own in zip(control.next_obs[:, 0, 0], control.reached[:, 1], steps.reached[:, 1], strict=True):
        assert bool(ok) == (bool(own) and true[float(view)])
