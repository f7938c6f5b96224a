"""The typed data that every learner, bonus and objective reads: T steps of N environments.

Axes in every docstring: `T` steps, `N` environments, `B = T*N` flattened, `D` features, `A` actions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

Obs = Tensor | dict[str, Tensor]
Index = tuple[Tensor, Tensor]  # (t [M], n [M]): the steps of a minibatch


def map_obs(function: Callable[[Tensor], Tensor], obs: Obs) -> Obs:
    """Apply `function` to an observation's tensor, or to each tensor of a dict observation."""
    if isinstance(obs, dict):
        return {name: function(value) for name, value in obs.items()}
    return function(obs)


def flatten_obs(obs: Obs) -> Obs:
    """[T, N, ...] -> [B, ...], time-major."""
    return map_obs(lambda x: x.flatten(0, 1), obs)


@dataclass(frozen=True)
class Rollout:
    """T consecutive steps of N environments, as the environments gave them: nothing scaled, nothing bootstrapped.

    Raises:
        ValueError: if the arrays do not share their first two axes.
    """

    obs: Obs  # [T, N, *obs]
    actions: Tensor  # [T, N] int64, or [T, N, A] float32
    next_obs: Obs  # [T, N, *obs]  the true successor, also at episode ends
    rewards: Tensor  # [T, N] extrinsic
    terminated: Tensor  # [T, N] bool
    truncated: Tensor  # [T, N] bool
    labels: dict[str, Tensor] = field(default_factory=dict)  # [T, N, ...] ground truth of `next_obs`; may be empty

    def __post_init__(self) -> None:
        parts: dict[str, Obs] = {"obs": self.obs, "actions": self.actions, "next_obs": self.next_obs}
        parts |= {"terminated": self.terminated, "truncated": self.truncated, "labels": self.labels}
        for name, value in parts.items():
            for tensor in value.values() if isinstance(value, dict) else [value]:
                if tensor.shape[:2] != self.rewards.shape:
                    raise ValueError(
                        f"rollout.{name} begins with {tuple(tensor.shape[:2])}, rewards are {tuple(self.rewards.shape)}"
                    )

    @property
    def done(self) -> Tensor:
        """[T, N] bool: the episode ended at this step, for either reason."""
        return self.terminated | self.truncated

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)"""
        return self.rewards.shape[0], self.rewards.shape[1]
