"""Preallocated tensors of one rollout: what SB3's RolloutBuffer lacks (true successors, two streams) and nothing else.

The `Rollout` that `finish` returns is a view of these tensors: it is valid until the next rollout begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from agents.faults import EnvironmentFault
from agents.rollout import Index, Obs, Rollout


class RolloutStorage:
    """Takes the arguments of SB3's `rollout_buffer_class`; `heads` is the number of value streams."""

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "cpu",
        gae_lambda: float = 1,
        gamma: float = 0.99,
        n_envs: int = 1,
        heads: int = 1,
    ) -> None:
        self.shape = shape = (buffer_size, n_envs)
        self.device = torch.device(device)
        self.obs, self.next_obs = self._obs(observation_space), self._obs(observation_space)
        actions_type = torch.float32 if isinstance(action_space, spaces.Box) else torch.int64
        self.actions = self._zeros(*shape, *(action_space.shape or ()), dtype=actions_type)
        self.rewards, self.log_probs, self.mixed = self._zeros(*shape), self._zeros(*shape), self._zeros(*shape)
        self.terminated, self.truncated = self._zeros(*shape, dtype=torch.bool), self._zeros(*shape, dtype=torch.bool)
        self.values, self.advantages, self.returns = (self._zeros(heads, *shape) for _ in range(3))
        self.labels: dict[str, Tensor] = {}
        # One view per step: indexing a tensor costs more than copying such short rows.
        self._obs_rows = {name: part.unbind(0) for name, part in self._parts(self.obs)}
        per_step = (self.actions, self.log_probs, self.rewards, self.terminated, self.truncated)
        self._rows = [part.unbind(0) for part in per_step]
        self._value_rows = self.values.unbind(1)
        self.reset()

    @staticmethod
    def _parts(obs: Obs) -> list[tuple[str, Tensor]]:
        return list(obs.items()) if isinstance(obs, dict) else [("", obs)]

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def _obs(self, space: spaces.Space) -> Obs:
        if isinstance(space, spaces.Dict):
            return {name: self._part(part) for name, part in space.spaces.items()}
        return self._part(space)

    def _part(self, space: spaces.Space) -> Tensor:
        sample = torch.as_tensor(np.zeros(1, space.dtype))
        dtype = torch.float32 if sample.is_floating_point() else sample.dtype
        return self._zeros(*self.shape, *(space.shape or ()), dtype=dtype)

    def reset(self) -> None:
        self.step = 0
        self._finals: list[tuple[int, int, Any]] = []  # (t, n, the last observation of the episode)

    def add_step(
        self,
        obs: Obs,
        actions: Tensor,
        values: Tensor,
        log_probs: Tensor,
        rewards: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Step t of every copy, as SB3's `VecEnv.step` returned it."""
        t = self.step
        for name, value in self._parts(obs):
            row = self._obs_rows[name][t]
            row.copy_(value.reshape(row.shape))
        dones, time_limits = np.asarray(dones, bool), np.zeros(len(dones), bool)
        for n in np.flatnonzero(dones).tolist():
            time_limits[n] = infos[n].get("TimeLimit.truncated", False)
            if "terminal_observation" not in infos[n]:
                raise EnvironmentFault(f"copy {n} ended without info['terminal_observation'] (SB3's VecEnv contract)")
            self._finals.append((t, n, infos[n]["terminal_observation"]))
        ends = torch.from_numpy(dones & ~time_limits), torch.from_numpy(time_limits)
        for rows, value in zip(self._rows, (actions, log_probs, torch.as_tensor(rewards), *ends), strict=True):
            rows[t].copy_(value)
        self._value_rows[t].copy_(values)
        self.step += 1

    def add_labels(self, labels: dict[str, np.ndarray]) -> None:
        """Ground truth of the state that the step just added reached."""
        for name, value in labels.items():
            tensor = torch.as_tensor(value, device=self.device)
            if name not in self.labels:
                self.labels[name] = self._zeros(self.shape[0], *tensor.shape, dtype=tensor.dtype)
            self.labels[name][self.step - 1] = tensor

    def finish(self, last_obs: Obs) -> Rollout:
        """The rollout with true successors; `last_obs` is what follows step T-1 (of the next episode at an end)."""
        self.last_obs = last_obs
        if isinstance(self.obs, dict):
            for name in self.obs:
                finals = [(t, n, final[name]) for t, n, final in self._finals]
                self._successors(self.obs[name], self.next_obs[name], last_obs[name], finals)  # type: ignore[index]
        else:
            self._successors(self.obs, self.next_obs, last_obs, self._finals)  # type: ignore[arg-type]
        return Rollout(
            self.obs, self.actions, self.next_obs, self.rewards, self.terminated, self.truncated, dict(self.labels)
        )

    @staticmethod
    def _successors(obs: Tensor, out: Tensor, last: Tensor, finals: list[tuple[int, int, Any]]) -> None:
        out[:-1] = obs[1:]
        out[-1] = last.reshape(out[-1].shape)
        if finals:
            t, n = [f[0] for f in finals], [f[1] for f in finals]
            stacked = np.stack([np.asarray(f[2]) for f in finals])
            out[t, n] = torch.as_tensor(stacked, dtype=out.dtype, device=out.device).reshape(-1, *out.shape[2:])

    def minibatches(self, batch_size: int) -> Iterator[Tensor]:
        """Flat, time-major indices t * N + n of one epoch. SB3 flattens environment-major and permutes by numpy's
        global generator: so do we, that equal seeds give equal minibatches."""
        steps, n_envs = self.shape
        order = np.random.permutation(steps * n_envs)  # noqa: NPY002
        flat = torch.as_tensor(order % steps * n_envs + order // steps, device=self.device)
        yield from flat.split(batch_size)

    def pairs(self, index: Tensor) -> Index:
        """(t, n) of flat indices."""
        return torch.div(index, self.shape[1], rounding_mode="floor"), index % self.shape[1]

    @staticmethod
    def take(tensor: Tensor, index: Tensor) -> Tensor:
        """The rows `index` (flat) of a [T, N, ...] tensor."""
        return tensor.flatten(0, 1).index_select(0, index)
