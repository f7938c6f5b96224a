"""A Gymnasium `VectorEnv` (SAME_STEP) seen as a stable-baselines3 `VecEnv`.

Only copies that ended carry anything in their info: `terminal_observation`, `TimeLimit.truncated`, `episode`,
`is_success`. Ground truth of the state reached is in `last_labels`, name -> [N, ...]. Non-finite numbers and
exceptions of the environment become an `EnvironmentFault` at the step where they happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvObs, VecEnvStepReturn

from agents.faults import EnvironmentFault


class GymnasiumVecEnv(VecEnv):
    """Args: env, a VectorEnv whose metadata says SAME_STEP.

    Raises:
        ValueError: another autoreset mode (NEXT_STEP would feed fake transitions to the learner).
    """

    def __init__(self, env: VectorEnv) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"the vector environment must reset in the same step (SAME_STEP), it reports {mode}")
        self.env = env
        self.render_mode = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.last_labels: dict[str, np.ndarray] = {}
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._floats = _float_parts(env.single_observation_space)
        self._steps = 0

    def reset(self) -> VecEnvObs:
        try:
            obs, _ = self.env.reset(seed=self._first_seeds())
        except Exception as error:
            raise EnvironmentFault(f"reset raised {type(error).__name__}: {error}") from error
        self._reset_seeds()
        return self.begin(obs)

    def begin(self, obs: VecEnvObs) -> VecEnvObs:
        """Every copy has just been reset from outside to `obs`."""
        self._returns[:], self._lengths[:] = 0.0, 0
        self._check_obs(obs)
        return obs

    def _first_seeds(self) -> Any:
        if self._seeds[0] is None:
            return None
        # SB3 numbers the copies seed + i; neighbouring runs would share episodes, so spread them.
        words = np.random.SeedSequence(self._seeds[0]).generate_state(self.num_envs)
        return int(words[0]) if hasattr(self.env, "reseed") else [int(word) for word in words]

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        self._steps += 1
        try:
            obs, rewards, terminated, truncated, infos = self.env.step(self._actions)
        except Exception as error:
            raise EnvironmentFault(f"step {self._steps} raised {type(error).__name__}: {error}") from error
        self._check_rewards(rewards)
        self._check_obs(obs)
        self._returns += rewards
        self._lengths += 1
        done = terminated | truncated
        ended = np.flatnonzero(done)
        self.last_labels = self._labels(infos, ended)
        out: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in ended:
            out[i] = self._ending(infos, int(i), bool(truncated[i] and not terminated[i]))
        return obs, rewards.astype(np.float32), done, out

    def _ending(self, infos: dict[str, Any], i: int, time_limit: bool) -> dict[str, Any]:
        final = infos["final_obs"]
        final = {name: value[i] for name, value in final.items()} if isinstance(final, dict) else final[i]
        info = {"terminal_observation": final, "TimeLimit.truncated": time_limit}
        episode = {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": 0.0}
        if "coverage" in infos.get("episode", {}):
            episode["coverage"] = float(infos["episode"]["coverage"][i])
        info["episode"] = episode
        self._check_obs(final)
        self._returns[i], self._lengths[i] = 0.0, 0
        success = infos.get("final_info", infos).get("is_success")
        if success is not None:
            info["is_success"] = bool(success[i])
        return info

    @staticmethod
    def _labels(infos: dict[str, Any], ended: np.ndarray) -> dict[str, np.ndarray]:
        """Labels of the state reached: for an ended copy of a foreign environment they lie in its final info."""
        labels = {name: value for name, value in infos.get("labels", {}).items() if not name.startswith("_")}
        final = infos.get("final_info", {}).get("labels", {})
        if final and len(ended):
            # Where every copy ended at once, the plain infos belong to the resets and may lack a name.
            labels = {name: np.array(labels.get(name, final[name])) for name in final if not name.startswith("_")}
            for name, value in labels.items():
                value[ended] = final[name][ended]
        return labels

    def _check_rewards(self, rewards: np.ndarray) -> None:
        if not np.isfinite(rewards).all():
            i = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise EnvironmentFault(f"step {self._steps}: copy {i} returned the reward {rewards[i]}")

    def _check_obs(self, obs: Any) -> None:
        for name in self._floats:
            part = obs if name is None else obs[name]
            if not np.isfinite(part).all():
                where = "" if name is None else f" in {name!r}"
                raise EnvironmentFault(f"step {self._steps}: the observation holds NaN or infinity{where}")

    def close(self) -> None:
        self.env.close()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Running sums of the episodes in progress."""
        return {"returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]

    # ------------------------------------------------------------------ what SB3 may ask of a VecEnv

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [None] * self.num_envs


def _float_parts(space: spaces.Space) -> list[str | None]:
    """Names of the float parts of an observation ([None] for a float array): those that can hold NaN."""
    if isinstance(space, spaces.Dict):
        return [name for name, part in space.spaces.items() if isinstance(part, spaces.Box) and part.dtype.kind == "f"]
    return [None] if isinstance(space, spaces.Box) and space.dtype.kind == "f" else []
