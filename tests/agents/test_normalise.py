"""Running moments against numpy; the scale of intrinsic rewards against a literal loop over time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.normalise import IntrinsicScale, RunningMoments


def literal_scale(rollouts: list[np.ndarray], gamma: float) -> list[np.ndarray]:
    """One environment after another, one step after another, every return kept."""
    n_envs = rollouts[0].shape[1]
    carried, seen, out = [0.0] * n_envs, [], []
    for rewards in rollouts:
        for n in range(n_envs):
            for t in range(len(rewards)):
                carried[n] = gamma * carried[n] + float(rewards[t, n])
                seen.append(carried[n])
        out.append(rewards / np.std(seen))
    return out


def test_scale_equals_the_literal_filter_over_time_across_rollouts() -> None:
    rng = np.random.default_rng(0)
    rollouts = [rng.random((7, 3)) * scale for scale in (1.0, 5.0, 0.01)]
    scale = IntrinsicScale(3, gamma=0.9)
    for rewards, expected in zip(rollouts, literal_scale(rollouts, 0.9), strict=True):
        np.testing.assert_allclose(scale.scale(torch.from_numpy(rewards)).numpy(), expected, rtol=1e-6)


def test_scale_by_hand() -> None:
    # environment 0: R = 1, .5, .25; environment 1: R = 0, 0, 4. mean .958333, variance 1.9670139 (population)
    scale = IntrinsicScale(2, gamma=0.5)
    scaled = scale.scale(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 4.0]]))
    assert scaled[0, 0].item() == pytest.approx(1 / 1.4025027, rel=1e-6)
    assert scaled[2, 1].item() == pytest.approx(4 / 1.4025027, rel=1e-6)


def test_permuting_environments_permutes_the_result_and_permuting_time_does_not() -> None:
    rewards = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1, 3.0])
    order = torch.tensor([2, 0, 3, 1])
    scaled, permuted, late = (IntrinsicScale(4).scale(x) for x in (rewards, rewards[:, order], rewards.flip(0)))
    torch.testing.assert_close(permuted, scaled[:, order], rtol=1e-6, atol=0)
    assert not torch.allclose(late.flip(0), scaled, rtol=1e-4)


def test_time_and_environments_are_not_the_same_axis() -> None:
    spike = torch.zeros(8, 8)
    spike[0] = 1.0  # every environment at the first step: echoes for eight steps
    assert not torch.allclose(IntrinsicScale(8).scale(spike), IntrinsicScale(8).scale(spike.T).T, rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-9, 0.1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (5, 2)])
def test_constant_rewards_stay_finite_and_zero_stays_zero(value: float, shape: tuple[int, int]) -> None:
    scale = IntrinsicScale(shape[1])
    for _ in range(2):
        scaled = scale.scale(torch.full(shape, value))
        assert torch.isfinite(scaled).all()
        assert scaled.abs().max() < 1e3
        assert (scaled == 0).all() == (value == 0)


def test_scale_is_invariant_to_the_units_of_the_reward() -> None:
    rewards = torch.rand(32, 4, generator=torch.Generator().manual_seed(1))
    small, large = IntrinsicScale(4).scale(rewards * 1e-5), IntrinsicScale(4).scale(rewards * 1e5)
    torch.testing.assert_close(small, large, rtol=1e-5, atol=0)


def test_scale_resumes_exactly_and_refuses_another_number_of_environments() -> None:
    first, second = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(2))
    scale, resumed = IntrinsicScale(3), IntrinsicScale(3)
    scale.scale(first)
    resumed.load_state_dict({k: v.clone() for k, v in scale.state_dict().items()})
    assert all(v.dtype == torch.float64 for v in scale.state_dict().values())
    assert torch.equal(scale.scale(second), resumed.scale(second))
    with pytest.raises(ValueError, match="expected"):
        scale.scale(torch.zeros(9, 4))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.floats(-1e3, 1e3), st.integers(0, 2**32 - 1))
def test_moments_equal_numpy_however_the_values_are_split(sizes: list[int], offset: float, seed: int) -> None:
    batches = [np.random.default_rng(seed + i).normal(offset, 2.0, (n, 3)) for i, n in enumerate(sizes)]
    moments = RunningMoments((3,))
    for batch in batches:
        moments.update(torch.from_numpy(batch))
    everything = np.concatenate(batches)
    np.testing.assert_allclose(moments.mean.numpy(), everything.mean(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(moments.var.numpy(), everything.var(0), rtol=1e-8, atol=1e-10)
    assert moments.count.item() == len(everything)


def test_normalise_clips_and_a_constant_component_gives_zero() -> None:
    moments = RunningMoments((2,))
    moments.update(torch.tensor([[1.0, 0.1], [3.0, 0.1]]))
    normalised = moments.normalise(torch.tensor([[4.0, 0.1], [100.0, 0.1], [-100.0, 0.1]]))
    assert normalised.tolist() == [[2.0, 0.0], [5.0, 0.0], [-5.0, 0.0]]
    assert normalised.dtype == torch.float32
    assert RunningMoments().normalise(torch.tensor([0.5, 7.0])).tolist() == [0.5, 5.0]
