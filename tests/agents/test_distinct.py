"""Equal views are found, nothing else is, and what is computed once a view is what was computed for every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from agents.curiosity._batches import in_pieces, of_each, transitions
from agents.distinct import PORTION, Distinct, _whole
from agents.rollout import Rollout


def views(total: int, kinds: int, seed: int = 0) -> dict[str, Tensor]:
    """Observations of at most `kinds` kinds, which differ in single bytes."""
    g = torch.Generator().manual_seed(seed)
    kind = torch.randint(kinds, (total,), generator=g)
    image = torch.zeros(total, 3, 3, dtype=torch.uint8)
    image[:, 2, 2] = (kind % 7).byte()
    return {"image": image, "direction": kind // 7}


@pytest.mark.parametrize(("total", "kinds"), [(1, 1), (50, 1), (50, 20), (3000, 21), (3000, 10**9)])
def test_every_observation_finds_its_like(total: int, kinds: int) -> None:
    obs = views(total, kinds)
    found = Distinct(obs)
    assert isinstance(found.obs, dict)
    assert all(torch.equal(found.obs[name][found.ids], part) for name, part in obs.items())
    rows = [(*image.flatten().tolist(), int(d)) for image, d in zip(*obs.values(), strict=True)]
    assert len(found.ids.unique()) == len(set(rows))
    assert len(found.obs["image"]) == _whole(len(set(rows)), total)


def test_continuous_observations_count_as_different() -> None:
    obs = torch.zeros(5, 3)
    found = Distinct(obs)
    assert found.obs is obs
    assert found.ids.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ids", [[3], [3, 3, 3], [5, 0, 5, 2, 0, 5], list(range(90)) * 20])
def test_the_different_ones_of_a_minibatch(ids: list[int]) -> None:
    found = Distinct(torch.arange(100))
    for _ in range(2):  # the second time after the first
        given = torch.tensor(ids)
        seen, where = found.among(given)
        assert torch.equal(seen[where], given)
        count = len(set(ids))
        assert seen[:count].tolist() == list(dict.fromkeys(ids))
        assert not seen[count:].any()
        assert count <= len(seen) <= len(ids)


@pytest.mark.parametrize(("count", "most"), [(1, 1), (3, 200), (200, 200), (130, 256), (513, 1024), (1, 8192)])
def test_batches_are_filled_to_few_sizes(count: int, most: int) -> None:
    sizes = {_whole(k, most) for k in range(1, most + 1)}
    assert len(sizes) <= 2 * 16 + 1
    assert count <= _whole(count, most) <= min(most, count + max(PORTION, most // 16))


def double(obs: dict[str, Tensor]) -> Tensor:
    return 2.0 * obs["image"].flatten(1).sum(1) + obs["direction"]


def test_of_each_is_in_pieces() -> None:
    obs, rows = views(3000, 40), []

    def counted(obs: dict[str, Tensor]) -> Tensor:
        rows.append(len(obs["direction"]))
        return double(obs)

    function: Callable = counted
    assert torch.equal(of_each(function, obs), in_pieces(double, obs))  # type: ignore[arg-type]
    assert sum(rows) < 300


def test_transitions_name_the_views_left_and_reached() -> None:
    steps, n_envs = 40, 8
    g = torch.Generator().manual_seed(1)
    after = {name: part.unflatten(0, (steps, n_envs)) for name, part in views(steps * n_envs, 30, seed=2).items()}
    before = {name: part.unflatten(0, (steps, n_envs)) for name, part in views(steps * n_envs, 30, seed=3).items()}
    done = torch.rand(steps, n_envs, generator=g) < 0.2
    for name, part in before.items():
        goes_on = ~done[:-1].view(steps - 1, n_envs, *[1] * (part.dim() - 2))
        part[1:] = torch.where(goes_on, after[name][:-1], part[1:])
    data = Rollout(before, done.long(), after, done.float(), done, torch.zeros_like(done))
    found, left, reached = transitions(data)
    assert isinstance(found.obs, dict)
    for name, part in before.items():
        assert torch.equal(found.obs[name][left], part.flatten(0, 1))
        assert torch.equal(found.obs[name][reached], after[name].flatten(0, 1))
