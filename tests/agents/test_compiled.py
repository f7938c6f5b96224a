"""The compiled path of the learner against the plain one: the same loss, gradient, actions and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents.adam import Adam
from agents.curiosity.counts import Counts
from agents.encoders.flat import Flat
from agents.encoders.mlp import Mlp
from agents.encoders.symbolic import Symbolic
from agents.faults import NonFinite
from agents.learners import _actor
from agents.learners._actor import Actor
from agents.learners._compiled import Surrogate, sample
from agents.learners._policy import TwoHeads
from agents.learners.ppo import PPO
from agents.objectives.inverse import InverseDynamics
from agents.vec_env import GymnasiumVecEnv
from envs import vector

A, STEPS = 4, 60


def arrays(heads: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs [M, A + H] of a minibatch, and a rollout's arrays in which every branch of the loss occurs."""
    g = torch.Generator().manual_seed(seed)
    actions = torch.randint(A, (STEPS,), generator=g)
    index = torch.randperm(STEPS, generator=g)[:32]
    outputs = torch.randn(32, A + heads, generator=g)
    now = outputs[:, :A].log_softmax(-1).gather(1, actions[index, None])[:, 0]
    old = torch.zeros(STEPS)
    old[index] = now + 0.4 * torch.randn(32, generator=g)  # ratios within and beyond the clip range, on both sides
    advantages, returns = torch.randn(STEPS, generator=g), torch.randn(heads, STEPS, generator=g)
    return outputs, {"index": index, "actions": actions, "log_probs": old, "advantages": advantages, "returns": returns}


def literal(outputs: Tensor, data: dict[str, Tensor], coefs: Tensor, ent: float, clip: float, normalise: bool) -> Any:
    """PPO's loss as the paper writes it, in float64."""
    i = data["index"]
    x, advantages = outputs.double(), data["advantages"][i].double()
    log_p = x[:, :A].log_softmax(-1)
    chosen = log_p.gather(1, data["actions"][i, None])[:, 0]
    if normalise:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    ratio = (chosen - data["log_probs"][i].double()).exp()
    policy = -torch.min(advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip)).mean()
    entropy = -(log_p.exp() * log_p).sum(-1).mean()
    values = [(x[:, A + h] - data["returns"][h, i].double()).square().mean() for h in range(len(coefs))]
    loss = policy - ent * entropy + sum(c * v for c, v in zip(coefs, values, strict=True))
    kl = (ratio - 1 - ratio.log()).mean()
    return loss, [policy, -entropy, kl, ((ratio - 1).abs() > clip).double().mean(), *values]


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_and_its_gradient_are_the_papers(heads: int, normalise: bool, seed: int) -> None:
    outputs, data = arrays(heads, seed)
    coefs = torch.tensor([0.5, 0.25], dtype=torch.float64)[:heads]
    exact = outputs.double().requires_grad_()
    wanted, terms = literal(exact, data, coefs, 0.01, 0.2, normalise)
    outputs.requires_grad_()
    index = data.pop("index")
    of = Surrogate(**data, clip_range=0.2, ent_coef=0.01, value_coefs=coefs, normalise=normalise)
    loss, stats = of(outputs, index)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert stats.tolist() == pytest.approx([term.item() for term in terms], rel=1e-4, abs=1e-6)
    assert 0 < float(terms[3]) < 1  # some ratios are clipped and some are not
    (3 * loss).backward()
    (gradient,) = torch.autograd.grad(3 * wanted, [exact])
    torch.testing.assert_close(outputs.grad.double(), gradient, rtol=1e-4, atol=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("heads", [1, 2])
def test_steps_that_saw_the_same_view_add_their_gradients(heads: int) -> None:
    outputs, data = arrays(heads, 0)
    where = torch.randint(10, (32,), generator=torch.Generator().manual_seed(1))
    views, coefs = outputs[:12], torch.tensor([0.5, 0.25], dtype=torch.float64)[:heads]  # nobody saw the last two
    exact = views.double().requires_grad_()
    wanted, terms = literal(exact[where], data, coefs, 0.01, 0.2, True)
    wanted.backward()
    index = data.pop("index")
    of = Surrogate(**data, clip_range=0.2, ent_coef=0.01, value_coefs=coefs, normalise=True)
    stats = of.no_stats()
    gradient, loss = of.gradient(views, where, index, stats)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert stats.tolist() == pytest.approx([term.item() for term in terms], rel=1e-4, abs=1e-6)
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=1e-6)


def test_sampling_is_torchs_multinomial() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(500, A + 2) * 2
    torch.manual_seed(7)
    wanted = torch.multinomial(outputs[:, :A].softmax(-1), 1)[:, 0]
    torch.manual_seed(7)
    found = sample(outputs.numpy(), A, 2)
    assert found is not None
    actions, values, log_probs = found
    assert torch.equal(actions, wanted)
    assert torch.equal(values, outputs[:, A:].T)
    torch.testing.assert_close(log_probs, outputs[:, :A].log_softmax(-1).gather(1, wanted[:, None])[:, 0])


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_told(poison: float) -> None:
    outputs = np.zeros((3, A + 1), np.float32)
    outputs[1, :A] = poison
    assert sample(outputs, A, 1) is None


# ---------------------------------------------------------------------- the whole learner


