"""Random network distillation: the error against float64, its fall on what repeats, and what it sees."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents.adam import Adam
from agents.context import Context
from agents.curiosity._batches import before_and_after, descend
from agents.curiosity._distillation import Whitening
from agents.curiosity.rnd import RND
from agents.rollout import Rollout

SPACE = spaces.Box(-10, 10, (4,), np.float32)


def context(n_envs: int = 4) -> Context:
    return Context(SPACE, spaces.Discrete(2), n_envs, lambda: FlattenExtractor(SPACE))


def rollout(next_obs: torch.Tensor) -> Rollout:
    zeros = torch.zeros(next_obs.shape[:2])
    return Rollout(torch.zeros_like(next_obs), zeros.long(), next_obs, zeros, zeros.bool(), zeros.bool())


def views(steps: int, seed: int) -> torch.Tensor:
    return torch.randn(steps, 4, 4, generator=torch.Generator().manual_seed(seed))


def literal_error(layers: list, x: np.ndarray) -> np.ndarray:
    """Linear layers with ReLU between them, in float64."""
    for i, layer in enumerate(layers):
        x = x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        x = np.maximum(x, 0) if i < len(layers) - 1 else x
    return x


def test_reward_equals_a_literal_forward_pass_on_the_successor() -> None:
    rnd, obs = RND(context(), width=16), views(5, seed=0)
    linear = [
        [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
        for net in (rnd.networks.predictor, rnd.networks.target)
    ]
    assert [len(layers) for layers in linear] == [3, 1]
    predictor, target = (literal_error(layers, obs.double().numpy()) for layers in linear)
    np.testing.assert_allclose(rnd.reward(rollout(obs)).numpy(), ((predictor - target) ** 2).mean(-1), rtol=1e-4)


class Symbols(FlattenExtractor):
    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return observations.float()


def test_error_falls_on_repeated_views_and_stays_high_on_held_out_ones() -> None:
    torch.manual_seed(0)
    space, views_ = spaces.Box(0, 1, (8,), np.uint8), torch.eye(8, dtype=torch.uint8)
    rnd = RND(Context(space, spaces.Discrete(2), 4, lambda: Symbols(space)), lr=1e-3, width=32)
    repeated, held_out = rollout(views_[:4].expand(8, 4, 8)), rollout(views_[4:].expand(8, 4, 8))
    before = rnd.reward(held_out).mean()
    for _ in range(300):
        rnd.update(repeated)
    assert rnd.reward(repeated).mean() < 1e-3 * before
    assert rnd.reward(held_out).mean() > 0.3 * before


def test_reward_uses_the_statistics_from_before_the_update() -> None:
    rnd, data = RND(context()), rollout(views(64, seed=3) * 7 + 2)
    moments = rnd.networks.whitening.moments[0]
    first = rnd.reward(data)
    assert moments.count == 0
    assert torch.equal(first, rnd.reward(data))
    rnd.update(data)
    np.testing.assert_allclose(moments.mean.numpy(), data.next_obs.double().mean((0, 1)).numpy(), rtol=1e-9)
    assert moments.count == 256


def test_the_target_never_changes_and_only_the_predictor_is_optimised() -> None:
    rnd, data = RND(context()), rollout(views(16, seed=4))
    target, predictor = deepcopy(rnd.networks.target.state_dict()), deepcopy(rnd.networks.predictor.state_dict())
    rnd.update(data)
    assert all(torch.equal(target[k], v) for k, v in rnd.networks.target.state_dict().items())
    assert not any(torch.equal(predictor[k], v) for k, v in rnd.networks.predictor.state_dict().items())
    owned = {id(p) for group in rnd.optimiser.param_groups for p in group["params"]}
    assert owned == {id(p) for p in rnd.parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("n_envs", "proportion", "expected"), [(8, None, 1), (64, None, 0.5), (128, None, 0.25), (64, 0.1, 0.1)]
)
def test_the_learned_share_is_that_of_32_environments(n_envs: int, proportion: float | None, expected: float) -> None:
    shuffle = RND(context(n_envs), proportion=proportion).networks.shuffle
    batches = shuffle.draw(4000)
    index = torch.cat(batches)
    assert len(index) == 4000 * expected
    assert len(index.unique()) == len(index)
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert max(map(len, batches)) <= 1024
    assert not torch.equal(index, torch.cat(shuffle.draw(4000)))


def test_equal_views_are_learned_as_often_as_they_were_seen() -> None:
    space = spaces.Box(0, 3, (3,), np.uint8)
    torch.manual_seed(0)
    rnd = RND(Context(space, spaces.Discrete(2), 4, lambda: Symbols(space)), lr=1e-2, width=8)
    plain, data = deepcopy(rnd), rollout(torch.randint(3, (50, 4, 3), dtype=torch.uint8))
    network, losses = plain.networks, []
    for index in network.shuffle.draw(200):
        loss = network.difference(data.next_obs.flatten(0, 1)[index]).square().mean()
        descend(Adam(network.predictor.parameters(), 1e-2), loss)
        losses.append(loss.item())
    assert rnd.update(data)["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    for a, b in zip(rnd.networks.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_learning_leaves_the_generator_of_the_run_alone() -> None:
    rnd, data = RND(context()), rollout(views(16, seed=5))
    state = torch.get_rng_state()
    rnd.reward(data)
    rnd.update(data)
    assert torch.equal(state, torch.get_rng_state())


def test_whitening_touches_continuous_parts_only() -> None:
    space = spaces.Dict({"x": SPACE, "image": spaces.Box(0, 10, (2,), np.uint8), "kind": spaces.Discrete(3)})
    whitening = Whitening(space)
    obs = {"x": views(1, seed=6)[0] * 3, "image": torch.full((4, 2), 9, dtype=torch.uint8), "kind": torch.arange(4)}
    whitening.update(obs)
    seen = whitening(obs)
    torch.testing.assert_close(seen["x"].mean(0), torch.zeros(4), rtol=0, atol=1e-6)
    torch.testing.assert_close(seen["x"].std(0, correction=0), torch.ones(4))
    assert torch.equal(seen["image"], obs["image"])
    assert torch.equal(seen["kind"], obs["kind"])
    symbols = torch.tensor([1, 2])
    assert Whitening(spaces.Discrete(3))(symbols) is symbols


def test_before_and_after_equals_computing_every_view() -> None:
    g = torch.Generator().manual_seed(7)
    steps, n_envs = 40, 30  # more than one piece
    obs, after = torch.randn(steps, n_envs, 4, generator=g), torch.randn(steps, n_envs, 4, generator=g)
    done = torch.rand(steps, n_envs, generator=g) < 0.2
    obs[1:] = torch.where(done[:-1, :, None], obs[1:], after[:-1])
    data = Rollout(obs, done.long(), after, done.float(), done & (obs[..., 0] > 0), done & (obs[..., 0] <= 0))
    seen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x[:, :2] * 2

    got = before_and_after(function, data)
    torch.testing.assert_close(got[0], obs[..., :2] * 2, rtol=0, atol=0)
    torch.testing.assert_close(got[1], after[..., :2] * 2, rtol=0, atol=0)
    assert sum(seen) == steps * n_envs + n_envs + int(done[:-1].sum())


def test_both_networks_see_whitened_views_cut_at_5() -> None:
    rnd, obs = RND(context(), width=16), views(64, seed=8)
    past = views(64, seed=9) * 7 + 2
    rnd.networks.whitening.update(past.flatten(0, 1))
    mean, std = (getattr(past.double().numpy(), name)((0, 1)) for name in ("mean", "std"))
    obs = obs * 12 + 2  # some lie beyond 5 deviations
    seen = (obs.double().numpy() - mean) / std
    assert (np.abs(seen) > 5).any()
    predictor, target = (
        literal_error([m for m in net.modules() if isinstance(m, torch.nn.Linear)], np.clip(seen, -5, 5))
        for net in (rnd.networks.predictor, rnd.networks.target)
    )
    np.testing.assert_allclose(rnd.reward(rollout(obs)).numpy(), ((predictor - target) ** 2).mean(-1), rtol=1e-4)


def test_views_are_taken_into_the_statistics_before_they_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    rnd, data, known = RND(context()), rollout(views(16, seed=10)), []
    difference = rnd.networks.difference

    def spy(obs: torch.Tensor) -> torch.Tensor:
        known.append(int(rnd.networks.whitening.moments[0].count))
        return difference(obs)

    monkeypatch.setattr(rnd.networks, "difference", spy)
    rnd.update(data)
    assert known == [64]
