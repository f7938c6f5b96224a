"""The benchmark's own arithmetic; how fast anything is, is no test."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from agents.curiosity._combined import Product, Sum
from agents.curiosity.rnd import RND
from agents.learners._backward import Backward
from agents.learners._policy import MlpPolicy
from benchmarks import contender, interleave, page, table, whole_runs
from benchmarks.ours import default, products, same_schedule
from envs import vector
from sandbox.config import Experiment, World
from sandbox.plan import plan, policy_kwargs

ROOT = Path(__file__).resolve().parents[2]


def times(*cpu: float) -> list[dict[str, float]]:
    return [{"steps": 100, "cpu": seconds, "wall": 2 * seconds} for seconds in cpu]


def test_a_ratio_is_made_within_each_round() -> None:
    """The machine halves its speed in the second round: no ratio changes, although the speeds do."""
    found = interleave.ratios(times(1.0, 2.0, 1.0), times(4.0, 8.0, 5.0))
    assert found == {"median": 4.0, "low": 4.0, "high": 5.0}


def test_a_row_states_cpu_speed_and_wall_beside_it() -> None:
    one = table.Contender("x", "benchmarks.peers.sb3", 100, "", {}, 40.0)
    row = interleave.row(one, times(1.0, 2.0, 4.0), None)
    assert (row["median"], row["low"], row["high"], row["wall"]) == (50.0, 25.0, 100.0, 25.0)
    assert row["peer"] is True


def test_cpu_seconds_do_not_count_waiting() -> None:
    found = contender.timed(lambda steps: time.sleep(0.05), 7)
    assert found["steps"] == 7 and found["wall"] >= 0.05 > 2 * found["cpu"]


def test_what_a_contender_measures_itself_stands_beside_its_seconds() -> None:
    found = contender.timed(lambda steps: {"rnd": {"reward": 1.0}}, 7)
    assert found["steps"] == 7 and found["rnd"] == {"reward": 1.0}


def test_the_counted_flops_are_those_of_the_default_policy() -> None:
    """torch's own counter on the policy that `ppo+counts` trains, forward and backward."""
    resolved = plan(Experiment(agent="ppo+counts", world=World(id=table.MULTIROOM), steps=100_000))
    env = vector.make(table.MULTIROOM, 4, levels=4)
    space = env.single_observation_space, env.single_action_space
    policy = MlpPolicy(*space, lambda _progress: 1e-3, **policy_kwargs(resolved), intrinsic_value=True)
    obs = {name: torch.as_tensor(value) for name, value in vector.reset(env, 0).items()}
    with FlopCounterMode(display=False) as forward:
        values, log_prob, entropy = policy.evaluate(obs, torch.zeros(4, dtype=torch.long), detach_encoder=False)
    with FlopCounterMode(display=False) as backward:
        (values.sum() + log_prob.sum() + entropy.sum()).backward()  # type: ignore[union-attr]
    assert forward.get_total_flops() == 4 * products.forward_flops()
    assert backward.get_total_flops() == 2 * 4 * products.forward_flops()
    assert resolved.experiment.learner.n_epochs == products.EPOCHS
    assert table.CONTENDERS["ppo+counts loop"].rollout == resolved.per_rollout
    assert (resolved.copies, resolved.n_steps, resolved.batch_size) == (64, products.N_STEPS, products.BATCH)


def test_the_products_of_a_unit_have_its_flops() -> None:
    rows = {"act": products.COPIES, "learn": products.BATCH}
    for part, count in products.products_per_unit().items():
        assert count * 2 * rows[part] * products.HIDDEN**2 == products.UNIT * products.flops_per_step()[part]
    assert products.products_per_unit()["learn"] % 3 == 0


