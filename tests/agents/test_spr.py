"""SPR: the loss against float64 and by hand, episode ends, the target, and what its control cannot learn."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import nn

from agents.context import Context
from agents.objectives.spr import SPR
from agents.rollout import Rollout
from tests.agents.chain import CONTEXT, Encoder, N, T, looks_beyond_an_end, signals, some, walk


def unit(x: np.ndarray) -> np.ndarray:
    return x / max(np.sqrt((x**2).sum()), 1e-3)


def test_loss_equals_float64_with_loops() -> None:
    objective, encoder, data, k = SPR(CONTEXT, k=4), Encoder(), walk(ends=0.3), 4
    t_all, n_all = some(30)
    loss, metrics = objective.loss(encoder, data, (t_all, n_all))
    phi, h, g, q = (
        deepcopy(m).double() for m in (encoder, objective.transition.net, objective.projection, objective.predictor)
    )
    errors, last, z_all = [], [], []
    with torch.no_grad():
        for t, n in list(zip(t_all.tolist(), n_all.tolist(), strict=True))[::k]:
            z = phi(data.obs[t, n].double())
            z_all.append(unit(z.numpy()))
            for i in range(k):
                z = h(torch.cat([z, torch.eye(2).double()[data.actions[t + i, n]]]))
                y = g(phi(data.next_obs[t + i, n].double()))  # the target begins as the encoder
                errors.append(((unit(q(g(z)).numpy()) - unit(y.numpy())) ** 2).sum())
                last += [errors[-1]] if i == k - 1 else []
                if data.done[t + i, n] or t + i == T - 1:
                    break
    assert len(errors) < len(z_all) * k
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-5)
    expected = {"loss": np.mean(errors), "last_loss": np.mean(last), "spread": np.std(z_all, 0).mean()}
    assert metrics == pytest.approx(expected, rel=1e-5)


def test_one_step_by_hand() -> None:
    space, flags = spaces.Box(-9, 9, (2,), np.float32), torch.ones(1, 2).bool()
    objective = SPR(Context(space, spaces.Discrete(2), 2, lambda: FlattenExtractor(space)), k=1, hidden=2)
    with torch.no_grad():
        objective.transition.net[0].weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, -1.0]]))
        objective.transition.net[1].weight.copy_(torch.eye(2))  # z + (1, -1) after action 1, else z
        for layer in (objective.projection, objective.predictor, objective.target_projection):
            layer.weight.copy_(torch.eye(2))
        for layer in (*objective.transition.net, objective.projection, objective.predictor):
            layer.bias.zero_()
        objective.target_projection.bias.zero_()
    data = Rollout(
        torch.tensor([[[3.0, 4.0], [3.0, 4.0]]]),
        torch.tensor([[1, 0]]),
        torch.tensor([[[5.0, 0.0], [-4.0, 3.0]]]),
        torch.zeros(1, 2),
        flags,
        ~flags,
    )
    loss, _ = objective.loss(FlattenExtractor(space), data, (torch.tensor([0, 0]), torch.tensor([0, 1])))
    assert loss.item() == pytest.approx(((2 - 2 * 0.8) + (2 - 2 * 0.0)) / 2)  # (4, 3) to (1, 0); (3, 4) to (-4, 3)


def test_nothing_behind_an_end_counts() -> None:
    assert looks_beyond_an_end(SPR(CONTEXT, k=5)) == (False, True)


def test_the_target_gets_no_gradient_and_follows_by_tau() -> None:
    objective, encoder = SPR(CONTEXT, tau=0.25), Encoder()
    objective.loss(encoder, walk(), some(40))
    start, projected = encoder.net[0].weight.detach().clone(), objective.projection.weight.detach().clone()
    with torch.no_grad():
        encoder.net[0].weight.add_(1.0)
        objective.projection.weight.add_(2.0)
    objective.loss(encoder, walk(), some(40))[0].backward()
    targets = [*objective.target.parameters(), *objective.target_projection.parameters()]
    assert all(p.grad is None for p in targets)
    assert torch.equal(objective.target.net[0].weight, start)
    objective.after_step(encoder)
    torch.testing.assert_close(objective.target.net[0].weight.detach(), start + 0.25)
    torch.testing.assert_close(objective.target_projection.weight.detach(), projected + 0.5)


def test_with_augmentation_the_target_does_not_lag() -> None:
    picture = spaces.Box(0, 255, (3, 24, 24), np.uint8)

    class Pixels(BaseFeaturesExtractor):
        def __init__(self) -> None:
            super().__init__(picture, 4)
            self.net = nn.Linear(picture.shape[0] * 24 * 24, 4)

        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return self.net(observations.flatten(1) / 255)

    assert SPR(Context(picture, spaces.Discrete(2), N, Pixels)).tau == 1.0
    assert SPR(Context(picture, spaces.Discrete(2), N, Pixels), tau=0.1).tau == 0.1
    assert SPR(CONTEXT).tau == 0.01


def test_shuffled_pairs_leave_nothing_to_learn() -> None:
    learned, control = signals(lambda shuffled: SPR(CONTEXT, shuffled=shuffled, k=2), updates=250, lr=1e-2, m=512)
    assert learned > 3
    assert control == pytest.approx(1, abs=0.15)


def test_unsupported_actions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="MultiDiscrete"):
        SPR(Context(CONTEXT.observation_space, spaces.MultiDiscrete([2, 2]), N, Encoder))
