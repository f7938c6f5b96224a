"""The study of Markov state abstractions: many networks are as many single ones; targets, draws, verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envs import msa_grid
from envs.msa_grid import MarkovGrid
from studies import _msa_autoencoder, _msa_dqn, _msa_nets, _msa_phi, msa
from studies._msa_dqn import DQN
from studies._msa_nets import Nets, tanh

SEEDS = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alone(nets: Nets, s: int, hidden: type[nn.Module], last: type[nn.Module] | None) -> nn.Sequential:
    """Network s as ordinary layers."""
    layers: list[nn.Module] = []
    for weight, bias in zip(nets.weights, nets.biases, strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[2])
        layer.weight.data, layer.bias.data = weight[s].T.detach().clone(), bias[s, 0].detach().clone()
        layers += [layer, hidden()]
    return nn.Sequential(*layers[:-1], *([last()] if last else []))


def literal_loss(
    name: str, parts: dict[str, nn.Module], x: Tensor, after: Tensor, a: Tensor, shuffle: Tensor
) -> Tensor:
    """One seed's loss as the authors write it."""
    z = parts["phi"](x)
    if name == "autoencoder":
        return F.mse_loss(parts["decoder"](z), x)
    z_next = parts["phi"](after)
    loss = F.cross_entropy(parts["inverse"](torch.cat([z, z_next], -1)), a)
    if name == "markov":
        pairs = torch.cat([torch.cat([z, z_next], -1), torch.cat([z, z_next[shuffle]], -1)])
        fake = torch.cat([torch.zeros(len(z)), torch.ones(len(z))])
        loss = loss + F.binary_cross_entropy(torch.sigmoid(parts["discriminator"](pairs)).squeeze(-1), fake)
    return loss


@pytest.mark.parametrize("name", ["inverse", "markov", "autoencoder"])
def test_batched_representations_are_single_ones_trained_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, batch, updates = 300, 50, 8
    monkeypatch.setattr(_msa_nets, "BLOCK", 16)
    monkeypatch.setattr(_msa_autoencoder, "BLOCK", 16)
    data = _msa_phi.walks(SEEDS, np.random.default_rng(0), steps=steps)
    phi = _msa_phi.train(name, data, updates, generator(1), batch=batch)
    draws = generator(1)
    start = _msa_phi.Objective(name, SEEDS, draws)  # the same weights, and the generator where `train` has it
    seeds = []
    for s in range(SEEDS):
        parts: dict[str, nn.Module] = {}
        for part, nets in start.named_children():
            assert isinstance(nets, Nets)
            ends = part in ("phi", "decoder")
            parts[part] = alone(nets, s, nn.Tanh, nn.Tanh if ends else None)
        seeds.append((parts, torch.optim.Adam([p for net in parts.values() for p in net.parameters()], lr=3e-3)))
    rng = np.random.default_rng(int(torch.randint(2**32, (), generator=draws)))
    for _ in range(updates):
        drawn = [torch.from_numpy(_msa_phi.subset(rng, steps, batch)) for _ in range(SEEDS)]
        shuffle = torch.randperm(batch, generator=draws) if name == "markov" else torch.arange(batch)
        for s, (parts, adam) in enumerate(seeds):
            adam.zero_grad()
            x, after = data.pictures[s][:, drawn[s]]
            literal_loss(name, parts, x, after, data.actions[s, drawn[s]], shuffle).backward()
            adam.step()
    x = data.pictures[:, 0, :20]
    together = phi(x)
    for s, (parts, _) in enumerate(seeds):
        torch.testing.assert_close(together[s], parts["phi"](x[s]), atol=2e-5, rtol=1e-4)
    assert (together - start.phi(x)).abs().max() > 1e-3


def test_tanh_and_its_gradient_are_torchs() -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(tanh(x), torch.tanh(x))
    (mine,) = torch.autograd.grad(tanh(x).sum(), x)
    (theirs,) = torch.autograd.grad(torch.tanh(x).sum(), x)
    torch.testing.assert_close(mine, theirs)


def test_compiled_tanh_is_numpys() -> None:
    for x in np.linspace(-20, 20, 4001, dtype=np.float32):
        assert _msa_autoencoder._tanh(x) == pytest.approx(math.tanh(x), abs=2e-7)


def test_a_subset_is_any_with_the_same_chance() -> None:
    rng, n = np.random.default_rng(0), 6000
    found = [tuple(_msa_phi.subset(rng, 4, 2)) for _ in range(n)]
    sets = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    assert set(found) == set(sets)
    for one in sets:
        assert abs(found.count(one) / n - 1 / 6) < 4 * math.sqrt(5 / 36 / n)
    np.testing.assert_array_equal(_msa_phi.subset(rng, 7, 7), np.arange(7))


