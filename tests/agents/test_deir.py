"""DEIR: the authors' algorithms A1 and A2 in loops, the queue of fakes, and that the discriminator learns."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from agents.context import Context
from agents.curiosity._queue import ViewQueue, differ
from agents.curiosity.deir import DEIR, _search
from agents.rollout import Obs, Rollout, flatten_obs
from tests.agents.test_pseudo_counts import SPACE, context, scripted, walk
from tests.agents.worlds import SYMBOLS, Encoder, rollout
from tests.agents.worlds import context as learned


def literal(bonus: DEIR, rollouts: list[Rollout], bound: int) -> np.ndarray:
    """Algorithm A1 with lists, in float64, torch's own cell; [T in all, N]."""
    gru, n_envs = deepcopy(bonus.gru).double(), rollouts[0].shape[1]
    views, ways, h, out = [[[] for _ in range(n_envs)] for _ in range(2)] + [[None] * n_envs, []]
    for data in rollouts:
        for t, n in np.ndindex(data.shape):
            e, e_next = data.obs[t, n].double(), data.next_obs[t, n].double()  # type: ignore[index]
            if not views[n]:
                views[n], ways[n], h[n] = [e], [torch.zeros(2).double()], torch.zeros(2).double()
            h[n] = gru(e[None], h[n][None])[0]
            pairs = list(zip(views[n], ways[n], strict=True))[-bound:]
            out.append(
                min(float((e_next - v).square().sum() / ((h[n] - w).square().sum().sqrt() + 1e-6)) for v, w in pairs)
            )
            views[n].append(e_next)
            ways[n].append(h[n])
            if data.done[t, n]:
                views[n], ways[n] = [], []
    return np.reshape(out, (-1, n_envs))


@pytest.mark.parametrize("bound", [5000, 4])
def test_reward_equals_algorithm_a1(bound: int) -> None:
    torch.manual_seed(0)
    bonus, rollouts = DEIR(context(3), memory=bound), walk(50, 3, rollouts=3, seed=0, views=12)
    with torch.no_grad():
        expected = literal(bonus, rollouts, bound)
    found = torch.cat([bonus.reward(data) for data in rollouts]).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)
    assert sum(int(data.done.sum()) for data in rollouts) > 10
    assert (expected > 0).sum() > 200


def test_a_view_met_before_in_the_episode_pays_nothing() -> None:
    bonus = DEIR(context(1))
    first = bonus.reward(scripted([0, 3, 5], [3, 5, 0], [0, 0, 0]))[:, 0]
    second = bonus.reward(scripted([0, 7, 0], [7, 0, 3], [1, 0, 0]))[:, 0]  # 7 ends the first; the next begins in 7
    assert (torch.cat([first, second]) > 0).tolist() == [True, True, False, True, True, True]


@torch.no_grad()
def test_the_recurrent_cell_is_torch_s() -> None:
    bonus, g = DEIR(learned("vector")), torch.Generator().manual_seed(0)
    e, h = torch.randn(2, 50, 16, generator=g)
    torch.testing.assert_close(bonus._gru(e, h), bonus.gru(e, h))


def test_loss_is_its_formula() -> None:
    torch.manual_seed(0)
    bonus, data = DEIR(learned("vector")), rollout("vector", seed=1)
    bonus.reward(data)
    bonus.queue.append(flatten_obs(data.next_obs))
    obs, next_obs, actions = flatten_obs(data.obs), flatten_obs(data.next_obs), data.actions.flatten()
    past, queue = bonus._past.flatten(0, 1), deepcopy(bonus.queue)
    losses = bonus._losses(past, obs, actions, next_obs)
    fakes, _ = queue.draw_unlike(next_obs)
    e, gru, d = (deepcopy(m).double() for m in (bonus.encoder.net, bonus.gru, bonus.discriminator))
    true = fake = 0.0
    for i in range(len(actions)):
        here = gru(e(obs[i].double())[None], past[i].double()[None])  # type: ignore[index]
        action = F.one_hot(actions[i], 2).double()[None]
        p, q = (
            d(torch.cat([here, action, gru(e(view[i].double())[None], here)], -1)).sigmoid().item()
            for view in (next_obs, fakes)
        )  # type: ignore[index]
        true, fake = true - np.log(p) / len(actions), fake - np.log(1 - q) / len(actions)
    assert losses["loss"].item() == pytest.approx((true + fake) / 2, rel=1e-5)


