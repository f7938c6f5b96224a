"""NoisyTV: MultiRoom's own steps and views but for the noise, and the noise against a literal version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from envs import vector
from envs.batched import BatchedWorld
from envs.noisy_tv import IDS, TV, NoisyTV

SMALL = {"levels": 60, "eval_levels": 40}
TYPES = [1, 3, 8, 9, 4, 5, 6, 7, 4, 4, 2]  # Minigrid's, of the eleven kinds
STATES = [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0]


def noise(word: int, rows: int) -> np.ndarray:
    """[7, rows, 3]: the symbols that follow from a word, in Python's own integers."""
    image, state = np.zeros((7, rows, 3), np.uint8), word % 2**64
    for row in range(rows):
        for i in range(7):
            state = (state + 0x9E3779B97F4A7C15) % 2**64
            z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
            kind, colour = divmod(((z ^ z >> 31) >> 32) * 66 >> 32, 6)
            image[i, row] = TYPES[kind], colour, STATES[kind]
    return image


def plain_of(world: NoisyTV, rooms: str) -> Any:
    """The MultiRoom without a television, in the same episodes."""
    plain: Any = vector.make(rooms, world.num_envs, split=world.split, **SMALL)
    plain.reset(seed=0)
    plain.load_state_dict({name: world.state_dict()[name] for name in plain.state_dict()})
    return plain


@pytest.mark.parametrize("emit_labels", [False, True])
@pytest.mark.parametrize(("env_id", "rows"), [(IDS[0], None), (IDS[0], 3), (IDS[1], None), (IDS[3], 7)])
def test_is_multiroom_but_for_the_noise(env_id: str, rows: int | None, emit_labels: bool) -> None:
    kwargs = {} if rows is None else {"rows": rows}
    world: Any = vector.make(env_id, 5, split="eval", emit_labels=emit_labels, **SMALL, **kwargs)
    rooms = f"MiniGrid-{env_id.removeprefix('NoisyTV-').replace('-AlwaysOn', '')}"
    always, rows = "AlwaysOn" in env_id, rows or (2 if "AlwaysOn" in env_id else 7)
    assert world.single_action_space == spaces.Discrete(7 if always else 8)
    obs, _ = world.reset(seed=0)
    plain = plain_of(world, rooms)
    rng, watched, ends, views = np.random.default_rng(1), np.full(5, always), 0, set()
    clean = plain._observe()

    def check(seen: dict[str, np.ndarray], clean: dict[str, np.ndarray], watched: np.ndarray, shown: Any) -> None:
        np.testing.assert_array_equal(seen["direction"], clean["direction"])
        for n in range(5):
            expected = clean["image"][n].copy()
            if watched[n]:
                expected[:, :rows] = noise(int(shown[n]), rows)
                views.add(expected[:, :rows].tobytes())
            np.testing.assert_array_equal(seen["image"][n], expected)

    total = 0
    check(obs, clean, watched, world.shown)
    for _ in range(260):
        actions = np.where(rng.random(5) < 0.8, world.oracle(), rng.integers(0, 7 if always else 8, 5))
        ours, theirs = world.step(actions), plain.step(np.where(actions == TV, 6, actions))
        watched = np.full(5, True) if always else actions == TV
        total += watched.sum()
        for a, b in zip(ours[1:4], theirs[1:4], strict=True):
            np.testing.assert_array_equal(a, b)
        done = ours[2] | ours[3]
        if done.any():
            ends += done.sum()
            np.testing.assert_array_equal(ours[4]["episode"]["coverage"], theirs[4]["episode"]["coverage"])
            if not always:  # there the noise of an ended episode's last view is gone with the episode
                check(ours[4]["final_obs"], theirs[4]["final_obs"], watched, world.shown)
                watched = watched & ~done
        check(ours[0], theirs[0], watched, world.shown)
    assert ends > 5
    assert len(views) > 0.95 * total > 20  # never the same twice


