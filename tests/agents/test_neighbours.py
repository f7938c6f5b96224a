"""Search among the points of an episode: against brute force, over ends, cuts, the bound, and a reload."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.curiosity._neighbours import EpisodicMemory, squared_distances


def stream(steps: int, n_envs: int, dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points where steps begin and arrive [T, N, D], few of them different, and episode ends [T, N]."""
    g = torch.Generator().manual_seed(seed)
    starts, arrivals = torch.randint(4, (2, steps, n_envs, dim), generator=g).float()
    return starts, arrivals, torch.rand(steps, n_envs, generator=g) < 0.08


def brute(starts: np.ndarray, arrivals: np.ndarray, done: np.ndarray, k: int, bound: int) -> np.ndarray:
    """Lists and sorting; one environment, [T, k]."""
    out, episode = np.full((len(done), k), np.inf), []
    for t in range(len(done)):
        episode = (episode or [starts[t]])[-bound:]
        found = sorted(float(((arrivals[t] - y) ** 2).sum()) for y in episode)[:k]
        out[t, : len(found)] = found
        episode = [] if done[t] else [*episode, arrivals[t]]
    return out


@pytest.mark.parametrize("bound", [1, 6, 1000])
@pytest.mark.parametrize("k", [1, 4])
def test_search_equals_brute_force_however_the_stream_is_cut(k: int, bound: int) -> None:
    starts, arrivals, done = stream(90, 3, 2, seed=k + bound)
    memory = EpisodicMemory(3, 2, bound)
    parts = [slice(0, 1), slice(1, 40), slice(40, 47), slice(47, 90)]
    found = [squared_distances(*memory.arrive(starts[p], arrivals[p], done[p]), k) for p in parts]
    data = starts.double().numpy(), arrivals.double().numpy(), done.numpy()
    expected = np.stack([brute(*(x[:, n] for x in data), k, bound) for n in range(3)], 1)
    np.testing.assert_array_equal(torch.cat(found).numpy(), expected)
    assert memory.points.shape[1] <= bound
    assert 0 < done.sum() < 45


def test_large_features_lose_nothing_to_cancellation() -> None:
    x = torch.full((3, 1, 64), 1000.0)
    x[1, 0, 5] += 0.125
    memory = EpisodicMemory(1, 64, 10)
    found = squared_distances(*memory.arrive(x, x, torch.zeros(3, 1, dtype=torch.bool)), 2)
    assert found[:, 0].tolist() == [[0, float("inf")], [0.125**2, 0.125**2], [0, 0]]


def test_the_episode_in_progress_is_saved_and_loaded() -> None:
    starts, arrivals, _ = stream(30, 2, 3, seed=0)
    done = torch.zeros(30, 2, dtype=torch.bool)
    memory, resumed = EpisodicMemory(2, 3, 100), EpisodicMemory(2, 3, 100)
    memory.arrive(starts, arrivals, done)
    resumed.arrive(starts[:7], arrivals[:7], done[:7])  # of another size before it loads
    resumed.load_state_dict({name: value.clone() for name, value in memory.state_dict().items()})
    found = [squared_distances(*m.arrive(starts, arrivals, done), 3) for m in (memory, resumed)]
    assert torch.equal(*found)
    assert memory.stored.tolist() == [61, 61]  # the start view and twice thirty arrivals


def test_new_episodes_forget_and_a_wrong_number_of_environments_is_refused() -> None:
    starts, arrivals, done = stream(20, 2, 3, seed=1)
    memory = EpisodicMemory(2, 3, 100)
    first = squared_distances(*memory.arrive(starts, arrivals, done), 3)
    memory.new_episodes()
    assert torch.equal(squared_distances(*memory.arrive(starts, arrivals, done), 3), first)
    with pytest.raises(ValueError, match="3 environments"):
        memory.arrive(torch.zeros(4, 3, 3), torch.zeros(4, 3, 3), torch.zeros(4, 3, dtype=torch.bool))
