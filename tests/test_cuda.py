"""On a GPU as on the CPU: every part computes the same numbers there, and every command takes runs that learned there.

Skipped where torch finds no CUDA. Sums are added in another order there, so numbers are compared to float32's accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces

from agents.encoders.mlp import Mlp
from agents.faults import NonFinite
from agents.learners._policy import MlpPolicy
from agents.rollout import Rollout, map_obs
from sandbox.files import read_json
from sandbox.runs import Run, find_runs
from tests.agents.test_part_contracts import BONUSES, OBJECTIVES
from tests.agents.worlds import VECTOR, WORLDS, N, T, context, rollout

Call = Callable[..., Any]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA here")
CLOSE = {"rtol": 2e-3, "atol": 2e-4}
MAZE, PIXELS = "MiniGrid-MultiRoom-N2-S4-v0", "PixelGoal-v0"


def on_cuda(data: Rollout) -> Rollout:
    moved = {name: map_obs(lambda x: x.cuda(), value) for name, value in vars(data).items() if name != "labels"}
    return Rollout(**moved)


# ---------------------------------------------------------------------- parts


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", BONUSES)
def test_a_bonus_pays_and_learns_as_on_the_cpu(name: str, world: str) -> None:
    torch.manual_seed(0)
    here, there = BONUSES[name](context(world)), BONUSES[name](context(world))
    there.load_state_dict(deepcopy(here.state_dict()))
    there = there.to("cuda")
    for seed in range(3):
        data = rollout(world, seed)
        paid = there.reward(on_cuda(data))
        assert paid.device.type == "cuda"
        torch.testing.assert_close(paid.cpu(), here.reward(data), **CLOSE)
        torch.manual_seed(seed)
        told = here.update(data)
        torch.manual_seed(seed)
        assert there.update(on_cuda(data)) == pytest.approx(told, rel=0.02, abs=2e-3)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_has_the_loss_and_gradient_of_the_cpu(name: str, world: str) -> None:
    torch.manual_seed(0)
    objective, encoder = OBJECTIVES[name](context(world)), context(world).make_encoder()
    data, index = rollout(world, 6), (torch.arange(T).repeat_interleave(N), torch.arange(N).repeat(T))
    other, other_encoder = deepcopy(objective).cuda(), deepcopy(encoder).cuda()
    torch.manual_seed(1)
    loss, _ = objective.loss(encoder, data, index)
    torch.manual_seed(1)
    same, metrics = other.loss(other_encoder, on_cuda(data), (index[0].cuda(), index[1].cuda()))
    assert same.device.type == "cuda"
    torch.testing.assert_close(same.cpu(), loss, **CLOSE)
    loss.backward()
    same.backward()
    for p, q in zip(encoder.parameters(), other_encoder.parameters(), strict=True):
        torch.testing.assert_close(q.grad.cpu(), p.grad, rtol=2e-2, atol=2e-3)
    other.after_step(other_encoder)
    assert all(isinstance(value, float) for value in metrics.values())


# ---------------------------------------------------------------------- runs


@pytest.fixture
def train(sandbox: Call, small: list[str], tmp_path: Path) -> Callable[..., Run]:
    def make(agent: str, env: str, *more: str, steps: int = 512, out: str = "runs", code: int = 0) -> Run:
        words = ["train", agent, "--env", env, "--steps", str(steps), "--out", out, *small]
        answer = sandbox(*words, "--set", "device=cuda", *more)
        assert answer.code == code, answer.err
        (run,) = find_runs(tmp_path / out)
        return run

    return make


@pytest.mark.parametrize("env", [MAZE, PIXELS, "DeepSea-v0", "CartPole-v1", "SparseMountainCarContinuous-v0"])
@pytest.mark.parametrize("agent", ["ppo", "ppo+counts", "ppo+rnd", "ppo+noveld+inverse", "ppo+e3b+ngu"])
def test_agents_learn_on_every_kind_of_world(train: Call, agent: str, env: str) -> None:
    assert train(agent, env).status == "done"


@pytest.mark.parametrize("name", [*BONUSES, *OBJECTIVES])
def test_every_part_learns_in_a_maze(train: Call, name: str) -> None:
    assert train(f"ppo+{name}", MAZE).status == "done"


@pytest.mark.parametrize(
    "agent",
    [
        "ppo+linear", "ppo+flat", "ppo+mlp", "ppo+true_state", "ppo+pca", "bc:labels=64", "dagger:labels=64",
        "ppo+state:labels=64", "ppo+bc:labels=64", "bc:labels=64+noveld+inverse:mode=frozen,pretrain_steps=256",
        "bc:labels=64+noveld+inverse:mode=finetune,pretrain_steps=256", "ppo+inverse:mode=frozen,pretrain_steps=256",
        "ppo+noveld+inverse:mode=finetune,pretrain_steps=256,shuffled=true", "random", "oracle",
    ],
)  # fmt: skip
def test_what_learns_from_labels_learns(train: Call, agent: str) -> None:
    assert train(agent, MAZE, steps=8192 if agent == "ppo+pca" else 1024).status == "done"


@pytest.mark.parametrize(
    "agent", ["ppo+cnn:shift=true+noveld+inverse:mode=finetune,pretrain_steps=256", "bc:labels=64+cnn:shift=true"]
)
def test_shifted_pictures_are_learned_from(train: Call, agent: str) -> None:
    assert train(agent, PIXELS, steps=1024).status == "done"


@pytest.mark.parametrize("agent", ["ppo+noveld+inverse", "ppo+counts"])
def test_a_run_stopped_and_resumed_is_the_uninterrupted_one(
    train: Call, sandbox: Call, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sandbox.errors import Stopped
    from sandbox.worker import run_once

    whole = train(agent, MAZE, steps=640, out="whole")

    def three_rollouts(run: Run, *, should_stop: Any, **options: Any) -> None:
        asked = iter(range(3))
        run_once(run, should_stop=lambda: None if next(asked, None) is not None else Stopped("enough"), **options)

    with monkeypatch.context() as patch:
        patch.setattr("sandbox.worker.run_once", three_rollouts)
        cut = train(agent, MAZE, steps=640, out="cut", code=75)
    assert sandbox("resume", cut.path).code == 0
    assert cut.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert (cut.result or {})["return"] == (whole.result or {})["return"]


def test_runs_are_evaluated_probed_and_diagnosed(train: Call, sandbox: Call) -> None:
    run = train("ppo+noveld+inverse", MAZE)
    for words in (("evaluate", run.path), ("probe", run.path), ("diagnose", run.path)):
        answer = sandbox(*words)
        assert answer.code == 0, answer.err


def test_two_runs_at_a_time(sandbox: Call, small: list[str]) -> None:
    """Each worker begins CUDA for itself: the process that they are forked from must not have."""
    words = ["compare", "ppo+rnd", "ppo+inverse", "--env", MAZE, "--seeds", "2", "--steps", "512", "--jobs", "2"]
    answer = sandbox(*words, *small, "--set", "device=cuda")
    assert answer.code == 0, answer.err


def test_logits_that_are_not_finite_are_told_and_cuda_goes_on() -> None:
    """torch's own check would end CUDA in this process."""
    policy = MlpPolicy(VECTOR, spaces.Discrete(3), lambda _progress: 0.0, features_extractor_class=Mlp).to("cuda")
    torch.nn.init.constant_(policy.action_net.bias, torch.nan)
    with torch.no_grad(), pytest.raises(NonFinite):
        policy.act(torch.zeros(4, *VECTOR.shape, device="cuda"))
    assert torch.ones(3, device="cuda").sum().item() == 3


def test_memory_that_a_gpu_lacks_is_told(train: Call) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        run = train("ppo+rnd", MAZE, code=7)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory" in (run.error or {})["message"]


def test_a_run_says_on_which_gpu_it_was_made(train: Call) -> None:
    run = train("ppo", MAZE)
    assert read_json(run.versions_file)["gpu"] == torch.cuda.get_device_name()
    assert (run.result or {})["cost"]["joules"]["source"].endswith("without the GPU")
