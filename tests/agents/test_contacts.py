"""Counts of contacts: by hand on scripted views, against a literal reference, and in MiniGrid itself."""

from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from minigrid.wrappers import FullyObsWrapper
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents.context import Context
from agents.curiosity.contacts import OUTSIDE, Contacts, contacts
from agents.curiosity.counts import Counts
from agents.encoders.symbolic import joint_ids
from agents.rollout import Rollout

EMPTY, WALL, RED_KEY, BLUE_KEY, LOCKED, OPEN = (1, 0, 0), (2, 5, 0), (5, 0, 0), (5, 2, 0), (4, 2, 2), (4, 2, 0)
SPACE = spaces.Dict({"image": spaces.Box(0, 10, (3, 3, 3), np.uint8), "direction": spaces.Discrete(4)})


def look(cell: tuple[int, ...]) -> int:
    kind, colour, state = cell
    return int(joint_ids()[kind << 8 | colour << 4 | state])


def context(n_envs: int, space: spaces.Space = SPACE) -> Context:
    return Context(space, spaces.Discrete(7), n_envs, lambda: FlattenExtractor(space))


def view(front: tuple[int, int, int], own: tuple[int, int, int] = EMPTY, aside: tuple = WALL) -> np.ndarray:
    """[3, 3, 3]: the agent stands at [1, 2] and faces [1, 1]."""
    image = np.tile(np.uint8(aside), (3, 3, 1))
    image[1, 1], image[1, 2] = front, own
    return image


def rollout(views: list[np.ndarray], ends: tuple[int, ...] = ()) -> Rollout:
    """One environment that walks through the views; after a step of `ends` the next episode begins in the same view."""
    image = torch.from_numpy(np.stack(views))[:, None]
    facing = torch.arange(len(views))[:, None] % 4
    done = torch.zeros(len(views) - 1, 1, dtype=torch.bool)
    done[list(ends)] = True
    obs, next_obs = ({"image": image[i], "direction": facing[i]} for i in (slice(None, -1), slice(1, None)))
    return Rollout(obs, torch.zeros_like(done).long(), next_obs, torch.zeros(done.shape), done, torch.zeros_like(done))


def test_a_contact_is_what_is_faced_and_carried_whatever_else_is_in_view() -> None:
    bonus = Contacts(context(1))
    walk = [
        view(RED_KEY),  # the start
        view(RED_KEY, aside=BLUE_KEY),
        view(EMPTY, own=RED_KEY),  # picked up
        view(LOCKED, own=RED_KEY),
        view(OPEN, own=RED_KEY),
        view(LOCKED),  # another door, nothing in hand
        view(OPEN, own=RED_KEY, aside=EMPTY),
        view(RED_KEY),
        view(BLUE_KEY),  # another colour
    ]
    assert bonus.reward(rollout(walk))[:, 0].tolist() == [0, 1, 1, 1, 1, 0, 0, 1]
    assert bonus.update(rollout(walk)) == {"contacts": 6.0}


def test_a_contact_is_paid_once_in_an_episode_and_less_in_a_life() -> None:
    bonus = Contacts(context(1))
    walk = rollout([view(EMPTY), view(LOCKED), view(EMPTY), view(LOCKED), view(WALL)], ends=(2,))
    assert bonus.reward(walk)[:, 0].tolist() == [1, 0, 0, 1]  # the second episode begins before the door
    bonus.update(walk)
    bonus.new_episodes()
    again = rollout([view(RED_KEY), view(LOCKED), view(EMPTY), view(OPEN)])
    assert bonus.reward(again)[:, 0].tolist() == pytest.approx(
        [3**-0.25, 2**-0.25, 1]
    )  # the door came twice, then once


