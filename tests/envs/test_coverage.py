"""Coverage against sets and loops: an episode's cells, visits of all, entropy; and what can be reached, by search."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from envs import vector
from envs.batched import BatchedWorld, SingleCopy
from envs.coverage import Coverage
from envs.minigrid import physics
from envs.minigrid.physics import NOTHING, POSITION, STEPS

SMALL = {"levels": 12, "eval_levels": 4}


class Line(BatchedWorld):
    """`length` cells in a row; an action moves by -1, 0 or 1; an episode of copy n takes n + 3 steps."""

    def __init__(self, num_envs: int = 3, *, length: int = 200, one_level: bool = True) -> None:
        self.place, self.left, self.length = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64), length
        self.cell_shape, self.has_one_level = (1, length), one_level
        super().__init__(num_envs, spaces.Box(0, length, (1,), np.float32), spaces.Discrete(3))

    def _begin(self, copies: np.ndarray) -> None:
        self.place[copies], self.left[copies] = self.np_random.integers(0, self.length, len(copies)), copies + 3

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.place = np.clip(self.place + actions - 1, 0, self.length - 1)
        self.left -= 1
        return np.zeros(self.num_envs), self.left == 0, np.zeros(self.num_envs, bool)

    def _observe(self) -> np.ndarray:
        return self.place[:, None].astype(np.float32)

    def cells(self) -> np.ndarray:
        return self.place.copy()

    def reachable(self) -> np.ndarray:
        return np.full(self.num_envs, self.n_cells)

    def state_dict(self) -> dict[str, np.ndarray]:
        return super().state_dict() | {"place": self.place.copy(), "left": self.left.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        super().load_state_dict(state)
        self.place[:], self.left[:] = state["place"], state["left"]


class Diary:
    """What `Coverage` counts, kept as sets and a `Counter`, from cells seen from outside only."""

    def __init__(self, world: BatchedWorld) -> None:
        self.visits: Counter[int] = Counter()
        self.episodes: list[set[int]] = [set() for _ in range(world.num_envs)]
        self.enter(world, range(world.num_envs))

    def enter(self, world: BatchedWorld, copies: Any) -> None:
        for n in copies:
            self.episodes[n] = set()
            self.note(n, int(world.cells()[n]))

    def note(self, n: int, cell: int) -> None:
        self.episodes[n].add(cell)
        self.visits[cell] += 1


def reached_before_reset(world: BatchedWorld, action: np.ndarray) -> tuple[np.ndarray, Any]:
    """The cells that `step` reaches, which an automatic reset then hides."""
    hidden: list[np.ndarray] = []
    begin, world._begin = world._begin, lambda copies: (hidden.append(world.cells()), begin(copies))[1]  # type: ignore
    try:
        result = world.step(action)
    finally:
        world._begin = begin  # type: ignore[method-assign]
    return (hidden[0] if hidden else world.cells()), result


def make(name: str) -> BatchedWorld:
    if name == "line":
        return Line()
    kwargs = SMALL if name.startswith("MiniGrid") else {}
    short = {"size": 5} if name.startswith("DeepSea") else {"max_steps": 19}
    world = vector.make(name, 5, **kwargs, **short)  # type: ignore[arg-type]
    assert isinstance(world, BatchedWorld)
    return world


ROOMS = ["MarkovGrid-v0", "PixelGoal-v0"]
WORLDS = ["line", "DeepSea-v0", *ROOMS, "MiniGrid-LavaCrossingS9N1-v0", "MiniGrid-Dynamic-Obstacles-5x5-v0"]


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("emit_labels", [False, True])
def test_counts_equal_sets_and_loops(name: str, emit_labels: bool) -> None:
    world, rng, ends = make(name), np.random.default_rng(0), 0
    world.emit_labels = emit_labels  # Minigrid's worlds have another `step` for it
    world.reset(seed=1)
    diary = Diary(world)
    for _ in range(120):
        reachable = world.reachable()
        cells, (_, _, terminated, truncated, infos) = reached_before_reset(
            world,
            rng.integers(0, world.single_action_space.n, world.num_envs),  # type: ignore[attr-defined]
        )
        for n, cell in enumerate(cells):
            diary.note(n, int(cell))
        done = np.flatnonzero(terminated | truncated)
        if len(done):
            shares = [len(diary.episodes[n]) / reachable[n] for n in range(world.num_envs)]
            np.testing.assert_array_equal(infos["episode"]["coverage"], shares)
            assert (infos["episode"]["coverage"] <= 1).all()
        diary.enter(world, done)
        ends += len(done)
    assert world.coverage is not None and ends > 10
    np.testing.assert_array_equal(world.coverage.visits, [diary.visits[c] for c in range(world.n_cells)])
    everything = np.arange(world.n_cells)
    for n, seen in enumerate(world.coverage.has_seen(everything)):
        assert set(everything[seen].tolist()) == diary.episodes[n]
    p = [count / sum(diary.visits.values()) for count in diary.visits.values()]
    entropy = -sum(q * math.log(q) for q in p)
    found = world.exploration()
    if world.has_one_level:
        assert found["coverage"] == len(diary.visits) / world.reachable()[0]
        assert found["entropy"] == pytest.approx(entropy / math.log(world.reachable()[0]))
    else:
        assert "coverage" not in found
        assert found["entropy"] == pytest.approx(entropy / math.log(world.n_cells))


@pytest.mark.parametrize("name", ROOMS)
def test_a_cell_is_the_position_that_is_labelled(name: str) -> None:
    world, rng = make(name), np.random.default_rng(0)
    world.reset(seed=2)
    assert world.cell_shape is not None
    for _ in range(30):
        places = world.labels()["position"].tolist()  # (x, y), of a map in rows
        assert world.cells().tolist() == [y * world.cell_shape[1] + x for x, y in places]
        world.step(rng.integers(0, 4, world.num_envs))


def test_entropy_by_hand() -> None:
    coverage = Coverage(2, 130)
    assert coverage.entropy(130) == 0
    coverage.begin(np.arange(2), np.array([5, 5]))
    assert coverage.entropy(130) == 0  # one place only
    for cell in (0, 63, 64, 127, 128, 129):
        coverage.visit(np.array([cell, cell]))
    assert coverage.entropy(7) == pytest.approx(1)  # seven cells, two visits each
    assert coverage.entropy(49) == pytest.approx(0.5)
    assert coverage.entropy(1) == 0
    assert coverage.distinct() == 7
    np.testing.assert_array_equal(coverage.share(np.array([7, 14])), [1, 0.5])
    coverage.begin(np.array([1]), np.array([3]))
    assert coverage.seen[:, 0].tolist() == [7, 1]  # a new episode has seen its first cell only


@pytest.mark.parametrize("name", WORLDS)
def test_a_restored_world_goes_on_counting(name: str) -> None:
    world, other, rng = make(name), make(name), np.random.default_rng(0)
    actions = rng.integers(0, world.single_action_space.n, (60, world.num_envs))  # type: ignore[attr-defined]
    world.reset(seed=0)
    other.reset(seed=5)
    for action in actions[:31]:
        world.step(action)
    other.load_state_dict(world.state_dict())
    world.reseed(3)
    other.reseed(3)
    for action in actions[31:]:
        ours, theirs = world.step(action)[4], other.step(action)[4]
        assert ("episode" in ours) == ("episode" in theirs)
        if "episode" in ours:
            np.testing.assert_array_equal(ours["episode"]["coverage"], theirs["episode"]["coverage"])
    state, same = world.state_dict(), other.state_dict()
    np.testing.assert_array_equal(state["cell_visits"], same["cell_visits"])
    np.testing.assert_array_equal(state["cells_seen"], same["cells_seen"])
    assert world.exploration() == other.exploration()
    with pytest.raises(ValueError, match="shape"):
        Coverage(world.num_envs + 1, world.n_cells).load_state_dict(state)


def test_reset_forgets_and_a_world_without_cells_reports_nothing() -> None:
    world = make("line")
    world.reset(seed=0)
    world.step(np.ones(3, int))
    world.reset(seed=0)
    assert world.coverage is not None
    assert world.coverage.visits.sum() == 3

    class Plain(Line):
        def __init__(self) -> None:
            super().__init__()
            self.cell_shape, self.coverage = None, None

    plain = Plain()
    plain.reset(seed=0)
    infos = [plain.step(np.ones(3, int))[4] for _ in range(5)]
    assert all("coverage" not in info.get("episode", {}) for info in infos)
    assert plain.exploration() == {}
    assert plain.n_cells == 0
    assert set(plain.state_dict()) == {"episode_returns", "episode_lengths", "place", "left"}


def test_one_copy_is_counted_too() -> None:
    one = SingleCopy(Line(1))
    one.reset(seed=0)
    info = one.step(2)[4]
    assert "episode" not in info
    assert one.world.coverage is not None
    assert one.world.coverage.visits.sum() == 2


# ---------------------------------------------------------------------- what Minigrid's levels let an agent reach


def searched(world: Any, most: int = 60_000) -> set[int]:
    """Cells that some sequence of actions comes to in copy 0's episode, by the physics of one step alone."""
    grid, body = world.grids[0].copy(), world.bodies[0].copy()
    frontier, known, found = [(grid, body)], {(grid.tobytes(), body.tobytes())}, {int(body[POSITION])}
    while frontier:
        grid, body = frontier.pop()
        for action in range(world.task.actions):
            now, there = grid.copy(), body.copy()
            outcome = physics.move(now, there, action, world.rules)
            there[STEPS] = 0
            found.add(int(there[POSITION]))
            key = (now.tobytes(), there.tobytes())
            if outcome == NOTHING and key not in known:
                known.add(key)
                frontier.append((now, there))
        assert len(known) < most, "too large to search"
    return found


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("Empty-Random-5x5", 3),
        ("MultiRoom-N2-S4", 3),
        ("SimpleCrossingS9N3", 2),
        ("LavaCrossingS9N3", 3),
        ("LavaGapS5", 3),
        ("DoorKey-5x5", 2),
        ("KeyCorridorS3R1", 1),
        ("Fetch-5x5-N2", 3),
        ("GoToDoor-5x5", 3),
        ("GoToObject-6x6-N2", 1),
        ("PutNear-6x6-N2", 4),
        ("RedBlueDoors-6x6", 2),
        ("MemoryS7", 3),
        ("Unlock", 1),
        ("UnlockPickup", 1),
    ],
)
def test_reach_equals_an_exhaustive_search(name: str, levels: int) -> None:
    world: Any = vector.make(f"MiniGrid-{name}-v0", 1, levels=12, eval_levels=4)
    world.reset(seed=0)
    for _ in range(levels):
        assert world.reachable().tolist() == [len(searched(world))]
        world._begin(np.array([0]))


