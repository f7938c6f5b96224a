"""Missions as tokens: the words of Minigrid's text, in batches and in single copies alike."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from envs import vector
from envs.minigrid import IDS, make, missions
from envs.minigrid.codes import COLOURS, MARK
from envs.minigrid.levels import new_env
from envs.minigrid.tasks import FETCH, GO_TO, PUT_NEAR, RULE_OF_CLASS

SPEAKING = [name for name in IDS if any(part in name for part in ("Fetch", "GoTo", "PutNear"))]
HINTING = "MiniGrid-LockedRoom-v0"  # where the key lies
SMALL = {"levels": 60, "eval_levels": 32}


def test_tokens_by_hand() -> None:
    assert missions.TOKEN["red"] == 1
    assert len(missions.WORDS) == len(set(missions.WORDS)) == 20
    assert missions.tokens("go to the red door", GO_TO).tolist() == [13, 17, 18, 1, 7]
    assert missions.tokens("get a grey key", FETCH).tolist() == [11, 12, 6, 8, 0, 0]
    assert missions.text(np.array([11, 12, 6, 8, 0, 0])) == "get a grey key"
    assert missions.space(GO_TO)["mission"] == spaces.MultiDiscrete([21] * 5)


@pytest.mark.parametrize("env_id", SPEAKING)
def test_every_mission_is_kept_word_for_word(env_id: str) -> None:
    env = new_env(env_id, {})
    rule, texts = RULE_OF_CLASS[type(env).__name__], set()
    for seed in range(200):
        env.reset(seed=seed)
        assert missions.text(missions.tokens(env.mission, rule)) == env.mission
        texts.add(env.mission)
    assert len(texts) > 5


@pytest.mark.parametrize("env_id", [name for name in IDS if name not in (*SPEAKING, HINTING)])
def test_a_mission_that_is_left_out_says_nothing_needed(env_id: str) -> None:
    """Constant, or about the colour of the only thing of its kind (a pick-up of the one box or ball)."""
    env = new_env(env_id, {})
    texts, seeds = set(), 4 if "N12" in env_id else 15
    for seed in range(seeds):
        env.reset(seed=seed)
        texts.add(env.mission)
        if len(texts) > 1:
            kind = type(env.obj)
            assert env.mission == f"pick up the {env.obj.color} {env.obj.type}"
            assert sum(isinstance(thing, kind) for thing in env.grid.grid) == 1
    assert "mission" not in missions.space(RULE_OF_CLASS[type(env).__name__])


@pytest.mark.parametrize("env_id", SPEAKING)
def test_the_batch_says_what_the_level_is_about(env_id: str) -> None:
    world = make(env_id, 40, split="eval", **SMALL)
    obs, _ = world.reset(seed=0)
    assert obs in world.observation_space
    for n in range(40):
        words = missions.text(obs["mission"][n]).split()
        marked = {word & 127 for word in world.grids[n].tolist() if word & MARK}
        if world.task.rule == GO_TO:
            thing = int(world.grids[n, world.bodies[n, 4]])
        elif world.task.rule in (FETCH, PUT_NEAR):
            (thing,) = marked
        colour = COLOURS[thing & 7]
        kind = {5: "key", 6: "ball", 7: "box", 8: "door"}[thing >> 3 & 15]
        at = words.index("put") + 2 if "put" in words else len(words) - 2
        assert words[at : at + 2] == [colour, kind]


def test_missions_change_with_the_episode_and_stay_in_the_last_view() -> None:
    world = make("MiniGrid-Fetch-5x5-N2-v0", 16, max_steps=3, **SMALL)
    obs, _ = world.reset(seed=0)
    first = obs["mission"]
    for _ in range(3):
        obs, _, _, truncated, infos = world.step(np.zeros(16, int))
    assert truncated.all()
    np.testing.assert_array_equal(infos["final_obs"]["mission"], first)
    assert (obs["mission"] != first).any(1).sum() > 8
    np.testing.assert_array_equal(obs["mission"], world._observe()["mission"])


@pytest.mark.parametrize("env_id", SPEAKING)
def test_single_copies_have_the_same_spaces_and_words(env_id: str) -> None:
    env = vector.single(env_id)
    assert env.observation_space == make(env_id, 1, **SMALL).single_observation_space
    obs, _ = env.reset(seed=3)
    assert env.observation_space.contains(obs)
    assert missions.text(obs["mission"]) == env.unwrapped.mission  # type: ignore[attr-defined]