def test_fakes_that_equal_the_true_view_do_not_count() -> None:
    bonus, data = DEIR(context(1)), scripted([3] * 6, [3] * 6, [0] * 6)
    bonus.reward(data)
    bonus.queue.append(flatten_obs(data.next_obs))
    past, actions = bonus._past.flatten(0, 1), data.actions.flatten()
    losses = bonus._losses(past, flatten_obs(data.obs), actions, flatten_obs(data.next_obs))
    e = torch.full((6, 2), 3.0)
    here = bonus.gru(e, past)
    known = torch.cat([here, F.one_hot(actions, 2)], -1)
    p = bonus.discriminator(torch.cat([known, bonus.gru(e, here)], -1)).sigmoid()
    assert losses["loss"].item() == pytest.approx(-p.log().mean().item() / 2, rel=1e-5)


def test_the_queue_takes_views_whose_bonus_is_at_least_the_mean() -> None:
    bonus, (first, second) = DEIR(context(2), queue=1000), walk(40, 2, 2, seed=4, views=9)
    bonus.reward(first)
    bonus.update(first)
    assert len(bonus.queue) == 80  # no mean yet
    paid, mean = bonus.reward(second), bonus.bonuses.mean.item()
    bonus.update(second)
    chosen = second.next_obs[paid >= mean]  # type: ignore[index]
    assert 0 < len(chosen) < 80
    assert torch.equal(bonus.queue.get_buffer("part0")[80:], chosen)


def test_a_queue_forgets_the_oldest_and_draws_what_differs() -> None:
    torch.manual_seed(0)
    queue = ViewQueue(SYMBOLS, 50)
    views = {"image": torch.zeros(70, 7, 7, 3, dtype=torch.uint8), "direction": torch.arange(70) % 4}
    views["image"][:, 3, 3, 0] = torch.arange(70, dtype=torch.uint8)
    for part in (slice(0, 30), slice(30, 70)):
        queue.append({name: value[part] for name, value in views.items()})
    assert len(queue) == 50
    like = {name: value[20:70] for name, value in views.items()}
    state = torch.get_rng_state()
    drawn, unlike = queue.draw_unlike(like)
    assert torch.equal(state, torch.get_rng_state())
    assert unlike.all()
    assert drawn["image"].dtype == torch.uint8  # type: ignore[index]
    assert drawn["image"][:, 3, 3, 0].min() >= 20  # type: ignore[index]
    again = ViewQueue(SYMBOLS, 50)
    again.load_state_dict({name: value.clone() for name, value in queue.state_dict().items()})
    assert all(
        torch.equal(a, b) for a, b in zip(*(q.draw_unlike(like)[0].values() for q in (queue, again)), strict=True)
    )


def test_differ_looks_at_every_part() -> None:
    a = {"x": torch.tensor([[1, 2], [1, 2], [1, 2]]), "y": torch.tensor([0, 0, 0])}
    b = {"x": torch.tensor([[1, 2], [1, 3], [1, 2]]), "y": torch.tensor([0, 0, 1])}
    assert differ(a, b).tolist() == [False, True, True]


def test_the_discriminator_learns_a_deterministic_world() -> None:
    """The action moves the view by one along a line: what follows is known, a view from elsewhere is told."""
    torch.manual_seed(0)
    g, space = torch.Generator().manual_seed(0), spaces.Discrete(8)
    bonus = DEIR(Context(space, spaces.Discrete(2), 4, lambda: Encoder(space)), lr=3e-3)
    for _ in range(80):
        actions, here, views = torch.randint(2, (64, 4), generator=g), torch.randint(8, (4,), generator=g), []
        for t in range(64):
            views.append(here)
            here = (here + 2 * actions[t] - 1) % 8
        obs, nothing = torch.stack(views), torch.zeros(64, 4)
        data = Rollout(obs, actions, torch.stack([*views[1:], here]), nothing, nothing.bool(), nothing.bool())
        bonus.new_episodes()
        bonus.reward(data)
        metrics = bonus.update(data)
    assert metrics["accuracy"] > 0.95


