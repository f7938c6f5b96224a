"""What bonuses cost: the steps that they are measured on, who is measured, and the arithmetic of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.rollout import Rollout
from benchmarks import bonus_costs, page, recorded, table
from benchmarks.ours import bonuses
from benchmarks.ours.same_schedule import ENCODER
from benchmarks.peers import flat_view
from envs import vector
from sandbox import registry


@pytest.fixture(scope="module")
def record() -> list[Rollout]:
    return recorded.rollouts(vector.make(table.MULTIROOM, 4, levels=8), 70, 2)


def test_the_recorded_steps_are_always_the_same(record: list[Rollout]) -> None:
    again = recorded.rollouts(vector.make(table.MULTIROOM, 4, levels=8), 70, 2)
    for first, second in zip(record, again, strict=True):
        assert torch.equal(first.actions, second.actions)
        assert torch.equal(first.next_obs["image"], second.next_obs["image"])  # type: ignore[index]


def test_recorded_steps_lead_to_their_true_successors(record: list[Rollout]) -> None:
    """An episode of MultiRoom-N6 is cut at 120 steps: its last step must not lead into the next episode."""
    obs, after = (torch.cat([getattr(one, name)["image"] for one in record]) for name in ("obs", "next_obs"))
    done = torch.cat([one.done for one in record])
    same = (obs[1:] == after[:-1]).flatten(2).all(-1)
    assert done.any() and bool((same | done[:-1]).all()) and not bool(same[done[:-1]].all())


def test_the_share_of_different_views_is_counted() -> None:
    zeros, flags = torch.zeros(64, 32), torch.zeros(64, 32, dtype=torch.bool)

    def share(views: torch.Tensor) -> dict[str, float]:
        return recorded.different(Rollout(views, zeros.long(), views, zeros, flags, flags))

    assert share(zeros.long()) == {"rollout": 1 / 2048, "minibatch": 1 / 1024}
    assert share(torch.arange(2048).view(64, 32)) == {"rollout": 1.0, "minibatch": 1.0}


def test_both_sides_read_the_same_numbers(record: list[Rollout]) -> None:
    env = flat_view.make_env(table.MULTIROOM, 1).envs[0]  # type: ignore[attr-defined]
    while not isinstance(env, flat_view.FlatView):
        env = env.env
    obs = record[0].obs
    assert isinstance(obs, dict)
    one = {"image": obs["image"][3, 2].numpy(), "direction": int(obs["direction"][3, 2])}
    np.testing.assert_array_equal(flat_view.flat(obs)[3, 2].numpy(), env.observation(one))


@pytest.mark.parametrize(("peer_sized", "names"), [(False, registry.names("curiosity")), (True, sorted(ENCODER))])
def test_every_bonus_is_measured(peer_sized: bool, names: list[str]) -> None:
    found = bonuses.make(table.DOORKEY, 4, 16, 1, peer_sized)(64)
    assert list(found) == names
    assert all(spent["reward"] > 0 and spent["update"] > 0 for spent in found.values())


def test_all_counterparts_are_measured_at_the_peers_size() -> None:
    assert set(ENCODER) == set(table.COUNTERPARTS) <= set(registry.names("curiosity"))


def answers() -> dict[str, list[dict[str, Any]]]:
    """Two rounds; the machine halves its speed in the second."""
    ours, theirs = [], []
    for slow in (1, 2):
        spent = {"reward": 1e-4 * slow, "update": 3e-4 * slow}
        ours.append({"steps": 100, "cpu": 1.0, "wall": 1.0} | dict.fromkeys(("counts", "ngu", "rnd"), spent))
        theirs.append({"steps": 50, "cpu": 1.0, "wall": 1.0, "RND": 1e-3 * slow, "NGU": "AttributeError: mrs"})
    return dict(zip((one.name for one in table.CURIOSITY.contenders), (ours, ours, theirs), strict=True))


def test_a_row_states_microseconds_a_step_and_a_ratio_made_within_each_round() -> None:
    counts, ngu, rnd = bonus_costs.result(answers())["rows"]
    assert rnd["ours"] == pytest.approx({"reward": 1.5, "update": 4.5, "sum": 6.0, "low": 4.0, "high": 8.0})
    assert rnd["peer"] == pytest.approx({"sum": 30.0, "low": 20.0, "high": 40.0})
    assert (rnd["ratio"], rnd["ratio_low"], rnd["ratio_high"]) == pytest.approx((5.0, 5.0, 5.0))
    assert ngu["peer"] is ngu["ratio"] is None and ngu["peer_failed"] == "AttributeError: mrs"
    assert counts["peer"] is counts["ratio"] is None and "peer_class" not in counts


def test_every_row_is_shown_and_a_crash_is_told() -> None:
    found = bonus_costs.result(answers()) | {"different_views": {"rollout": 0.3, "minibatch": 0.8}}
    for _, _, rows in page.tables("curiosity", found):
        assert {cells[0] for cells in rows} == {"counts", "ngu", "rnd"}
    notes = page.bonus_notes(found)
    assert "`AttributeError: mrs`" in notes[table.CURIOSITY.title] and "30 %" in notes[table.CURIOSITY.title]
    assert set(notes) == {title for title, _, _ in page.tables("curiosity", found)}