def test_weights_are_drawn_as_those_of_linear() -> None:
    nets = Nets(200, (324, 32, 2), tanh, generator=generator())
    for weight, bias, n in zip(nets.weights, nets.biases, (324, 32), strict=True):
        for drawn in (weight, bias):
            assert drawn.abs().max() <= 1 / math.sqrt(n)
            assert drawn.std().item() == pytest.approx(1 / math.sqrt(3 * n), rel=0.05)


def test_training_pictures_are_blurred_over_time_and_pair_up() -> None:
    clean = np.zeros((5, 2, 2), np.float32)
    clean[2, 0, 1] = 1.0
    clean[0, 1, 0] = 1.0
    edge = math.exp(-0.5 / 0.36)
    aside, centre = edge / (1 + 2 * edge), 1 / (1 + 2 * edge)
    blurred = _msa_phi.blurred_over_time(clean)
    np.testing.assert_allclose(blurred[:, 0, 1], [0, aside, centre, aside, 0], atol=1e-6)
    np.testing.assert_allclose(blurred[:, 1, 0], [centre + aside, aside, 0, 0, 0], atol=1e-6)


def test_a_walk_follows_the_worlds_moves() -> None:
    steps = 200
    data = _msa_phi.walks(2, np.random.default_rng(3), steps=steps, over_time=False)
    at = data.pictures.float().view(2, 2, steps, -1).argmax(-1)
    row, column = at // 18 // 3, at % 18 // 3  # the brightest pixel's cell; a jitter past a cell's edge is 10 sigma
    place = torch.stack([row, column], -1).numpy()
    assert tuple(place[0, 0, 0]) == (0, 0)
    for s in range(2):
        for t in range(steps):
            step = msa_grid.MOVES[int(data.actions[s, t])]
            np.testing.assert_array_equal(place[s, 1, t], np.clip(place[s, 0, t] + step, 0, 5))
    np.testing.assert_array_equal(place[:, 1, :-1], place[:, 0, 1:])


