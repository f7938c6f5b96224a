"""The oracle of MiniGrid: its plans succeed, are the shortest where that can be checked, and do not turn back."""

import heapq

import numpy as np
import pytest
from minigrid.core.constants import DIR_TO_VEC
from numba import njit

from envs.minigrid import IDS, make, mirror, planner
from envs.minigrid.levels import new_env
from envs.minigrid.physics import DIRECTION, DONE, HANDS, HEIGHT, NOTHING, PAD, PITCH, POSITION, SUCCESS, WIDTH, move
from envs.minigrid.tasks import AVOID, FREE

SMALL = {"levels": 100, "eval_levels": 40}
MOVING = [name for name in IDS if "Dynamic" in name]
STILL = [name for name in IDS if name not in MOVING and "Playground" not in name]
MAZES = [name for name in STILL if "Obstructed" in name]


def disturb(world, steps, seed=0):
    """Half random, half sensible actions in every copy, except those that end the episode or spoil the task."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        actions = np.where(rng.random(world.num_envs) < 0.5, world.oracle(), rng.integers(0, 7, world.num_envs))
        grids, bodies = world.grids.copy(), world.bodies.copy()
        ended = [move(*state, world.rules) != NOTHING for state in zip(world.grids, world.bodies, actions, strict=True)]
        undo = np.array(ended) | planner.hopeless(world.grids, world.bodies, world.rules)
        world.grids[undo], world.bodies[undo] = grids[undo], bodies[undo]


# ---------------------------------------------------------------------- plans succeed


@pytest.mark.parametrize("env_id", STILL)
def test_oracle_succeeds_wherever_that_is_possible(env_id):
    """512 evaluation episodes (32 in the mazes), each as long as its plan said; a plan is missing only where nobody can
    succeed. In the largest mazes the plan may become shorter on the way."""
    copies, rounds = (32, 1) if env_id in MAZES else (64, 8)
    world = make(env_id, copies, split="eval", levels=512)
    world.reset(seed=0)
    promised, ended = world.plan_lengths(), np.zeros(copies, int)
    hopeless = planner.hopeless(world.grids, world.bodies, world.rules)
    while (ended < rounds).any():
        np.testing.assert_array_equal(promised < 0, hopeless)
        _, _, terminated, truncated, infos = world.step(world.oracle())
        done = terminated | truncated
        if done.any():
            np.testing.assert_array_equal(infos["is_success"][done], ~hopeless[done])
            length, expected = infos["episode"]["l"][done & ~hopeless], promised[done & ~hopeless]
            assert (length <= expected).all() if env_id in MAZES else (length == expected).all()
            promised = np.where(done, world.plan_lengths(), promised)
            hopeless = np.where(done, planner.hopeless(world.grids, world.bodies, world.rules), hopeless)
        ended += done
    assert hopeless.mean() < 0.2


@pytest.mark.parametrize("env_id", MOVING)
def test_oracle_avoids_what_moves(env_id):
    world = make(env_id, 64, split="eval", levels=64)
    world.reset(seed=0)
    assert world.task.rule == AVOID
    ended = np.zeros(64, int)
    while (ended < 4).any():
        _, rewards, terminated, truncated, infos = world.step(world.oracle())
        assert (rewards >= 0).all()
        assert infos["is_success"][terminated | truncated].all()
        ended += terminated | truncated


def test_it_waits_for_an_obstacle_by_turning():
    env = new_env("MiniGrid-Dynamic-Obstacles-5x5-v0", {})
    env.reset(seed=0)
    for thing in env.obstacles:
        env.grid.set(*thing.cur_pos, None)
    env.agent_pos, env.agent_dir = (3, 1), 1
    for thing, place in zip(env.obstacles, [(3, 2), (2, 2)], strict=True):
        env.grid.set(*place, thing)
        thing.cur_pos = place
    world = mirror(env)
    assert world.plan_lengths()[0] == 3  # two steps, and one of waiting, which is shorter than the way around
    assert world.oracle()[0] == 0


def test_playground_has_no_oracle():
    world = make("MiniGrid-Playground-v0", 1, **SMALL)
    assert world.task.rule == FREE
    assert not world.has_oracle


# ---------------------------------------------------------------------- plans are the shortest


def slow_distance(env):
    """Least actions to the goal in a Minigrid environment without locked doors, by a textbook Dijkstra."""
    x, y = env.agent_pos
    queue, done = [(0, int(x), int(y), int(env.agent_dir))], set()
    while queue:
        cost, x, y, d = heapq.heappop(queue)
        thing = env.grid.get(x, y)
        if thing is not None and thing.type == "goal":
            return cost
        if (x, y, d) in done or (thing is not None and thing.type == "lava"):
            continue
        done.add((x, y, d))
        for turned in ((d + 1) % 4, (d - 1) % 4):
            heapq.heappush(queue, (cost + 1, x, y, turned))
        x, y = x + int(DIR_TO_VEC[d][0]), y + int(DIR_TO_VEC[d][1])
        thing = env.grid.get(x, y)
        if thing is None or thing.type != "wall":
            closed = thing is not None and thing.type == "door" and not thing.is_open
            heapq.heappush(queue, (cost + 1 + closed, x, y, d))
    return -1


@pytest.mark.parametrize(
    "env_id", ["MiniGrid-MultiRoom-N6-v0", "MiniGrid-FourRooms-v0", "MiniGrid-LavaCrossingS11N5-v0"]
)
def test_distance_is_the_shortest_plan(env_id):
    env = new_env(env_id, {})
    for seed in range(6):
        env.reset(seed=seed)
        for action in (2, 0, 2):
            if not env.step(action)[2]:
                assert mirror(env).labels()["distance_to_goal"][0] == slow_distance(env)


@njit(cache=True)
def scrambled(total, word):
    total = (total ^ np.uint64(word)) * np.uint64(0x9E3779B97F4A7C15)
    return total ^ (total >> np.uint64(29))


@njit(cache=True)
def is_new(table, cells, body):
    """Put a state's 64-bit hash into an open-addressing table; False if it was there."""
    key = scrambled(scrambled(np.uint64(1), body[POSITION] << 2 | body[DIRECTION]), body[HANDS])
    for word in cells:
        key = scrambled(key, word)
    slot = np.int64(key & np.uint64(len(table) - 1))
    while table[slot] != 0:
        if table[slot] == key:
            return False
        slot = (slot + 1) & (len(table) - 1)
    table[slot] = key
    return True


