"""ATC: InfoNCE against a loop over pairs of one episode, the lagging target, and what a ring teaches."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from agents.context import Context
from agents.encoders.mlp import Mlp
from agents.objectives.atc import ATC
from agents.rollout import Obs, Rollout
from tests.agents.ring import CELLS, CONTEXT, Encoder, everything, ring, train, walk


def moved(objective: ATC, encoder: Encoder, data: Rollout) -> None:
    """The encoder goes away from the target, which begins as it was."""
    objective.loss(encoder, data, everything(data))
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *objective.projection.parameters()]:
            parameter.add_(torch.randn_like(parameter))


def pairs(data: Rollout, k: int) -> list[tuple[Tensor, Tensor]]:
    """(s_t, s_{t+k}) of every step whose episode goes on for k steps, within the rollout."""
    steps, copies = data.shape
    found = []
    for t in range(steps - k + 1):
        for n in range(copies):
            if not data.done[t : t + k - 1, n].any():
                found.append((data.obs[t, n], data.next_obs[t + k - 1, n]))
    return found


def literal(objective: ATC, encoder: Encoder, data: Rollout) -> dict[str, float]:
    """Loss, accuracy and chance by loops in float64."""
    part, phi = deepcopy(objective).double(), deepcopy(encoder).double()
    found, total, right = pairs(data, objective.k), 0.0, 0
    weight = part.W.weight.detach().numpy()
    for i, (obs, _) in enumerate(found):
        c = part.projection(phi(obs.double()))
        p = (c + part.anchor(c)).detach().numpy()
        logits = []
        for _, later in found:
            target = part.target_projection(part.target(later.double())).detach().numpy()
            logits.append(sum(weight[a] @ p * target[a] for a in range(len(target))))
        top = max(logits)
        total += top + math.log(sum(math.exp(x - top) for x in logits)) - logits[i]
        right += logits.index(top) == i
    return {"loss": total / len(found), "accuracy": right / len(found), "chance": 1 / len(found)}


@pytest.mark.parametrize("k", [1, 3])
def test_loss_and_metrics_equal_a_loop_over_pairs_of_one_episode(k: int) -> None:
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    data = ring(torch.randint(2, (6, 4), generator=g), torch.rand(6, 4, generator=g) < 0.2)
    objective, encoder = ATC(CONTEXT, k=k, latent=5, hidden=7), Encoder()
    moved(objective, encoder, data)
    loss, metrics = objective.loss(encoder, data, everything(data))
    expected = literal(objective, encoder, data)
    assert 1 / metrics["chance"] < 24 or k == 1
    assert metrics == pytest.approx(expected, rel=1e-4)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-4)


def test_no_gradient_comes_from_pairs_across_an_end_or_flows_into_the_target() -> None:
    moves = torch.ones(4, 6).long()
    ended = torch.zeros(4, 6).bool()
    ended[1, :3] = True  # copies 0 to 2 are cut: of k = 3 steps from t = 0 only those of copies 3 to 5 remain
    objective, encoder, data = ATC(CONTEXT), Encoder(), ring(moves, ended)
    loss = objective.loss(encoder, data, (torch.zeros(6).long(), torch.arange(6)))[0]
    loss.backward()
    seen = encoder.net[0].weight.grad.abs().sum(0) > 0  # one column of the first layer per cell
    assert seen.nonzero().flatten().tolist() == [3, 4, 5]
    assert all(p.grad is None for part in (objective.target, objective.target_projection) for p in part.parameters())
    assert all(
        p.grad is not None for part in (objective.projection, objective.anchor, objective.W) for p in part.parameters()
    )


def test_without_any_pair_the_loss_is_zero_and_pulls_nothing() -> None:
    objective, encoder = ATC(CONTEXT), Encoder()
    data = ring(torch.ones(5, 6).long(), torch.ones(5, 6).bool())
    loss, metrics = objective.loss(encoder, data, everything(data))
    loss.backward()
    assert metrics == {"loss": 0.0, "accuracy": 0.0, "chance": 1.0}
    assert all((p.grad == 0).all() for p in encoder.parameters())


def test_targets_of_encoder_and_projection_follow_by_tau() -> None:
    objective, encoder, data = ATC(CONTEXT, tau=0.25), Encoder(), walk()
    moved(objective, encoder, data)
    for target, source in ((objective.target, encoder), (objective.target_projection, objective.projection)):
        old, new = [p.clone() for p in target.parameters()], list(source.parameters())
        assert not torch.equal(old[0], new[0])
        for _ in range(2):
            old = [0.75 * a + 0.25 * b for a, b in zip(old, new, strict=True)]
        later = deepcopy(objective)
        later.after_step(encoder)
        later.after_step(encoder)
        found = later.target if target is objective.target else later.target_projection
        torch.testing.assert_close(list(found.parameters()), old, check_stride=False)


def test_a_rollout_shorter_than_k_is_refused() -> None:
    data = walk(steps=2)
    with pytest.raises(ValueError, match="k=3 looks beyond a rollout of 2 steps; lower k"):
        ATC(CONTEXT).loss(Encoder(), data, everything(data))


def test_both_views_of_a_picture_are_shifted() -> None:
    space = spaces.Box(0, 255, (3, 40, 40), np.uint8)
    views = torch.randint(0, 256, (6, 4, 3, 40, 40)).to(torch.uint8)
    never, seen = torch.zeros(5, 4).bool(), []
    data = Rollout(views[:-1], torch.zeros(5, 4).long(), views[1:], torch.zeros(5, 4), never, never)

    class Looking(Mlp):
        def forward(self, obs: Obs) -> Tensor:
            seen.append(obs)
            return super().forward(obs)

    objective = ATC(Context(space, spaces.Discrete(2), 4, lambda: Looking(space, hidden=(8,))))
    objective.loss(Looking(space, hidden=(8,)), data, (torch.zeros(4).long(), torch.arange(4)))
    for shifted, original in zip(seen, (views[0], views[3]), strict=True):
        same = (shifted == original).flatten(1).float().mean(1)
        assert (same < 1).any()
        assert ((same < 0.1) | (same == 1)).all()  # by chance one of the pictures may stay where it is


def test_a_deterministic_ring_is_told_apart_and_a_shuffled_one_is_not() -> None:
    torch.manual_seed(0)
    data = ring(torch.ones(1, CELLS).long())  # all copies go round, each in a cell of its own
    true, control = (
        train(ATC(CONTEXT, k=1, tau=0.05, shuffled=shuffled), lambda _: data, updates=150) for shuffled in (False, True)
    )
    assert true["accuracy"] == 1 > 10 * true["chance"]
    assert control["accuracy"] < 3 * control["chance"]
    assert control["loss"] > 0.9 * math.log(CELLS)


def test_equal_views_bound_loss_and_accuracy() -> None:
    """Each cell twice in a minibatch: at best one bit is missing, and one of the two is named for both."""
    torch.manual_seed(0)
    data = ring(torch.ones(1, CELLS).long(), starts=torch.arange(CELLS) // 2 * 2)
    metrics = train(ATC(CONTEXT, k=1, tau=0.05), lambda _: data, updates=300)
    assert metrics["loss"] == pytest.approx(math.log(2), abs=0.02)
    assert metrics["accuracy"] == 0.5
