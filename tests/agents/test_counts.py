"""Visit counts: by hand over scripted episodes, and against a literal dictionary."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents.context import Context
from agents.curiosity._visits import EpisodicVisits, LifelongCounts, view_keys
from agents.curiosity.counts import Counts
from agents.rollout import Rollout

SPACE = spaces.Discrete(100)


def context(n_envs: int) -> Context:
    return Context(SPACE, spaces.Discrete(2), n_envs, lambda: FlattenExtractor(SPACE))


def rollout(obs: list, next_obs: list, terminated: list, truncated: list | None = None) -> Rollout:
    """Scripted steps [T][N] of views that are numbers."""
    done, before = torch.tensor(terminated, dtype=torch.bool), torch.tensor(obs)
    cut = torch.zeros_like(done) if truncated is None else torch.tensor(truncated, dtype=torch.bool)
    return Rollout(before, torch.zeros_like(before), torch.tensor(next_obs), torch.zeros(done.shape), done, cut)


def walk(steps: int, n_envs: int, views: int, seed: int) -> list[Rollout]:
    """Two successive random rollouts whose views hang together."""
    rng = np.random.default_rng(seed)
    here, out = rng.integers(views, size=n_envs), []
    for _ in range(2):
        obs, following, done = np.zeros((3, steps, n_envs), np.int64)
        for t in range(steps):
            obs[t], following[t], done[t] = here, rng.integers(views, size=n_envs), rng.random(n_envs) < 0.15
            here = np.where(done[t], rng.integers(views, size=n_envs), following[t])
        out.append(rollout(obs.tolist(), following.tolist(), done.tolist()))
    return out


# one environment: episode 1 starts in 5 and sees 6, 5, 6, 7 (end); episode 2 starts in 6, sees 5, goes on in rollout 2
FIRST = rollout([[5], [6], [5], [6], [6]], [[6], [5], [6], [7], [5]], [[0], [0], [0], [1], [0]])
SECOND = rollout([[5], [7], [9]], [[7], [6], [9]], [[0], [0], [0]], [[0], [1], [0]])


def test_bonus_by_hand_over_an_episode_end_and_a_rollout_boundary() -> None:
    counts = Counts(context(1))
    assert counts.reward(FIRST)[:, 0].tolist() == [1, 0, 0, 1, 1]  # the start views 5 and 6 are no news
    assert counts.update(FIRST) == {"views": 3.0}
    # lifelong: 6 twice, 5 twice, 7 once. 7 is new in episode 2, 6 was its start; episode 3 starts in 9 and stays there
    assert counts.reward(SECOND)[:, 0].tolist() == pytest.approx([1 / 2**0.5, 0, 0])
    assert counts.update(SECOND) == {"views": 4.0}


def test_episodic_square_root_and_none_by_hand() -> None:
    root = Counts(context(1), episodic="sqrt", lifelong=False)
    assert root.reward(FIRST)[:, 0].tolist() == pytest.approx([1, 2**-0.5, 2**-0.5, 1, 1])
    assert root.update(FIRST) == {}
    life = Counts(context(1), episodic="none")
    assert life.reward(FIRST)[:, 0].tolist() == [1] * 5
    life.update(FIRST)
    assert life.reward(FIRST)[:, 0].tolist() == pytest.approx([3**-0.5] * 3 + [2**-0.5, 3**-0.5])
    with pytest.raises(ValueError, match="choose one"):
        Counts(context(1), episodic="none", lifelong=False)


def labelled(part: Rollout, cells: list) -> Rollout:
    cell = torch.tensor(cells)
    return replace(part, labels={"cell": cell, "lamp": torch.zeros(*cell.shape, 2)})


def test_a_start_view_is_no_state_of_the_same_number() -> None:
    counts = Counts(context(1), state="full", lifelong=False)
    part = rollout([[5], [6]], [[6], [5]], [[0], [0]])
    assert counts.reward(replace(part, labels={"cell": torch.tensor([[4], [5]])}))[:, 0].tolist() == [1, 1]


def test_full_states_are_counted_by_their_labels_whatever_the_view() -> None:
    """The views of FIRST and SECOND, but other states behind them."""
    counts = Counts(context(1), state="full")
    first, second = labelled(FIRST, [[1], [0], [1], [2], [1]]), labelled(SECOND, [[1], [2], [1]])
    # the start state 0 was told by no label: coming back to it is paid; episode 2 begins with the fifth step
    assert counts.reward(first)[:, 0].tolist() == [1, 1, 0, 1, 1]
    assert counts.update(first) == {"states": 3.0}
    assert counts.reward(second)[:, 0].tolist() == pytest.approx([0, 1 / 2**0.5, 1 / 4**0.5])
    lamp = second.labels["lamp"].clone()
    lamp[0, 0, 1] = 1
    other = replace(second, labels=second.labels | {"lamp": lamp})
    counts.new_episodes()
    assert counts.reward(other)[0, 0] == 1  # every label makes the state


def test_full_states_of_a_world_without_labels_are_refused() -> None:
    counts = Counts(context(1), state="full")
    for call in (counts.reward, counts.update):
        with pytest.raises(ValueError, match="labels"):
            call(FIRST)


def test_new_episodes_forgets_the_episode_but_not_the_life() -> None:
    counts = Counts(context(1))
    counts.reward(FIRST)
    counts.update(FIRST)
    counts.new_episodes()
    again = rollout([[9]], [[5]], [[0]])
    assert counts.reward(again).item() == pytest.approx(3**-0.5)
    assert counts.reward(again).item() == 0


def test_visits_and_counts_equal_literal_dictionaries() -> None:
    for steps, n_envs, views in ((40, 3, 6), (300, 2, 90)):  # the second outgrows the first tables
        counts, life, episodes = Counts(context(n_envs)), Counter(), [Counter() for _ in range(n_envs)]
        fresh = [True] * n_envs
        for part in walk(steps, n_envs, views, seed=steps):
            expected = np.zeros((steps, n_envs))
            for t in range(steps):
                for n in range(n_envs):
                    if fresh[n]:
                        episodes[n] = Counter([int(part.obs[t, n])])
                    view = int(part.next_obs[t, n])
                    episodes[n][view] += 1
                    expected[t, n] = (episodes[n][view] == 1) / (1 + life[view]) ** 0.5
                    fresh[n] = bool(part.done[t, n])
            np.testing.assert_allclose(counts.reward(part).numpy(), expected, rtol=1e-6)
            life.update(part.next_obs.flatten().tolist())
            assert counts.update(part) == {"views": len(life)}


def test_an_episode_in_progress_survives_the_growth_of_its_table() -> None:
    counts = Counts(context(2), lifelong=False, episodic="sqrt")
    numbers = np.stack([np.arange(0, 30), np.arange(30, 60)], 1)
    still = np.zeros((30, 2), np.int64)
    counts.reward(rollout(numbers.tolist(), (numbers + 1).tolist(), still.tolist()))
    before = counts.visits.table.shape
    again = np.concatenate([numbers, np.tile(numbers, (10, 1))])
    zeros = np.zeros(again.shape, np.int64)
    reward = counts.reward(rollout(zeros.tolist(), again.tolist(), zeros.tolist()))
    assert counts.visits.table.shape > before
    np.testing.assert_allclose(reward[:30].numpy(), 2**-0.5, rtol=1e-6)
    np.testing.assert_allclose(reward[-30:].numpy(), 12**-0.5, rtol=1e-6)


def test_state_of_another_size_loads_and_continues_equally() -> None:
    before, after = walk(500, 2, 100, seed=3)
    counts, resumed = Counts(context(2)), Counts(context(2))
    counts.reward(before)
    counts.update(before)
    resumed.load_state_dict({k: v.clone() for k, v in counts.state_dict().items()})
    assert torch.equal(counts.reward(after), resumed.reward(after))
    assert counts.update(after) == resumed.update(after)
    with pytest.raises(RuntimeError, match="no table"):
        Counts(context(3)).load_state_dict(counts.state_dict())


def test_a_rollout_of_another_number_of_environments_is_refused() -> None:
    with pytest.raises(ValueError, match="environments"):
        Counts(context(2)).reward(FIRST)


def test_lifelong_table_grows_then_forgets_the_least_counted_half() -> None:
    table = LifelongCounts(max_views=5000)
    often, rare, new = (np.arange(a, b) * 2654435761 + 1 for a, b in ((0, 2500), (2500, 5000), (5000, 5001)))
    for _ in range(3):
        table.add(often)
    assert table.add(rare) == 5000
    assert table.add(new) == 2501
    assert (table.count(often) == 3).all()
    assert (table.count(rare) == 0).all()
    assert table.count(new) == [1]


def test_lifelong_table_never_exceeds_its_bound_and_forgets_alike_everywhere() -> None:
    tables = [LifelongCounts(max_views=100), LifelongCounts(max_views=100)]
    keys = np.random.default_rng(0).integers(1, 2**62, 1000)
    for table in tables:
        for part in keys.reshape(10, 100):
            assert table.add(part) <= 100
    assert torch.equal(tables[0].table, tables[1].table)


def test_lifelong_table_equals_a_counter() -> None:
    keys = np.random.default_rng(1).integers(-50, 50, 20_000) * 4096 + 1  # the low bits collide: long probes
    table = LifelongCounts()
    assert table.add(keys) == 100
    expected = Counter(keys.tolist())
    assert all(table.count(np.array([key])) == [count] for key, count in expected.items())
    assert table.count(np.array([-3])) == [0]


def test_tables_survive_a_move_of_the_module() -> None:
    counts = Counts(context(1)).to(torch.float64).to("meta")
    assert counts.reward(FIRST)[:, 0].tolist() == [1, 0, 0, 1, 1]


# ---------------------------------------------------------------------- keys


def test_each_cell_and_each_part_changes_the_key() -> None:
    image, direction = torch.zeros(1, 200, 7, 7, 3, dtype=torch.uint8), torch.zeros(1, 200, dtype=torch.int64)
    for i in range(147):
        image.view(200, 147)[i, i] = 1
    direction[0, 150] = 1
    keys = view_keys({"image": image, "direction": direction}, 2)[0]
    assert len(set(keys[:147]) | {keys[150]}) == 148
    assert len(set(keys[[148, 149, 199]])) == 1


def test_keys_do_not_depend_on_batch_order_of_parts_or_process() -> None:
    a, b = torch.arange(6).view(2, 3), torch.arange(6, 12).view(2, 3).to(torch.uint8)
    keys = view_keys({"a": a, "b": b}, 2)
    assert keys.shape == (2, 3)
    assert np.array_equal(keys, view_keys({"b": b, "a": a}, 2))
    assert np.array_equal(keys.T, view_keys({"a": a.T, "b": b.T}, 2))
    assert keys[0, 0] == view_keys({"a": a[:1, :1], "b": b[:1, :1]}, 2)[0, 0]


def test_key_equals_splitmix_in_whole_numbers() -> None:
    def mix(h: int) -> int:
        h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        h = (h ^ (h >> 27)) * 0x94D049BB133111EB % 2**64
        return h ^ (h >> 31)

    words = [3, 2**63 - 1]
    expected = mix(mix(0x9E3779B97F4A7C15 ^ words[0]) ^ words[1])
    assert view_keys(torch.tensor([[words]]), 2).view(np.uint64).item() == expected


def test_random_keys_do_not_collide_and_spread_over_the_low_bits() -> None:
    keys = view_keys(torch.arange(200_000).view(1, -1), 0)
    assert len(np.unique(keys)) == 200_000
    assert np.bincount(keys[0] & 63, minlength=64).std() < 4 * (200_000 / 64) ** 0.5


def test_floats_are_rounded_and_zero_has_one_sign() -> None:
    obs = torch.tensor([[[0.001], [-0.001], [-0.0], [0.004], [0.006], [-5.0], [1e30], [float("inf")]]])
    keys = view_keys(obs, 2)[0]
    assert len(set(keys[:4])) == 1
    assert len(set(keys[[0, 4, 5, 6]])) == 4
    assert view_keys(obs, 3)[0][0] != view_keys(obs, 3)[0][3]


def test_episodes_of_one_environment_do_not_leak_into_another() -> None:
    visits = EpisodicVisits(2)
    part = rollout([[1, 2], [2, 1]], [[2, 1], [1, 2]], [[0, 0], [0, 0]])
    assert visits.visit(part, view_keys(part.next_obs, 2), 2).tolist() == [[1, 1], [2, 2]]