@njit(cache=True)
def copy_cells(grid, cells, rules, back):
    width, pitch = rules[WIDTH], rules[PITCH]
    for y in range(rules[HEIGHT]):
        for x in range(width):
            if back:
                grid[(y + PAD) * pitch + x + PAD] = cells[y * width + x]
            else:
                cells[y * width + x] = grid[(y + PAD) * pitch + x + PAD]


@njit(cache=True)
def exhaustive(grid, body, rules, most_states):
    """Least actions to success, by nothing but the physics of one step: -1 if there is no way, -2 if more than
    `most_states` states (a power of two) are needed."""
    grid, size, seen = grid.copy(), rules[WIDTH] * rules[HEIGHT], 1
    table = np.zeros(2 * most_states, np.uint64)
    grids, bodies, count = np.empty((1, size), grid.dtype), np.empty((1, len(body)), np.int64), 1
    copy_cells(grid, grids[0], rules, False)
    bodies[0] = body
    is_new(table, grids[0], body)
    here, cells = body.copy(), np.empty(size, grid.dtype)
    cost = 0
    while count > 0:
        cost += 1
        more_grids, more_bodies, more = np.empty((64, size), grid.dtype), np.empty((64, len(body)), np.int64), 0
        for k in range(count):
            for action in range(DONE + 1):
                copy_cells(grid, grids[k], rules, True)
                here[:] = bodies[k]
                outcome = move(grid, here, action, rules)
                if outcome == SUCCESS:
                    return cost
                copy_cells(grid, cells, rules, False)
                if outcome != NOTHING or not is_new(table, cells, here):
                    continue
                seen += 1
                if seen > most_states:
                    return -2
                if more == len(more_grids):
                    larger, others = np.empty((2 * more, size), grid.dtype), np.empty((2 * more, len(body)), np.int64)
                    larger[:more], others[:more] = more_grids, more_bodies
                    more_grids, more_bodies = larger, others
                more_grids[more], more_bodies[more], more = cells, here, more + 1
        grids, bodies, count = more_grids, more_bodies, more
    return -1


