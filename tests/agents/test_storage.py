"""One rollout's storage: true successors at ends of both kinds, SB3's order of minibatches, labels, dict parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from agents.faults import EnvironmentFault
from agents.learners._storage import RolloutStorage

T, N = 4, 2
VECTOR = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def ending(obs: Any, time_limit: bool) -> dict[str, Any]:
    return {"terminal_observation": obs, "TimeLimit.truncated": time_limit}


def fill(storage: RolloutStorage, infos: dict[tuple[int, int], dict[str, Any]], as_dict: bool = False) -> None:
    """Step t of copy n is seen as (t, n)."""
    for t in range(T):
        seen: Any = torch.tensor([[t, n] for n in range(N)]).float()
        dones = np.array([(t, n) in infos for n in range(N)])
        storage.add_step(
            {"v": seen, "k": torch.full((N,), t)} if as_dict else seen,
            torch.full((N,), t), torch.full((1, N), float(t)), torch.full((N,), -float(t)),
            np.full(N, t, np.float32), dones, [infos.get((t, n), {}) for n in range(N)],
        )  # fmt: skip


def storage(space: spaces.Space = VECTOR, **kwargs: Any) -> Any:
    return RolloutStorage(T, space, spaces.Discrete(9), n_envs=N, **kwargs)


def test_successors_are_the_next_row_but_at_ends_the_last_observation() -> None:
    store, last = storage(), torch.tensor([[70.0, 0.0], [71.0, 1.0]])
    ends = {(1, 0): ending(np.array([50.0, 50.0]), False), (3, 1): ending(np.array([60.0, 60.0]), True)}
    fill(store, ends)
    data = store.finish(last)
    for t in range(T):
        for n in range(N):
            following = last[n].tolist() if t == T - 1 else [t + 1, n]
            wanted = ends[t, n]["terminal_observation"].tolist() if (t, n) in ends else following
            assert data.next_obs[t, n].tolist() == wanted
            assert data.obs[t, n].tolist() == [t, n]
    assert data.terminated.nonzero().tolist() == [[1, 0]]
    assert data.truncated.nonzero().tolist() == [[3, 1]]
    assert data.rewards[:, 0].tolist() == data.actions[:, 1].tolist() == [0, 1, 2, 3]
    assert torch.equal(store.last_obs, last)


def test_nothing_of_an_earlier_rollout_remains() -> None:
    store = storage()
    fill(store, {(1, 0): ending(np.array([50.0, 50.0]), False), (2, 1): ending(np.array([60.0, 60.0]), True)})
    store.finish(torch.zeros(N, 2))
    store.reset()
    fill(store, {})
    data = store.finish(torch.zeros(N, 2))
    assert not data.done.any()
    assert data.next_obs[:-1].tolist() == data.obs[1:].tolist()


def test_dict_observations_keep_their_types_and_find_their_ends() -> None:
    store = storage(spaces.Dict({"v": VECTOR, "k": spaces.Discrete(9)}))
    fill(store, {(2, 1): ending({"v": np.array([5.0, 6.0]), "k": np.int64(8)}, False)}, as_dict=True)
    data = store.finish({"v": torch.zeros(N, 2), "k": torch.zeros(N, dtype=torch.int64)})
    assert data.next_obs["v"][2, 1].tolist() == [5, 6]
    assert data.next_obs["k"].tolist() == [[1, 1], [2, 2], [3, 8], [0, 0]]
    assert data.next_obs["k"].dtype == torch.int64


@pytest.mark.parametrize(
    ("space", "dtype", "shape"),
    [
        (spaces.Box(0, 255, (2, 3), np.uint8), torch.uint8, (T, N, 2, 3)),
        (spaces.Box(-1, 1, (5,), np.float64), torch.float32, (T, N, 5)),
        (spaces.Discrete(4), torch.int64, (T, N)),
        (spaces.MultiDiscrete([2, 3]), torch.int64, (T, N, 2)),
    ],
)
def test_observations_are_stored_as_they_are(space: spaces.Space, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    store = storage(space)
    assert store.obs.dtype == store.next_obs.dtype == dtype
    assert store.obs.shape == shape


@pytest.mark.parametrize(
    ("space", "dtype", "shape"),
    [
        (spaces.Discrete(3), torch.int64, (T, N)),
        (spaces.MultiDiscrete([2, 3]), torch.int64, (T, N, 2)),
        (spaces.Box(-1, 1, (3,), np.float64), torch.float32, (T, N, 3)),
    ],
)
def test_actions_are_stored_by_their_space(space: spaces.Space, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    store = RolloutStorage(T, VECTOR, space, n_envs=N)
    assert (store.actions.dtype, store.actions.shape) == (dtype, shape)


def test_a_missing_last_observation_is_the_environments_fault() -> None:
    with pytest.raises(EnvironmentFault, match="copy 1 ended without"):
        fill(storage(), {(0, 1): {"TimeLimit.truncated": True}})


def test_labels_stand_at_the_step_that_reached_them() -> None:
    store = storage()
    for t in range(T):
        store.add_step(
            torch.zeros(N, 2),
            torch.zeros(N),
            torch.zeros(1, N),
            torch.zeros(N),
            np.zeros(N),
            np.zeros(N, bool),
            [{}, {}],
        )
        store.add_labels({"row": np.array([t, 10 + t]), "place": np.full((N, 2), t, np.float32)})
    labels = store.finish(torch.zeros(N, 2)).labels
    assert labels["row"].tolist() == [[t, 10 + t] for t in range(T)]
    assert labels["row"].dtype == torch.int64
    assert labels["place"].shape == (T, N, 2)
    assert labels["place"][3].unique().tolist() == [3]


@pytest.mark.parametrize("batch_size", [3, 4, 8])
def test_minibatches_are_those_of_sb3(batch_size: int) -> None:
    theirs = RolloutBuffer(T, VECTOR, spaces.Discrete(9), "cpu", n_envs=N)
    for t in range(T):
        seen = np.array([[t, n] for n in range(N)], np.float32)
        theirs.add(seen, np.zeros(N), np.zeros(N), np.zeros(N), torch.zeros(N), torch.zeros(N))
    np.random.seed(5)  # noqa: NPY002
    wanted = [batch.observations.long().tolist() for batch in theirs.get(batch_size)]
    np.random.seed(5)  # noqa: NPY002
    store = storage()
    ours = [torch.stack(store.pairs(index), 1).tolist() for index in store.minibatches(batch_size)]
    assert ours == wanted


def test_take_is_indexing_by_time_and_environment() -> None:
    store, values = storage(), torch.randn(T, N, 3)
    t, n = torch.tensor([3, 0, 2, 2]), torch.tensor([1, 1, 0, 1])
    assert torch.equal(store.take(values, t * N + n), values[t, n])
    assert torch.equal(store.take(values[..., 0].contiguous(), t * N + n), values[t, n, 0])
    assert [pair.tolist() for pair in store.pairs(t * N + n)] == [t.tolist(), n.tolist()]


def test_each_value_stream_has_its_own_row() -> None:
    assert storage(heads=2).values.shape == storage(heads=2).returns.shape == (2, T, N)
    assert storage().advantages.shape == (1, T, N)
