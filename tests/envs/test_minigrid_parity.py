"""The compiled engine against Minigrid itself, step by step: view, direction, reward, ends."""

import gymnasium as gym
import numpy as np
import pytest
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall
from minigrid.wrappers import FullyObsWrapper

from envs.minigrid import IDS, mirror, missions
from envs.minigrid.levels import new_env
from envs.minigrid.mirroring import SameDraws
from envs.minigrid.physics import STEPS, shine
from envs.minigrid.tasks import AVOID

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")


def assert_same_view(theirs, ours):
    np.testing.assert_array_equal(ours["image"][0], theirs["image"])
    assert ours["direction"][0] == theirs["direction"]
    if "mission" in ours:
        assert missions.text(ours["mission"][0]) == theirs["mission"]


def assert_same_episode(env, choose, steps, draws_seed=0):
    """Steps `env` and its mirror together until the end; returns (steps taken, last reward)."""
    world = mirror(env)
    draws = SameDraws(world, draws_seed)
    if world.task.rule == AVOID:
        env.np_random = draws
    assert_same_view(env.gen_obs(), world._observe())
    reward = 0.0
    for taken in range(1, steps + 1):
        action = int(choose(world))
        draws.next_step()
        theirs, reward, terminated, truncated, _ = env.step(action)
        ours, rewards, ended, cut, _ = world.advance(np.array([action]))
        assert_same_view(theirs, ours)
        assert rewards[0] == reward
        assert (ended[0], cut[0]) == (terminated, truncated)
        if terminated or truncated:
            return taken, reward
    return steps, reward


@pytest.mark.parametrize("env_id", IDS)
def test_parity_of_every_id(env_id):
    """Tasks' ends are met more often in test_minigrid_rules.py."""
    env, rng = new_env(env_id, {}), np.random.default_rng(0)
    rewards = []
    for seed in range(2):
        for noise in (1.0, 0.3, 0.0):
            env.reset(seed=seed)
            knows = mirror(env).has_oracle
            steps = 60 if noise or not knows else env.max_steps

            def choose(world, noise=noise, knows=knows):
                by_chance = not knows or rng.random() < noise
                return rng.integers(world.task.actions) if by_chance else world.oracle()[0]

            rewards.append(assert_same_episode(env, choose, steps, seed)[1])
    assert max(rewards) > 0 or not knows  # successes were compared too


@pytest.mark.parametrize("env_id", ["MiniGrid-DoorKey-5x5-v0", "MiniGrid-LavaGapS5-v0", "MiniGrid-Unlock-v0"])
def test_truncation_and_termination_at_once(env_id):
    env = new_env(env_id, {})
    env.reset(seed=3)
    length, _ = assert_same_episode(env, lambda world: world.oracle()[0], env.max_steps)
    env = new_env(env_id, {"max_steps": length})
    env.reset(seed=3)
    world = mirror(env)
    for _ in range(length):
        _, rewards, terminated, truncated, _ = world.advance(world.oracle())
    assert terminated[0]
    assert truncated[0]
    assert rewards[0] == pytest.approx(0.1, abs=1e-12)
    env.reset(seed=3)
    assert assert_same_episode(env, lambda world: world.oracle()[0], length)[0] == length


def random_thing(rng, depth=0):
    colour = str(rng.choice(COLOURS))
    kinds = [
        lambda: Wall(colour),
        lambda: Floor(colour),
        Goal,
        Lava,
        lambda: Door(colour, is_open=True),
        lambda: Door(colour),
        lambda: Door(colour, is_locked=True),
        lambda: Key(colour),
        lambda: Ball(colour),
        lambda: Box(colour, random_thing(rng, depth + 1) if depth < 2 and rng.random() < 0.7 else None),
    ]
    weights = np.array([1, 1, 0.3, 0.3, 1, 1, 2, 3, 2, 4])
    return kinds[rng.choice(len(kinds), p=weights / weights.sum())]()


def scramble(env, rng, share):
    for y in range(1, env.height - 1):
        for x in range(1, env.width - 1):
            free = env.grid.get(x, y) is None and (x, y) != tuple(env.agent_pos)
            if free and rng.random() < share:
                env.grid.set(x, y, random_thing(rng))


