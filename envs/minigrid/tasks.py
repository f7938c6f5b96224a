"""What distinguishes Minigrid's tasks once their levels are drawn: size, time limit, sight, and one end rule.

Reaching a goal ends every task with a reward, lava ends it without; what comes on top, by the rule's name:

    REACH          nothing
    PICK           reward for a pick-up action with the marked object in the hands
    OPEN           reward once the marked door is open
    FETCH          whatever is in the hands ends the episode; reward if it is marked
    GO_TO          toggling ends it; "done" ends it, with a reward beside TARGET
    PUT_NEAR       picking up anything unmarked ends it; so does a drop, with a reward if within one cell of TARGET
    OPEN_IN_ORDER  the door at OTHER being open ends it, with a reward if the (marked) door at TARGET was open before
    MEMORY         standing on TARGET ends it with a reward, on OTHER without; a pick-up action is a toggle
    AVOID          three actions; balls move before the agent does; running into a ball or wall costs 1 and ends it
    FREE           nothing at all is asked

Source: minigrid 3.2, `step` of each class below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REACH, PICK, OPEN, FETCH, GO_TO, PUT_NEAR, OPEN_IN_ORDER, MEMORY, AVOID, FREE = range(10)
RULE_OF_CLASS = {
    "EmptyEnv": REACH,
    "FourRoomsEnv": REACH,
    "DoorKeyEnv": REACH,
    "MultiRoomEnv": REACH,
    "CrossingEnv": REACH,
    "LavaGapEnv": REACH,
    "DistShiftEnv": REACH,
    "LockedRoomEnv": REACH,
    "KeyCorridorEnv": PICK,
    "UnlockPickupEnv": PICK,
    "BlockedUnlockPickupEnv": PICK,
    "ObstructedMaze_1Dlhb": PICK,
    "ObstructedMaze_Full": PICK,
    "ObstructedMaze_Full_V1": PICK,
    "UnlockEnv": OPEN,
    "FetchEnv": FETCH,
    "GoToDoorEnv": GO_TO,
    "GoToObjectEnv": GO_TO,
    "PutNearEnv": PUT_NEAR,
    "RedBlueDoorEnv": OPEN_IN_ORDER,
    "MemoryEnv": MEMORY,
    "DynamicObstaclesEnv": AVOID,
    "PlaygroundEnv": FREE,
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

    @property
    def actions(self) -> int:
        """How many of Minigrid's seven actions there are."""
        return 3 if self.rule == AVOID else 7


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


def is_marked(env: Any, rule: int, thing: Any) -> bool:
    """Is `thing` what the end rule of an unwrapped Minigrid environment is about? Fetch and PutNear go by looks, the
    others by identity."""
    if rule == FETCH:
        return (thing.type, thing.color) == (env.targetType, env.targetColor)
    if rule == PUT_NEAR:
        return (thing.type, thing.color) == (env.move_type, env.moveColor)
    name = {PICK: "obj", OPEN: "door", OPEN_IN_ORDER: "red_door"}.get(rule)
    return name is not None and thing is getattr(env, name)


def places_of(env: Any, rule: int) -> tuple[int, int]:
    """(TARGET, OTHER) of an unwrapped Minigrid environment as cell numbers y * width + x, -1 where there is none."""
    if rule in (GO_TO, PUT_NEAR):
        return _cell(env, env.target_pos), -1
    if rule == MEMORY:
        return _cell(env, env.success_pos), _cell(env, env.failure_pos)
    if rule == OPEN_IN_ORDER:
        return env.grid.grid.index(env.red_door), env.grid.grid.index(env.blue_door)
    return -1, -1


def obstacles_of(env: Any, rule: int) -> list[int]:
    """Cell numbers of the balls that move, in the order in which they do."""
    return [_cell(env, ball.cur_pos) for ball in env.obstacles] if rule == AVOID else []


def _cell(env: Any, place: Any) -> int:
    return int(place[1]) * env.width + int(place[0])
