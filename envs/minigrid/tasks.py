"""What distinguishes Minigrid's tasks once their levels are drawn: size, time limit, sight, and one end rule.

Reaching a goal ends every task with a reward, lava ends it without; two rules come on top (minigrid 3.2,
`UnlockEnv.step`, `KeyCorridorEnv.step`, `UnlockPickupEnv.step`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REACH, PICK, OPEN = range(3)  # the goal only; pick up the marked object; open the marked door
RULE_OF_CLASS = {
    "EmptyEnv": REACH,
    "FourRoomsEnv": REACH,
    "DoorKeyEnv": REACH,
    "MultiRoomEnv": REACH,
    "CrossingEnv": REACH,
    "LavaGapEnv": REACH,
    "LockedRoomEnv": REACH,
    "KeyCorridorEnv": PICK,
    "UnlockPickupEnv": PICK,
    "UnlockEnv": OPEN,
}
VIEW_SIZE = 7


@dataclass(frozen=True)
class Task:
    """What all levels of an id share; `width` and `height` in cells, `max_steps` in steps."""

    width: int
    height: int
    max_steps: int
    see_through: bool
    rule: int


def task_of(env: Any) -> Task:
    """The task of an unwrapped Minigrid environment.

    Raises:
        ValueError: if its class has no proof of parity here, or its view is not 7 x 7.
    """
    import minigrid.envs

    name = type(env).__name__
    if name not in RULE_OF_CLASS or type(env) is not getattr(minigrid.envs, name, None):
        raise ValueError(f"{name} is not batched; supported are Minigrid's own {', '.join(RULE_OF_CLASS)}")
    if env.agent_view_size != VIEW_SIZE:
        raise ValueError(f"agent_view_size must be {VIEW_SIZE}, got {env.agent_view_size}")
    return Task(env.width, env.height, env.max_steps, bool(env.see_through_walls), RULE_OF_CLASS[name])


def marked_object(env: Any, rule: int) -> Any:
    """The object that the end rule of an unwrapped Minigrid environment is about, or None."""
    return {REACH: None, PICK: getattr(env, "obj", None), OPEN: getattr(env, "door", None)}[rule]
