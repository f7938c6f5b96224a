"""The frames that representations are measured on: the same for every run of a world, whoever its agent is.

Half of the copies walk at random, half follow the world's oracle but for a random step in three tenths (a world without
an oracle is walked at random); on evaluation levels, from a seed of its own. An agent's own data would flatter it:
frames that it visits often are those that its features were trained on.

A probe's split is by episode, 70 / 10 / 20, as neighbouring frames are nearly equal; what occurs twice is kept once,
and a later part loses what an earlier one has (after AtariARI, Anand et al. 2019, §4 and code: there the test part
alone loses what the others have, and the shuffled order of episodes was not used). A small world has hardly a frame
that is new: if fewer than 100 are left for the test, its distinct frames are split and not its episodes, and the result
says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from agents.rollout import Obs, flatten_obs, map_obs
from agents.vec_env import GymnasiumVecEnv
from envs import vector
from envs.batched import BatchedWorld
from sandbox.config import World

SEED = 20_220_812
FRAMES, EPSILON = 6000, 0.3
COPIES = {True: 40, False: 8}  # of a batched world, of any other (as many as it trains with by default)
SHARES = (0.7, 0.8)  # of the episodes: up to here training, up to here validation, the rest test
LEAST_TEST = 100


@dataclass(frozen=True)
class Walk:
    """T steps of N copies; what is said of step t is said of the frame s_t before it."""

    obs: Obs  # [T, N, *obs]
    actions: Tensor  # [T, N] int64, or [T, N, A] float32
    rewards: Tensor  # [T, N]
    done: Tensor  # [T, N] bool: the episode ends with this step
    labels: dict[str, Tensor]  # [T, N, ...]; empty where the world offers none
    oracle: Tensor | None  # [T, N] or [T, N, A]: the best action
    policy: str  # in words

    @property
    def episodes(self) -> Tensor:
        """[T, N] int64: a number for each episode."""
        before = torch.cat([torch.zeros_like(self.done[:1]), self.done[:-1]]).cumsum(0)
        return before + torch.cat([torch.zeros(1, dtype=torch.int64), (before[-1] + 1).cumsum(0)[:-1]])

    def frames(self, index: Tensor) -> Obs:
        """The frames at flat indices t N + n."""
        return map_obs(lambda x: x[index], flatten_obs(self.obs))


@dataclass(frozen=True)
class Split:
    """Flat indices of distinct frames; no frame is in two parts."""

    train: Tensor
    validation: Tensor
    test: Tensor
    by: str  # "episode", or "frame" where there are too few for that


def walk(world: World, *, frames: int = FRAMES) -> tuple[Walk, tuple[spaces.Space, spaces.Space]]:
    """`frames` steps, all copies together, on the evaluation levels of `world`; and its spaces, views' and actions'."""
    copies = COPIES[vector.is_batched(world.id)]
    pools: dict[str, Any] = {"levels": world.levels, "eval_levels": world.eval_levels, **world.kwargs}
    env = vector.make(world.id, copies, split="eval", **pools)
    vec = GymnasiumVecEnv(env)
    try:
        first = vec.begin(vector.reset(env, np.random.SeedSequence(SEED)))
        return _walk(vec, first, frames // copies), (env.single_observation_space, env.single_action_space)
    finally:
        vec.close()


def _walk(vec: GymnasiumVecEnv, obs: Any, steps: int) -> Walk:
    told, knows = vector.told(vec.env), offers(vec.env)
    rng = np.random.default_rng(SEED)
    vec.action_space.seed(SEED)
    seen: list[tuple[Any, ...]] = []
    for _ in range(steps):
        best = np.asarray(told.oracle()) if "oracle" in knows else None
        labels = told.labels() if "labels" in knows else {}
        actions = np.stack([vec.action_space.sample() for _ in range(vec.num_envs)])
        if best is not None:
            follows = (np.arange(vec.num_envs) % 2 == 1) & (rng.random(vec.num_envs) >= EPSILON)
            actions[follows] = best[follows]
        after, rewards, done, _ = vec.step(actions)
        seen.append((obs, actions, rewards, done, labels, best))
        obs = after
    frames, acts, gains, ends, truths, answers = zip(*seen, strict=True)
    stacked = {name: _stack([one[name] for one in truths]) for name in truths[0]}
    policy = f"half random, half oracle with epsilon {EPSILON}" if "oracle" in knows else "random"
    oracle = _stack(answers) if "oracle" in knows else None
    return Walk(_stack_obs(frames), _stack(acts), _stack(gains), _stack(ends).bool(), stacked, oracle, policy)


def offers(env: Any) -> set[str]:
    """Which of `labels` and `oracle` the copies of `env` offer."""
    if isinstance(env, BatchedWorld):
        return {name for name, there in (("labels", env.label_spaces), ("oracle", env.has_oracle)) if there}
    return {name for name in ("labels", "oracle") if hasattr(env.envs[0].unwrapped, name)}


def split_columns(name: str, values: Tensor) -> list[tuple[str, Tensor]]:
    """A label [T, N] or [T, N, ...] as flat columns [T N]: `name`, or `name.0`, `name.1` ... where it has several."""
    columns = values.flatten(0, 1).reshape(values.shape[0] * values.shape[1], -1).T
    return [(name if len(columns) == 1 else f"{name}.{k}", column) for k, column in enumerate(columns)]


def _stack(steps: Any) -> Tensor:
    return torch.as_tensor(np.stack(steps))


def _stack_obs(steps: Any) -> Obs:
    if isinstance(steps[0], dict):
        return {name: _stack([one[name] for one in steps]) for name in steps[0]}
    return _stack(steps)


# ---------------------------------------------------------------------- splitting


def split(walked: Walk) -> Split:
    """Training, validation and test frames; by episode where that leaves at least 100 to test on."""
    keys, episodes = frame_keys(walked.obs), walked.episodes.flatten().numpy()
    found = _split(keys, episodes, "episode")
    if len(found.test) >= LEAST_TEST:
        return found
    names = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    by_frame = _split(keys, np.array([names[key] for key in keys]), "frame")
    return by_frame if len(by_frame.test) > len(found.test) else found


def _split(keys: list[bytes], groups: np.ndarray, by: str) -> Split:
    """Whole groups to each part; then every frame only where it comes first."""
    order = np.random.default_rng(SEED).permutation(groups.max() + 1)
    part = np.searchsorted([round(share * len(order)) for share in SHARES], order[groups], side="right")
    taken: set[bytes] = set()
    parts = []
    for number in range(3):
        parts.append(torch.tensor(_first(keys, np.flatnonzero(part == number), taken), dtype=torch.int64))
    return Split(parts[0], parts[1], parts[2], by)


def _first(keys: list[bytes], index: np.ndarray, taken: set[bytes]) -> list[int]:
    kept = []
    for i in index.tolist():
        if keys[i] not in taken:
            taken.add(keys[i])
            kept.append(i)
    return kept


def frame_keys(obs: Obs) -> list[bytes]:
    """One digest per frame of [T, N, ...], equal for equal frames."""
    flat = flatten_obs(obs)
    parts = [flat[name] for name in sorted(flat)] if isinstance(flat, dict) else [flat]
    arrays = [np.ascontiguousarray(part.numpy()) for part in parts]
    return [
        hashlib.blake2b(b"".join(array[i].tobytes() for array in arrays), digest_size=16).digest()
        for i in range(len(arrays[0]))
    ]
