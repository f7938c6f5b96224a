"""One way to N copies of any Gymnasium id: `make` returns a `VectorEnv` in SAME_STEP autoreset.

Our own worlds and Minigrid's proven ids run batched; every other id runs as Gymnasium's `SyncVectorEnv`. A foreign
vector entry point is never used: CartPole's is NEXT_STEP (fake zero-reward steps after an end), ALE's clips rewards.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import envs
from envs.batched import BatchedWorld
from envs.minigrid import IDS as MINIGRID_IDS
from envs.minigrid.single import Viewed

SMALLEST_PICTURE = 36  # pixels a side: what the smallest convolutional network of Mnih et al. 2015 can take
NUMERIC = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class Readable(gym.ObservationWrapper):
    """Keeps the parts of a dict observation that a network can read, and says that a symbolic view is no picture.

    Minigrid's `mission` is text (dropped); its view holds symbols up to 10 under a bound of 255, which
    stable-baselines3 would take for a picture, transpose and divide.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        kept: dict[str, spaces.Space] = {
            name: s for name, s in env.observation_space.spaces.items() if isinstance(s, NUMERIC)
        }
        if not kept:
            raise ValueError(f"no part of {env.observation_space} is numeric; wrap the environment to encode it")
        size = getattr(env.unwrapped, "agent_view_size", None)
        if "image" in kept and kept["image"].shape == (size, size, 3):
            kept["image"] = spaces.Box(0, 10, kept["image"].shape, np.uint8)
        self.observation_space = spaces.Dict(kept)

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        return {name: observation[name] for name in self.observation_space.spaces}  # type: ignore[attr-defined]