@pytest.mark.parametrize("see_through", [True, False])
def test_all_mechanics_in_scrambled_grids(see_through):
    rng, carried, opened = np.random.default_rng(see_through), set(), 0
    env = new_env("MiniGrid-Empty-Random-6x6-v0", {"size": 9, "max_steps": 200})
    env.see_through_walls = see_through
    for seed in range(40):
        env.reset(seed=seed)
        scramble(env, rng, share=0.35)
        env.carrying = [None, Key("red"), Box("blue", Key("green"))][seed % 3]
        boxes = sum(isinstance(thing, Box) for thing in env.grid.grid)

        def choose(_):
            if env.carrying:
                carried.add(env.carrying.type)
            return rng.choice(7, p=[0.15, 0.15, 0.3, 0.12, 0.08, 0.15, 0.05])

        assert_same_episode(env, choose, 60)
        opened += sum(isinstance(thing, Box) for thing in env.grid.grid) < boxes
    assert carried == {"key", "ball", "box"}
    assert opened > 3


@pytest.mark.parametrize(
    "env_id", ["MiniGrid-Unlock-v0", "MiniGrid-BlockedUnlockPickup-v0", "MiniGrid-KeyCorridorS6R3-v0"]
)
def test_the_task_is_about_one_object_not_about_its_looks(env_id):
    """Twins of the target, open doors and stray boxes must not end an episode."""
    env, rng, unrewarded = new_env(env_id, {}), np.random.default_rng(1), 0
    for seed in range(10):
        env.reset(seed=seed)
        scramble(env, rng, share=0.2)
        target = getattr(env, "obj", None) or env.door
        if (twin := type(target)(target.color)).can_pickup():
            env.carrying = twin

        def choose(_):
            return rng.choice(7, p=[0.15, 0.15, 0.2, 0.2, 0.05, 0.2, 0.05])

        unrewarded += assert_same_episode(env, choose, 60)[1] == 0
    assert unrewarded > 0


def test_twin_of_the_target_gives_no_reward_and_the_target_does():
    env = new_env("MiniGrid-KeyCorridorS6R3-v0", {})
    env.reset(seed=0)
    front = tuple(env.front_pos)
    for thing, rewarded in ((Ball(env.obj.color), False), (env.obj, True)):
        env.carrying = None
        env.grid.set(*front, thing)
        assert bool(mirror(env).advance(np.array([3]))[1][0] > 0) is rewarded


def slow_row(light, clear):
    """One row of Minigrid's `process_vis`, cell by cell."""
    mask, below = [bool(light >> i & 1) for i in range(7)], [False] * 7
    for order, step in ((range(6), 1), (range(6, 0, -1), -1)):
        for i in order:
            if mask[i] and clear >> i & 1:
                mask[i + step] = below[i + step] = below[i] = True
    return sum(lit << i for i, lit in enumerate(mask)), sum(lit << i for i, lit in enumerate(below))


def test_light_in_every_possible_row():
    for light in range(128):
        for clear in range(128):
            assert shine(light, clear) == slow_row(light, clear)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_beyond_the_grid_are_grey_walls(turns):
    env = new_env("MiniGrid-Empty-5x5-v0", {})
    env.reset(seed=0)
    env.agent_dir = turns
    image = mirror(env)._observe()["image"][0]
    np.testing.assert_array_equal(image, env.gen_obs()["image"])
    assert (image == (2, 5, 0)).all(-1).sum() >= 30


def test_mirror_of_a_wrapped_environment_in_the_middle_of_an_episode():
    env = FullyObsWrapper(gym.make("MiniGrid-DoorKey-8x8-v0"))
    env.reset(seed=5)
    for _ in range(9):
        env.step(int(mirror(env).oracle()[0]))
    world = mirror(env)
    bare = env.unwrapped
    assert world.bodies[0, STEPS] == 9
    labels = world.labels()
    assert tuple(labels["position"][0]) == tuple(bare.agent_pos)
    assert labels["carrying"][0] == (1 + COLOURS.index("yellow") if bare.carrying else 0)
    assert_same_episode(bare, lambda world: world.oracle()[0], 100)


def test_mirror_starts_again_from_the_mirrored_state():
    env = new_env("MiniGrid-Empty-8x8-v0", {"max_steps": 3})
    env.reset(seed=0)
    env.step(2)
    world = mirror(env)
    before = world._observe()["image"]
    world.step(np.array([2]))
    obs, _, _, truncated, infos = world.step(np.array([2]))
    assert truncated[0]
    assert infos["_final_obs"][0]
    np.testing.assert_array_equal(obs["image"], before)
    assert world.bodies[0, STEPS] == 0


def test_unsupported_classes_are_refused_by_name():
    class MyEmpty(type(new_env("MiniGrid-Empty-5x5-v0", {}))):
        pass

    for env in (gym.make("BabyAI-GoToRedBall-v0"), MyEmpty(size=5)):
        env.reset(seed=0)
        with pytest.raises(ValueError, match="MultiRoomEnv"):
            mirror(env)
    env = new_env("MiniGrid-Empty-5x5-v0", {"agent_view_size": 5})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="agent_view_size"):
        mirror(env)