def test_it_takes_up_where_it_was_saved_in_mid_episode() -> None:
    bonus, rollouts = DEIR(context(2)), walk(20, 2, 2, seed=5)
    bonus.reward(rollouts[0])
    bonus.update(rollouts[0])
    resumed = DEIR(context(2))
    resumed.load_state_dict({name: value.clone() for name, value in bonus.state_dict().items()})
    assert torch.equal(resumed.reward(rollouts[1]), bonus.reward(rollouts[1]))
    assert SPACE.shape == bonus.queue.get_buffer("part0").shape[1:]


def test_each_step_is_learned_from_its_own_past(monkeypatch: pytest.MonkeyPatch) -> None:
    bonus, data, met = DEIR(learned("vector")), rollout("vector", seed=2), []
    bonus.reward(data)
    shuffle, losses = deepcopy(bonus.shuffle), bonus._losses

    def spy(past: Tensor, obs: Obs, actions: Tensor, next_obs: Obs) -> dict[str, Tensor]:
        met.append((past, obs, actions, next_obs))
        return losses(past, obs, actions, next_obs)

    monkeypatch.setattr(bonus, "_losses", spy)
    bonus.update(data)
    steps = [x.flatten(0, 1) for x in (bonus._past, data.obs, data.actions, data.next_obs)]  # type: ignore[union-attr]
    for got in met:
        (order,) = shuffle.draw(72)
        assert all(torch.equal(a, x[order]) for a, x in zip(got, steps, strict=True))
    assert len(met) == 2  # two epochs


def test_past_bonuses_keep_nine_tenths_of_their_weight_in_the_mean() -> None:
    bonus, paid = DEIR(context(2)), []
    for data in walk(30, 2, 3, seed=6):
        paid.append(bonus.reward(data).double().mean().item())
        bonus.update(data)
    assert bonus.bonuses.mean.item() == pytest.approx(np.average(paid, weights=[0.81, 0.9, 1]), rel=1e-6)


def test_equal_bonuses_are_all_at_least_their_mean() -> None:
    bonus, data = DEIR(context(1)), scripted([3] * 6, [3] * 6, [0] * 6)
    for size in (6, 12):
        assert bonus.reward(data).unique().tolist() == [0]
        bonus.update(data)
        assert len(bonus.queue) == size


def test_the_mean_over_the_fakes_is_over_those_that_differ() -> None:
    bonus, data = DEIR(context(1)), scripted([3] * 40, [3] * 40, [0] * 40)
    bonus.reward(data)
    bonus.queue.append(torch.tensor([[3.0, 3.0]] * 3 + [[5.0, 5.0]]))
    past, actions = bonus._past.flatten(0, 1), data.actions.flatten()
    fakes, is_fake = deepcopy(bonus.queue).draw_unlike(flatten_obs(data.next_obs))
    assert 10 < is_fake.sum() < 30
    losses = bonus._losses(past, flatten_obs(data.obs), actions, flatten_obs(data.next_obs))
    e = torch.full((40, 2), 3.0)
    here = bonus.gru(e, past)
    known = torch.cat([here, F.one_hot(actions, 2)], -1)
    p, q = (bonus.discriminator(torch.cat([known, bonus.gru(view, here)], -1))[:, 0].sigmoid() for view in (e, fakes))
    q = q[is_fake]
    assert losses["loss"].item() == pytest.approx(-(p.log().mean() + (1 - q).log().mean()).item() / 2, rel=1e-5)
    told = (p > 0.5).float().mean() + (q <= 0.5).float().mean()
    assert losses["accuracy"].item() == pytest.approx(told.item() / 2, abs=1e-6)


def test_a_new_view_on_an_equal_way_is_paid_a_finite_bonus() -> None:
    rows, bonus = np.array([[[0, 0, 1, 2], [3, 4, 1, 2]]], np.float32), np.empty((1, 1), np.float32)
    _search(rows, np.array([[0]]), np.array([[1]]), 2, bonus)
    assert bonus.item() == pytest.approx(25e6, rel=1e-5)


def test_every_view_of_a_queue_is_drawn() -> None:
    queue = ViewQueue(spaces.Discrete(10), 4)
    queue.append(torch.arange(6))
    drawn, _ = queue.draw_unlike(torch.full((200,), 9))
    times = torch.bincount(drawn, minlength=6)  # type: ignore[arg-type]
    assert times[:2].tolist() == [0, 0] and times[2:].min() > 25