def test_double_q_target_by_hand() -> None:
    q = torch.tensor([[1.0, 3.0, 2.0, 0.0], [1.0, 3.0, 2.0, 0.0]])
    target = torch.tensor([[9.0, -5.0, 9.0, 9.0], [9.0, -5.0, 9.0, 9.0]])
    y = _msa_dqn.double_q_targets(q, target, torch.tensor([-1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.9)
    torch.testing.assert_close(y, torch.tensor([-1 + 0.9 * -5, 0.0]))


def filled(dqn: DQN, steps: int, width: int, rng: np.random.Generator) -> None:
    """Store random steps, without learning."""
    n = dqn.count
    for _ in range(steps):
        obs, after = rng.random((2, n, width), np.float32)
        dqn.store(obs, rng.integers(4, size=n), -rng.random(n), after, rng.random(n) < 0.2)


@pytest.mark.parametrize("train_phi", [False, True])
def test_batched_learners_are_single_ones_trained_one_by_one(train_phi: bool) -> None:
    phi = _msa_phi.new_phi(SEEDS, generator(5))
    single_phis = [alone(phi, s, nn.Tanh, nn.Tanh) for s in range(SEEDS)]
    dqn = DQN(SEEDS, phi, train_phi=train_phi, generator=generator(6))
    singles, targets = ([alone(dqn.q, s, nn.ReLU, None) for s in range(SEEDS)] for _ in range(2))
    rng = np.random.default_rng(0)
    filled(dqn, 60, 324, rng)
    batches = [torch.from_numpy(np.stack([rng.choice(60, 16, False) for _ in range(SEEDS)])) for _ in range(53)]
    learned = [
        torch.optim.Adam([*q.parameters(), *(f.parameters() if train_phi else ())], lr=3e-3)
        for q, f in zip(singles, single_phis, strict=True)
    ]
    for k, index in enumerate(batches):
        for s in range(SEEDS):
            stored = (dqn.before, dqn.actions, dqn.rewards, dqn.after, dqn.terminated)
            x, a, r, after, ended = (one[s, index[s]] for one in stored)
            features = single_phis[s] if train_phi else nn.Identity()
            with torch.no_grad():
                z = features(after)
                value = targets[s](z)[torch.arange(16), singles[s](z).argmax(1)]
                y = torch.where(ended.bool(), r, r + 0.9 * value)
            loss = F.smooth_l1_loss(singles[s](features(x))[torch.arange(16), a], y)
            learned[s].zero_grad()
            loss.backward()
            learned[s].step()
            if k == 49:
                targets[s].load_state_dict(singles[s].state_dict())
        dqn.update(index)
    z = torch.rand(SEEDS, 10, 2)
    for s in range(SEEDS):
        torch.testing.assert_close(dqn.q(z)[s], singles[s](z[s]), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(dqn.target(z)[s], targets[s](z[s]), atol=1e-4, rtol=1e-3)
        same = torch.equal(phi.weights[0][s].T, single_phis[s][0].weight)
        assert train_phi or same


def test_order_of_events_is_the_published_one() -> None:
    dqn, rng = DQN(2, None, generator=generator()), np.random.default_rng(0)
    filled(dqn, 498, 2, rng)
    step = (np.zeros((2, 2), np.float32), np.zeros(2, np.int64), -np.ones(2), np.zeros((2, 2), np.float32))
    dqn.learn(*step, np.zeros(2, bool))
    assert (dqn.stored, dqn.updates, dqn.epsilon()) == (499, 0, 1.0)
    dqn.learn(*step, np.zeros(2, bool))
    assert (dqn.stored, dqn.updates, dqn.epsilon()) == (500, 1, 1.0)
    for stored, epsilon in ((1750, 0.525), (3000, 0.05), (20_000, 0.05)):
        dqn.stored = stored
        assert dqn.epsilon() == pytest.approx(epsilon)


def test_a_batch_holds_different_steps_each_as_likely() -> None:
    drawn = _msa_dqn.different(6, 6000, 3, generator())
    assert (drawn.sort(1).values.diff(dim=1) > 0).all()
    orders = (drawn @ torch.tensor([36, 6, 1])).unique(return_counts=True)[1]
    assert len(orders) == 6 * 5 * 4
    assert orders.float().std() < 12  # 50 of each expected, 7 by chance


def test_returns_are_those_of_each_copys_first_episodes() -> None:
    class Oracle(_msa_dqn.Random):
        def act(self, obs: np.ndarray) -> np.ndarray:
            return world.oracle()

    world = MarkovGrid(40, goal_seed=None)
    returns = _msa_dqn.play(world, Oracle(np.random.default_rng(0)), 30, seed=0)
    row, column = (world.goal[:, axis, None, None] for axis in range(2))
    away = np.abs(np.arange(6)[None, :, None] - row) + np.abs(np.arange(6)[None, None, :] - column)
    expected = away.sum((1, 2)) / 35 - 1  # over all starts but the goal; the last step costs nothing
    assert np.abs(-returns.mean(1) - expected).max() < 2
    assert -returns.mean() == pytest.approx(expected.mean(), abs=0.15)


def test_a_chunk_is_the_same_again_and_the_plan_takes_every_seed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msa, "EPISODES", 3)
    monkeypatch.setattr(msa, "LAST", 2)
    one, two = (msa.run("true x-y", 1) for _ in range(2))
    assert one["mean"] == two["mean"] and len(one["mean"]) == 50
    plan = msa.plan(100)
    assert len(set(plan)) == len(plan)
    for row in msa.ROWS:
        assert row.chunk * sum(name == row.name for name, _ in plan) == row.seeds


def test_verdicts() -> None:
    rng = np.random.default_rng(0)
    theirs = {"random": rng.normal(-85, 10, 300).tolist(), "inverse 3k": rng.normal(-20, 1, 300).tolist()}
    runs = [
        {"row": name, "mean": rng.normal(centre, 1, 100).tolist(), "last": [-21.0, -19.0] * 50, "cpu_seconds": 50.0}
        for name, centre in (("random", -85), ("inverse 3k", -22))
    ]
    inside, off = msa.table(runs, theirs)
    assert inside["verdict"] == "inside" and off["verdict"].startswith("differs by -")
    assert (inside["seeds"], inside["failed"], inside["cpu_seconds_a_seed"]) == (100, 0.5, 0.5)
    good, bad = rng.normal(-20, 1, 300), rng.normal(-300, 1, 60)
    scores = {"autoencoder 30k": [*good[:240], *bad], "end to end": rng.normal(-34, 1, 300).tolist()}
    found = msa.disagreement(scores, paired=True)
    assert found is not None and found["text"] == "mean and IQM disagree, beyond doubt"
    assert msa.disagreement({"end to end": [1.0]}, paired=False) is None