@pytest.mark.parametrize("kernel", products.KERNELS.values())
def test_both_kernels_multiply(kernel: products.Kernel) -> None:
    x, weight = torch.randn(16, 8), torch.randn(4, 8)
    torch.testing.assert_close(kernel(x, weight), x @ weight.T)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each minibatch runs through the network: the different views."""
    rows, outputs = [], Backward.outputs

    def watched(self: Backward, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = outputs(self, index)
        rows.append(len(found[0]))
        return found

    monkeypatch.setattr(Backward, "outputs", watched)
    return rows


def test_all_products_of_the_default_loop_are_counted(learned: list[int]) -> None:
    """Those of compiled code too: of every view to act, of different ones to learn, without autograd. The values of
    last states come on top of the count by hand."""
    run, rollout = default.make(table.MULTIROOM, "ppo+counts"), table.CONTENDERS["ppo+counts loop"].rollout
    with default.countable():
        counted = contender.flops(run, rollout)
    by_hand = products.forward_flops() * (rollout + 3 * sum(learned))
    assert counted is not None and by_hand <= counted * rollout <= 1.01 * by_hand
    assert len(learned) == products.EPOCHS * rollout // products.BATCH and sum(learned) < products.EPOCHS * rollout


def test_all_products_of_the_peers_schedule_are_counted(learned: list[int]) -> None:
    """As above; the first layer, over raw numbers, has no gradient of its inputs."""
    run, rollout = same_schedule.make(table.DOORKEY, 16, 32, 256, 2), 512
    with same_schedule.countable():
        counted = contender.flops(run, rollout)
    first, rest = 2 * 2 * 151 * 64, 2 * (2 * 64 * 64 + 64 * (7 + 1))
    by_hand = (first + rest) * rollout + (2 * first + 3 * rest) * sum(learned)
    assert counted is not None and by_hand <= counted * rollout <= 1.03 * by_hand


@pytest.mark.parametrize(("agent", "built"), [("ppo+counts+rnd", Sum), ("ppo+counts.rnd", Product), ("ppo+rnd", RND)])
def test_the_default_learner_has_the_bonuses_of_its_agent(agent: str, built: type) -> None:
    assert type(default.learner(table.DOORKEY, agent).intrinsic) is built


def test_names_are_unique_and_pairs_name_contenders_of_their_group() -> None:
    groups = [*table.GROUPS.values(), table.CURIOSITY]
    assert len(table.CONTENDERS) == sum(len(group.contenders) for group in groups)
    for group in table.GROUPS.values():
        names = {one.name for one in group.contenders}
        assert all({pair.ours, pair.theirs} <= names for pair in group.pairs)


@pytest.mark.parametrize("one", table.CONTENDERS.values(), ids=lambda one: one.name)
def test_a_measurement_is_a_whole_number_of_rollouts(one: table.Contender) -> None:
    """Else a learner would run more steps than it is credited with."""
    assert importlib.util.find_spec(one.module) is not None
    assert one.steps % (products.UNIT if one.module == table.PRODUCTS else one.rollout or 1) == 0


def test_flops_are_counted_per_step() -> None:
    weight = torch.ones(5, 3)
    for kernel in products.KERNELS.values():
        assert contender.flops(lambda steps, kernel=kernel: kernel(torch.ones(steps, 3), weight), 8) == 2 * 3 * 5  # type: ignore[misc]
    assert contender.flops(lambda steps: None, 0) is None


def test_targets_are_met_or_not() -> None:
    assert page.target({"median": 10.0, "target": 10}, "{:g}") == ">= 10 (met)"
    assert page.target({"median": 9.99, "target": 10}, "{:g}") == ">= 10 (not met)"
    assert page.target({"median": 1.0, "target": None}, "{:g}") == ""


def test_peak_memory_sees_what_a_process_held() -> None:
    command = "x = bytearray({mb} * 2**20)"
    small, large = (whole_runs.peak_mb(command.format(mb=mb)) for mb in (1, 101))
    assert small < 60  # and not what this process holds
    assert 95 < large - small < 105


def test_a_failed_process_has_no_peak() -> None:
    with pytest.raises(RuntimeError, match=r"exit code 1(.|\n)*told why"):
        whole_runs.peak_mb("raise SystemExit('told why')")


class HalfSpeed:
    """A process that takes a second alone, and two seconds, or less, where another has begun beside it."""

    seconds = iter([2.0, 1.5])

    def __init__(self, contender: table.Contender) -> None: ...
    def __enter__(self) -> HalfSpeed:
        return self

    def __exit__(self, *_: object) -> None: ...
    def begin(self) -> None: ...
    def turn(self) -> dict[str, float]:
        return {"wall": 1.0}

    def answer(self) -> dict[str, float]:
        return {"wall": next(self.seconds)}


def test_two_learners_take_as_long_as_the_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_runs, "Process", HalfSpeed)
    assert whole_runs.two_learners(1) == [0.5]


def fake_group(group: table.Group) -> dict[str, Any]:
    all_times = {one.name: times(1.0, 2.0, 4.0) for one in group.contenders}
    ready: dict[str, Any] = {
        one.name: {"versions": {}, "flops": 1e6 if one.rollout else None} for one in group.contenders
    }
    return interleave.result(group, all_times, ready)


@pytest.mark.parametrize("group", table.GROUPS.values(), ids=lambda group: group.name)
def test_every_contender_and_pair_is_shown(group: table.Group) -> None:
    shown = str(page.tables(group.name, fake_group(group)))
    assert all(one.name in shown for one in group.contenders)
    assert all(f"{pair.ours} / {pair.theirs}" in shown for pair in group.pairs)


def test_the_page_is_what_the_result_files_say() -> None:
    """It is made by `python -m benchmarks.page`, never by hand."""
    assert page.PAGE.read_text("utf-8") == page.render()