class Revealed(gym.ObservationWrapper):
    """The observation is the ground truth that an environment offers by `labels()`, as vectors of numbers."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        env.reset(seed=0)
        self.observation_space = spaces.Dict(
            {
                name: spaces.Box(-np.inf, np.inf, value.shape, np.float32)
                for name, value in self.observation(None).items()
            }
        )

    def observation(self, observation: Any) -> dict[str, Any]:
        told = self.unwrapped.labels()  # type: ignore[attr-defined]
        return {name: np.atleast_1d(np.asarray(value, np.float32)) for name, value in told.items()}


def plain_id(env_id: str) -> str:
    """The id without the module that registers it, where that is this package or minigrid."""
    return env_id.removeprefix("envs:").removeprefix("minigrid:")


def is_batched(env_id: str) -> bool:
    """Does `make` step this id in batches (else one copy after the other)?"""
    name = plain_id(env_id)
    return name in MINIGRID_IDS or name in own_ids()


def offers_oracle(env_id: str, env: gym.Env) -> bool:
    """Can copies of `env_id`, of which `env` is one, be asked for the right action?"""
    if plain_id(env_id) in MINIGRID_IDS:
        from envs.minigrid.tasks import FREE, task_of

        return task_of(env.unwrapped).rule != FREE
    return is_batched(env_id) or hasattr(env.unwrapped, "oracle")


def own_ids() -> list[str]:
    """Ids of the worlds of this package."""
    ours = (spec for spec in gym.registry.values() if isinstance(spec.vector_entry_point, str))
    return [spec.id for spec in ours if str(spec.vector_entry_point).startswith(f"{envs.__name__}.")]


def single(env_id: str, **kwargs: Any) -> gym.Env:
    """One ordinary copy, with a readable observation; Minigrid's also take `view` and `tile_size`, as in a batch."""
    of_minigrid = plain_id(env_id).startswith(("MiniGrid-", "BabyAI-"))
    if of_minigrid:
        importlib.import_module("minigrid")  # registers them; Gymnasium 1.4 loads no plugins by itself
    how = {name: kwargs.pop(name) for name in ("view", "tile_size") if of_minigrid and name in kwargs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # an older version of an id is asked for on purpose
        env = gym.make(env_id, disable_env_checker=True, **kwargs)
    if of_minigrid:
        return Readable(Viewed(env, **how))
    if isinstance(env.observation_space, spaces.Dict):
        return Readable(env)
    return channel_first(env) if is_picture(env.observation_space) else env


def is_picture(space: spaces.Space) -> bool:
    """Is this a picture with its channels last, large enough for a convolution?"""
    if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
        return False
    return space.shape[-1] in (1, 3, 4) and min(space.shape[:2]) >= SMALLEST_PICTURE


def channel_first(env: gym.Env) -> gym.Env:
    """[h, w, c] -> [c, h, w], the order that every network here reads, in training and evaluation alike."""
    space = env.observation_space
    assert isinstance(space, spaces.Box)
    low, high = np.moveaxis(space.low, -1, 0), np.moveaxis(space.high, -1, 0)
    turned = spaces.Box(low, high, dtype=np.uint8)
    return gym.wrappers.TransformObservation(env, lambda obs: np.moveaxis(obs, -1, 0), turned)


def make(
    env_id: str,
    n_envs: int,
    *,
    split: Literal["train", "eval"] = "train",
    levels: int = 4096,
    eval_levels: int = 512,
    emit_labels: bool = False,
    true_state: bool = False,
    **kwargs: Any,
) -> VectorEnv:
    """N copies of `env_id` (any id of Gymnasium's registry, or `module:Id-v0`), not yet reset: see `reset`.

    Args:
        split: which levels a world with a level pool draws from; evaluation levels are unseen in training.
        levels, eval_levels: sizes of the two pools (worlds with a pool only).
        emit_labels: put ground truth into `infos["labels"]` (batched worlds; others may offer it themselves).
        true_state: let the ground truth be the observation, instead of the view.
        kwargs: arguments of the environment; Minigrid's also take `view` and `tile_size`, see `envs.minigrid.views`.

    Raises:
        gymnasium.error.Error: unknown id, or arguments that the environment refuses.
    """
    if is_batched(env_id):
        world = _batched(env_id, n_envs, split, levels, eval_levels, emit_labels, kwargs)
        if true_state:
            world.reveal()
        return world

    def copy() -> gym.Env:
        return Revealed(single(env_id, **kwargs)) if true_state else single(env_id, **kwargs)

    return SyncVectorEnv([copy] * n_envs, autoreset_mode=AutoresetMode.SAME_STEP)


def _batched(
    env_id: str, n_envs: int, split: Any, levels: int, eval_levels: int, emit_labels: bool, kwargs: dict[str, Any]
) -> BatchedWorld:
    pools = {"split": split, "levels": levels, "eval_levels": eval_levels}
    if (name := plain_id(env_id)) in MINIGRID_IDS:
        from envs import minigrid

        return minigrid.make(name, n_envs, emit_labels=emit_labels, **pools, **kwargs)
    if "split" in gym.spec(name).kwargs:
        kwargs = pools | kwargs
    made = gym.make_vec(
        env_id, n_envs, vectorization_mode="vector_entry_point", emit_labels=emit_labels, **kwargs
    ).unwrapped
    assert isinstance(made, BatchedWorld)
    return made


def reset(env: VectorEnv, seed: int | np.random.SeedSequence) -> Any:
    """Fresh episodes in every copy; returns obs. Copies are seeded through SeedSequence: `seed + i` would make
    neighbouring runs share most of their episodes."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    words = [int(word) for word in sequence.generate_state(env.num_envs)]
    if isinstance(env, BatchedWorld):
        return env.reset(seed=words[0])[0]
    return env.reset(seed=words)[0]  # type: ignore[arg-type]


class Told(gym.vector.VectorWrapper):
    """A `SyncVectorEnv` whose copies offer ground truth by methods `oracle() -> action` or `labels() -> dict`."""

    label_spaces: dict[str, spaces.Space] = {}

    def oracle(self) -> np.ndarray:
        return np.stack([copy.unwrapped.oracle() for copy in self.env.envs])  # type: ignore[attr-defined]

    def labels(self) -> dict[str, np.ndarray]:
        told = [copy.unwrapped.labels() for copy in self.env.envs]  # type: ignore[attr-defined]
        return {name: np.stack([np.asarray(one[name]) for one in told]) for name in told[0]}


def told(env: VectorEnv) -> Any:
    """`env` with `oracle()` and `labels()` over all copies."""
    return env if isinstance(env, BatchedWorld) else Told(env)
