"""Generalised advantage estimation against its definition, a double loop in float64, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.learners._gae import advantages, successor_values


def definition(
    rewards: np.ndarray, values: np.ndarray, following: np.ndarray, ended: np.ndarray, gamma: float, lambda_: float
) -> np.ndarray:
    """A_t = sum_l (gamma lambda)^l delta_{t+l}, up to and with the step that ends the episode."""
    out = np.zeros(rewards.shape)
    for n in range(rewards.shape[1]):
        for t in range(len(rewards)):
            for k in range(t, len(rewards)):
                delta = rewards[k, n] + gamma * following[k, n] - values[k, n]
                out[t, n] += (gamma * lambda_) ** (k - t) * delta
                if ended[k, n]:
                    break
    return out


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4), st.floats(0, 1), st.floats(0, 1))
def test_equals_the_definition(seed: int, steps: int, n_envs: int, gamma: float, lambda_: float) -> None:
    rng = np.random.default_rng(seed)
    rewards, values, following = rng.normal(size=(3, steps, n_envs))
    ended = rng.random((steps, n_envs)) < 0.3
    r, v, after = (torch.from_numpy(x).float() for x in (rewards, values, following))
    result = advantages(r, v, after, torch.from_numpy(ended), gamma, lambda_)
    np.testing.assert_allclose(
        result.numpy(), definition(rewards, values, following, ended, gamma, lambda_), atol=1e-5, rtol=1e-5
    )


def test_by_hand() -> None:
    # gamma lambda = .25; deltas: 1 + .5*4 - 2 = 1;  0 + .5*2 - 4 = -3;  3 + 0 - 2 = 1 (an end with value 0)
    rewards, values = torch.tensor([[1.0], [0.0], [3.0]]), torch.tensor([[2.0], [4.0], [2.0]])
    following, ended = torch.tensor([[4.0], [2.0], [0.0]]), torch.tensor([[False], [False], [True]])
    result = advantages(rewards, values, following, ended, gamma=0.5, lambda_=0.5)
    assert result[:, 0].tolist() == [1 + 0.25 * (-3 + 0.25), -3 + 0.25, 1.0]


def test_an_end_cuts_the_sum_but_keeps_its_own_successor_value() -> None:
    ones, zeros = torch.ones(2, 1), torch.zeros(2, 1)
    cut = advantages(ones, zeros, 10 * ones, torch.tensor([[True], [False]]), gamma=0.5, lambda_=1.0)
    assert cut[:, 0].tolist() == [6.0, 6.0]
    joined = advantages(ones, zeros, 10 * ones, torch.zeros(2, 1, dtype=torch.bool), gamma=0.5, lambda_=1.0)
    assert joined[:, 0].tolist() == [9.0, 6.0]


def test_lambda_one_is_the_discounted_return_minus_the_value() -> None:
    rewards, values = torch.rand(6, 2), torch.rand(6, 2)
    last = torch.tensor([3.0, -2.0])
    flags = torch.zeros(6, 2, dtype=torch.bool)
    result = advantages(rewards, values, successor_values(values, last), flags, gamma=0.9, lambda_=1.0)
    wanted = sum(0.9**t * rewards[t] for t in range(6)) + 0.9**6 * last - values[0]
    torch.testing.assert_close(result[0], wanted)


def test_successor_values_are_the_next_row_and_fresh_memory() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    shifted = successor_values(values, torch.tensor([5.0, 6.0]))
    assert shifted.tolist() == [[3.0, 4.0], [5.0, 6.0]]
    shifted.zero_()
    assert values.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_result_is_no_view_of_its_arguments() -> None:
    rewards = torch.ones(3, 1)
    advantages(rewards, rewards, rewards, torch.zeros(3, 1, dtype=torch.bool), 0.9, 0.9).zero_()
    assert rewards.sum() == pytest.approx(3)