SOLVED_BY_BREADTH = [
    "MiniGrid-Empty-Random-6x6-v0",
    "MiniGrid-DistShift1-v0",
    "MiniGrid-LavaGapS6-v0",
    "MiniGrid-MultiRoom-N2-S4-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-DoorKey-6x6-v0",
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-Unlock-v0",
    "MiniGrid-UnlockPickup-v0",
    "MiniGrid-BlockedUnlockPickup-v0",
    "MiniGrid-KeyCorridorS3R1-v0",
    "MiniGrid-KeyCorridorS3R2-v0",
    "MiniGrid-KeyCorridorS3R3-v0",
    "MiniGrid-ObstructedMaze-1Dl-v0",
    "MiniGrid-ObstructedMaze-1Dlh-v0",
    "MiniGrid-ObstructedMaze-1Dlhb-v0",
    "MiniGrid-Fetch-5x5-N2-v0",
    "MiniGrid-GoToDoor-5x5-v0",
    "MiniGrid-GoToObject-6x6-N2-v0",
    "MiniGrid-PutNear-6x6-N2-v0",
    "MiniGrid-PutNear-8x8-N3-v0",
    "MiniGrid-RedBlueDoors-6x6-v0",
    "MiniGrid-MemoryS7-v0",
]


@pytest.mark.parametrize("env_id", SOLVED_BY_BREADTH)
@pytest.mark.parametrize("noise", [0, 40])
def test_plans_are_as_short_as_breadth_first_search_finds(env_id, noise):
    """From the start, and after things were dropped anywhere, doors opened and shut, boxes opened."""
    world = make(env_id, 12, split="eval", max_steps=100_000, **SMALL)
    world.reset(seed=0)
    disturb(world, noise)
    shortest = [exhaustive(*state, world.rules, 2**21) for state in zip(world.grids, world.bodies, strict=True)]
    assert -2 not in shortest
    assert world.plan_lengths().tolist() == shortest


# ---------------------------------------------------------------------- plans are kept


@pytest.mark.parametrize("env_id", STILL)
def test_each_step_of_the_oracle_shortens_its_plan(env_id):
    """After a noisy beginning: it can recover from anything, and never turns back."""
    copies = 6 if env_id in MAZES else 24
    world = make(env_id, copies, max_steps=100_000, **SMALL)
    world.reset(seed=0)
    hopeless = planner.hopeless(world.grids, world.bodies, world.rules)
    disturb(world, 60)
    distance = world.plan_lengths()
    assert (distance[~hopeless] > 0).all()
    active = ~hopeless
    while active.any():
        _, _, terminated, _, infos = world.step(world.oracle())
        assert infos["is_success"][active & terminated].all()
        active &= ~terminated
        now = world.plan_lengths()
        assert (now[active] <= distance[active] - 1).all()
        assert (now[active] > 0).all()
        distance = now


# ---------------------------------------------------------------------- corner cases


def test_no_plan_once_the_target_is_gone():
    env = new_env("MiniGrid-UnlockPickup-v0", {})
    env.reset(seed=0)
    cell = env.grid.grid.index(env.obj)
    env.grid.grid[cell] = None
    world = mirror(env)
    assert world.labels()["distance_to_goal"][0] == -1
    assert world.oracle()[0] == 6


def test_oracle_walks_around_lava_and_knows_when_it_stands_in_it():
    env = new_env("MiniGrid-LavaGapS5-v0", {})
    env.reset(seed=0)
    row = next(y for y in (1, 2, 3) if env.grid.get(2, y) is not None)
    env.agent_pos, env.agent_dir = (1, row), 0  # lava lies straight ahead
    assert mirror(env).oracle()[0] != 2
    assert mirror(env).labels()["distance_to_goal"][0] == slow_distance(env)
    env.step(2)
    world = mirror(env)
    assert world.labels()["distance_to_goal"][0] == -1
    assert world.oracle()[0] == 6


def test_what_is_hopeless():
    """No key of the only door: the bound of what can be reached, and no plan."""
    env = new_env("MiniGrid-UnlockPickup-v0", {})
    env.reset(seed=0)
    world = mirror(env)
    assert not planner.hopeless(world.grids, world.bodies, world.rules)[0]
    key = next(cell for cell, thing in enumerate(env.grid.grid) if thing is not None and thing.type == "key")
    env.grid.grid[key] = None
    world = mirror(env)
    assert planner.hopeless(world.grids, world.bodies, world.rules)[0]
    assert world.plan_lengths()[0] == -1