def test_the_television_only_costs_a_step_and_is_off_again() -> None:
    world: Any = vector.make(IDS[0], 2, emit_labels=True, **SMALL)
    first, _ = world.reset(seed=0)
    shows = [world.step(np.array([TV, 6])) for _ in range(3)]
    assert all(show[4]["labels"]["tv"].tolist() == [1, 0] for show in shows)
    assert len({show[0]["image"][0].tobytes() for show in shows}) == 3
    after, _, _, _, infos = world.step(np.array([6, 6]))
    np.testing.assert_array_equal(after["image"], first["image"])
    assert infos["labels"]["tv"].tolist() == [0, 0]
    assert world.episode_lengths.tolist() == [4, 4]
    assert world.exploration()["entropy"] < 0.2
    assert world.exploration()["watched"] == 3 / 8
    other: Any = vector.make(IDS[0], 2, **SMALL)
    other.load_state_dict(world.state_dict())
    assert other.exploration()["watched"] == 3 / 8
    world.reset(seed=0)
    assert "watched" not in world.exploration()


def test_symbols_are_drawn_evenly() -> None:
    world: Any = vector.make(IDS[1], 400, rows=7, **SMALL)
    obs, _ = world.reset(seed=0)
    image = obs["image"].reshape(-1, 3).astype(int)
    shares = np.bincount(image[:, 0] * 100 + image[:, 1] * 10 + image[:, 2])
    shares = shares[shares > 0] / len(image)
    assert len(shares) == 66
    np.testing.assert_allclose(shares, 1 / 66, atol=0.005)


@pytest.mark.parametrize("env_id", IDS)
def test_the_oracle_never_looks_and_succeeds(env_id: str) -> None:
    world: Any = vector.make(f"envs:{env_id}", 4, split="eval", **SMALL)
    assert world.levels_note == "held-out (40)"
    assert vector.is_batched(env_id)
    world.reset(seed=0)
    ended = np.zeros(4, bool)
    for _ in range(120):
        actions = world.oracle()
        assert (actions != TV).all()
        *_, terminated, _, infos = world.step(actions)
        assert infos["is_success"][terminated].all()
        ended |= terminated
    assert ended.all()


@pytest.mark.parametrize("env_id", [IDS[0], IDS[1]])
def test_state_dict_continues_identically(env_id: str) -> None:
    world, other = (vector.make(env_id, 4, **SMALL) for _ in range(2))
    assert isinstance(world, BatchedWorld)
    assert isinstance(other, BatchedWorld)
    rng, n = np.random.default_rng(0), world.single_action_space.n  # type: ignore[attr-defined]
    world.reset(seed=1)
    other.reset(seed=2)
    for _ in range(50):
        world.step(rng.integers(0, n, 4))
    world.step(np.array([n - 1, 0, n - 1, 1]))
    other.load_state_dict(world.state_dict())
    np.testing.assert_array_equal(world._observe()["image"], other._observe()["image"])
    world.reseed(3)
    other.reseed(3)
    for _ in range(200):
        actions = rng.integers(0, n, 4)
        ours, theirs = world.step(actions), other.step(actions)
        np.testing.assert_array_equal(ours[0]["image"], theirs[0]["image"])
        np.testing.assert_array_equal(ours[1], theirs[1])
    for name, value in world.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


def test_the_one_copy_face_and_the_spaces() -> None:
    env: Any = vector.single(IDS[0], **SMALL)
    check_env(env.unwrapped, skip_render_check=True)
    world: Any = vector.make(IDS[0], 3, emit_labels=True, **SMALL)
    obs, _ = world.reset(seed=0)
    assert world.observation_space.contains(obs)
    obs, *_, infos = world.step(np.array([TV, TV, 0]))
    assert world.observation_space.contains(obs)
    assert infos["labels"].keys() == world.label_spaces.keys()
    assert "tv" not in vector.make(IDS[1], 1, **SMALL).label_spaces  # type: ignore[attr-defined]


def test_wrong_arguments_are_refused() -> None:
    for rows in (0, 8):
        with pytest.raises(ValueError, match=r"1\.\.7"):
            NoisyTV(1, rows=rows, **SMALL)
    with pytest.raises(ValueError, match="MultiRoom"):
        NoisyTV(1, rooms="MiniGrid-Empty-5x5-v0", **SMALL)
    world = NoisyTV(2, **SMALL)
    world.reset(seed=0)
    with pytest.raises(ValueError, match=r"0\.\.7"):
        world.step(np.array([0, 8]))
    with pytest.raises(ValueError, match=r"0\.\.6"):
        NoisyTV(2, always_on=True, **SMALL).step(np.array([0, 7]))