def learner(encoder: Any = Symbolic, env_id: str = "MiniGrid-DoorKey-5x5-v0", **kwargs: Any) -> PPO:
    network = {"net_arch": [], "features_extractor_class": encoder, "optimizer_class": Adam}
    network |= kwargs.pop("network", {})
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 128, "n_epochs": 2, "learning_rate": 2e-3, "seed": 1}
    env = GymnasiumVecEnv(vector.make(env_id, 8, levels=64, eval_levels=8))
    return PPO("MultiInputPolicy", env, ent_coef=0.01, device="cpu", policy_kwargs=network, **settings | kwargs)


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch every compiled part of the learner off."""
    monkeypatch.setattr(TwoHeads, "compiled", property(lambda self: False))


VARIANTS: dict[str, dict[str, Any]] = {
    "one head": {},
    "two heads": {"intrinsic": Counts},
    "objective": {"intrinsic": Counts, "objective": InverseDynamics},
    "pre-training": {"intrinsic": Counts, "objective": lambda c: InverseDynamics(c, mode="frozen", pretrain_steps=256)},
    "pre-training, one head": {"objective": lambda c: InverseDynamics(c, mode="frozen", pretrain_steps=256)},
    "layers of heads": {"network": {"net_arch": [16]}},
    "another encoder": {"encoder": Mlp, "intrinsic": Counts},
    "SB3's standard network": {"encoder": Flat, "network": {"net_arch": [64, 64]}, "learning_rate": 1e-3},
    "a given encoder": {"freeze_encoder": True},
    "a limit of divergence": {"target_kl": 3e-3},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_and_plain_learn_the_same(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = learner(**VARIANTS[variant])
    assert compiled.policy.compiled
    compiled.learn(3 * 256)
    plainly(monkeypatch)
    plain = learner(**VARIANTS[variant])
    start = {name: p.clone() for name, p in plain.policy.named_parameters()}
    plain.learn(3 * 256)
    assert torch.equal(plain.rollout_buffer.actions, compiled.rollout_buffer.actions)
    moved = 0.0
    for name, p in plain.policy.named_parameters():
        moved = max(moved, (p - start[name]).abs().max().item())
        torch.testing.assert_close(dict(compiled.policy.named_parameters())[name], p, rtol=1e-3, atol=2e-4)
    assert moved > 1e-2  # well beyond the tolerance


NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "one layer": (Symbolic, {"features_extractor_kwargs": {"hidden": (16,)}}),
    "default": (Symbolic, {}),
    "odd widths": (Symbolic, {"features_extractor_kwargs": {"hidden": (20, 12, 7)}}),
    "layers of its own": (Symbolic, {"net_arch": [24, 10]}),
    "relu": (Mlp, {"net_arch": {"pi": [9], "vf": [30]}, "activation_fn": nn.ReLU}),
    "SB3's standard network": (Flat, {"net_arch": [64, 64]}),
    "linear": (Flat, {}),
}


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_actor_acts_as_its_policy(name: str, heads: int) -> None:
    encoder, network = NETWORKS[name]
    model = learner(encoder, network=network, intrinsic=Counts if heads == 2 else None)
    policy, obs = model.policy, vector.reset(model.env.env, 3)  # type: ignore[union-attr]
    for head in (policy.action_net, *policy.value_nets):
        nn.init.normal_(head.weight)
        nn.init.normal_(head.bias)
    seen = {name: torch.as_tensor(value) for name, value in obs.items()}
    with torch.no_grad():
        torch.manual_seed(2)
        actions, values, log_probs = Actor(policy, 8).act(seen)
        torch.manual_seed(2)
        wanted = policy._act(seen)
    assert values.shape == (heads, 8)
    assert torch.equal(actions, wanted[0])
    torch.testing.assert_close(values, wanted[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_probs, wanted[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "network",
    [
        {"activation_fn": nn.ELU, "net_arch": [8]},
        {"net_arch": {"pi": [8], "vf": []}},
        {"share_features_extractor": False},
    ],
)
def test_the_actor_is_only_for_what_it_knows(network: dict[str, Any]) -> None:
    assert _actor.fits(learner().policy)
    other = learner(network=network).policy
    assert not _actor.fits(other)
    with pytest.raises(ValueError, match="not compiled"):
        Actor(other, 8)
    learner(network=network).learn(256)  # acts by itself


@pytest.mark.parametrize("deterministic", [True, False])
def test_predicting_compiled_is_predicting_plainly(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = learner(intrinsic=Counts).learn(256)
    obs = vector.reset(model.env.env, 3)  # type: ignore[union-attr]

    def played() -> list[list[int]]:
        torch.manual_seed(4)
        return [model.predict(obs, deterministic=deterministic)[0].tolist() for _ in range(20)]

    compiled = played()
    plainly(monkeypatch)
    assert compiled == played()
    assert (len({tuple(actions) for actions in compiled}) == 1) is deterministic


def test_diverged_weights_are_told_by_the_actor() -> None:
    model = learner()
    model.policy.action_net.bias.data[0] = torch.nan
    with pytest.raises(NonFinite):
        model.learn(256)


def test_after_pre_training_the_objective_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last gradient would enter every norm that is clipped, move its head on, and be forgotten by a resume."""
    model = learner(**VARIANTS["pre-training"])
    model.learn(256)
    assert model.objective is not None
    head = [p.detach().clone() for p in model.objective.parameters()]
    assert any(p.grad is not None for p in model.objective.parameters())
    before = [p.detach().clone() for p in model.policy.action_net.parameters()]
    model.learn(512, reset_num_timesteps=False)
    assert all(torch.equal(a, b) for a, b in zip(head, model.objective.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, model.policy.action_net.parameters(), strict=True))