def test_every_cell_of_an_open_room_can_be_reached_and_the_oracle_stays_within() -> None:
    world: Any = vector.make("MiniGrid-Empty-6x6-v0", 2)
    world.reset(seed=0)
    assert world.has_one_level
    assert world.reachable().tolist() == [16, 16]
    world = vector.make("MiniGrid-MultiRoom-N6-v0", 8, **SMALL)
    world.reset(seed=0)
    assert not world.has_one_level
    cells = world.cells()
    np.testing.assert_array_equal(cells, world.labels()["position"] @ [1, 25])
    shares: list[float] = []
    while len(shares) < 8:
        *_, terminated, _, infos = world.step(world.oracle())
        if terminated.any():
            shares += infos["episode"]["coverage"][terminated].tolist()
    assert min(shares) > 0
    assert max(shares) < 1


# ---------------------------------------------------------------------- DeepSea


@pytest.mark.parametrize("stochastic", [False, True])
def test_all_that_deep_sea_can_reach_is_reached(stochastic: bool) -> None:
    world: Any = vector.make("DeepSea-v0", 64, size=4, stochastic=stochastic)
    world.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(400):
        world.step(rng.integers(0, 2, 64))
    assert world.coverage.distinct() == world.reachable()[0] == 4 * 5 // 2 + 4
    assert world.exploration()["coverage"] == 1
    assert 0.8 < world.exploration()["entropy"] < 1