def test_views_of_the_whole_grid_show_the_agent_and_its_direction() -> None:
    grid = np.tile(np.uint8(EMPTY), (4, 4, 1))
    grid[3, 1], grid[2, 2], grid[1, 1], grid[2, 0] = RED_KEY, WALL, LOCKED, OPEN
    found = []
    for direction in range(4):  # right, down, left, up
        grid[2, 1] = (10, 0, direction)
        found.append(int(contacts({"image": torch.from_numpy(grid)})) >> 8)
    assert found == [look(cell) for cell in (RED_KEY, WALL, LOCKED, OPEN)]
    grid[2, 1], grid[3, 3] = EMPTY, (10, 0, 0)
    assert int(contacts({"image": torch.from_numpy(grid)})) >> 8 == OUTSIDE
    assert joint_ids().max() < OUTSIDE


def test_in_minigrid_it_is_the_cell_ahead_and_what_is_carried() -> None:
    """Against Minigrid's own `front_pos` and `carrying`, in both of its symbolic views."""
    whole = FullyObsWrapper(gym.make("MiniGrid-ObstructedMaze-2Dlhb-v1"))
    env: Any = whole.unwrapped
    rng, carried = np.random.default_rng(0), 0
    for step in range(1500):
        obs = env.reset(seed=step)[0] if step % 250 == 0 else env.step(rng.choice([0, 1, 2, 2, 3, 4, 5]))[0]
        ahead, hand = env.grid.get(*env.front_pos), env.carrying
        faced, held = (look(EMPTY if thing is None else thing.encode()) for thing in (ahead, hand))
        assert int(contacts({"image": torch.from_numpy(obs["image"])})) == faced << 8 | held
        grid = whole.observation(obs)["image"]
        assert int(contacts({"image": torch.from_numpy(grid)})) == faced << 8 | look((10, 0, env.agent_dir))
        carried += hand is not None
    assert carried > 50


def test_bonus_equals_literal_dictionaries() -> None:
    rng = np.random.default_rng(1)
    cells = [EMPTY, RED_KEY, BLUE_KEY, LOCKED, OPEN]
    keys = [(cells[rng.integers(5)], cells[rng.integers(3)]) for _ in range(301)]
    walk = [view(*key, aside=cells[rng.integers(5)]) for key in keys]
    ends = tuple(np.flatnonzero(rng.random(300) < 0.1).tolist())
    bonus, life, episode = Contacts(context(1)), Counter(), {keys[0]}
    for begin in (0, 150):
        part = rollout(walk[begin : begin + 151], tuple(t - begin for t in ends if begin <= t < begin + 150))
        expected = []
        for t in range(begin, begin + 150):
            expected.append((keys[t + 1] not in episode) / (1 + life[keys[t + 1]]) ** 0.25)
            episode = {keys[t + 1]} if t in ends else episode | {keys[t + 1]}
        np.testing.assert_allclose(bonus.reward(part)[:, 0].numpy(), expected, rtol=1e-6)
        life.update(keys[begin + 1 : begin + 151])
        assert bonus.update(part)["contacts"] == len(life)


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(9), spaces.Dict({"image": spaces.Box(0, 255, (3, 3, 3), np.uint8)})],
    ids=["cells", "pixels"],
)
def test_without_symbols_whole_views_are_counted(space: spaces.Space) -> None:
    rng = np.random.default_rng(2)
    number = torch.from_numpy(rng.integers(9, size=(61, 2)))
    picture = number[..., None, None, None].repeat(1, 1, 3, 3, 3).to(torch.uint8)
    views = number if isinstance(space, spaces.Discrete) else picture
    obs, next_obs = ({"image": part} if isinstance(space, spaces.Dict) else part for part in (views[:-1], views[1:]))
    done = torch.from_numpy(rng.random((60, 2)) < 0.1)
    part = Rollout(obs, number[:-1], next_obs, torch.zeros(60, 2), done, torch.zeros_like(done))
    ours, theirs = Contacts(context(2, space), power=0.5), Counts(context(2, space))
    for _ in range(2):
        assert torch.equal(ours.reward(part), theirs.reward(part))
        assert ours.update(part)["contacts"] == theirs.update(part)["views"]
