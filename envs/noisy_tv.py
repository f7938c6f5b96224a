"""NoisyTV: MultiRoom with a television, which shows something new every time and teaches nothing.

By default an extra action replaces the view by random symbols until the next step, so that an agent that is paid for
what it cannot predict has no reason to leave the first room. In the form that is always on, the far rows of every view
are random whatever the agent does, so that no view comes twice.

Source: Raileanu & Rocktaeschel 2020, "RIDE", whose MultiRoomNoisyTV has a television that an action triggers; the
wrapper of "Beyond Noisy-TVs" (arXiv 2509.25438), whose extra actions replace the whole picture, as here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.batched import SingleCopy
from envs.compiled import njit
from envs.minigrid.codes import COLOURS, VIEW, WALL
from envs.minigrid.levels import load_pool
from envs.minigrid.physics import DONE
from envs.minigrid.tasks import VIEW_SIZE
from envs.minigrid.world import MiniGridWorld, Split
from envs.splitmix import GOLDEN, below, words

IDS = (
    "NoisyTV-MultiRoom-N4-S5-v0",
    "NoisyTV-MultiRoom-N4-S5-AlwaysOn-v0",
    "NoisyTV-MultiRoom-N6-v0",
    "NoisyTV-MultiRoom-N6-AlwaysOn-v0",
)
TV = 7  # the extra action
LOOKS = (WALL + 1) * len(COLOURS)


class NoisyTV(MiniGridWorld):
    """
    ## Description
    Minigrid's MultiRoom (levels, steps, rewards, end rule: see `envs.minigrid.world`) with a television. Random
    symbols are drawn for each cell on its own, evenly over Minigrid's 11 kinds of things x 6 colours, from a word that
    belongs to the world's state.

    ## Action Space
    `Discrete(8)`: Minigrid's seven actions, and 7, the television: it costs a step, changes nothing else, and the view
    that follows is random. With `always_on=True` `Discrete(7)`, Minigrid's.

    ## Observation Space
    Dict of `image` (7, 7, 3) uint8 and `direction` Discrete(4), as in MiniGrid; of a view with noise, the farthest
    `rows` rows of `image` are random.

    ## Rewards
    1 - 0.9 * (steps / max_steps) for reaching the goal, else 0.

    ## Termination
    At the goal. Truncated after 20 steps a room.

    ## Labels
    As in MiniGrid; and `tv`, 1 while the view is random (not where it always is).

    ## Cells
    The agent's position. `exploration()` adds `watched`, the share of all steps since `reset` that went to the
    television (not where it is always on).

    ## Oracle
    MiniGrid's planner; it never looks.

    Args:
        num_envs: number of copies.
        rooms: the id of a MiniGrid-MultiRoom.
        always_on: every view has noise, and there is no extra action.
        rows: how many rows of a view with noise are random, 1 to 7; by default 7, always on 2.
        split, levels, eval_levels: see `envs.minigrid.make`.
        emit_labels: see `BatchedWorld`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        rooms: str = "MiniGrid-MultiRoom-N4-S5-v0",
        always_on: bool = False,
        rows: int | None = None,
        split: Split = "train",
        levels: int = 4096,
        eval_levels: int = 512,
        emit_labels: bool = False,
    ) -> None:
        if not rooms.startswith("MiniGrid-MultiRoom-"):
            raise ValueError(f"rooms must be the id of a MiniGrid-MultiRoom, got {rooms!r}")
        self.always_on, self.rows = always_on, (2 if always_on else VIEW_SIZE) if rows is None else rows
        if not 1 <= self.rows <= VIEW_SIZE:
            raise ValueError(f"rows must lie in 1..{VIEW_SIZE}, got {rows}")
        self.extra_actions = 0 if always_on else 1
        self.noisy = np.full(num_envs, always_on)  # does the present view have noise
        self.shown = np.zeros(num_envs, np.int64)  # the words that the noise follows from
        self.spent = np.zeros(2, np.int64)  # steps since `reset`, and how many of them went to the television
        super().__init__(load_pool(rooms, {}, levels, eval_levels), num_envs, split=split, emit_labels=emit_labels)
        if not always_on:
            self.label_spaces = self.label_spaces | {"tv": spaces.Discrete(2)}

    def _begin(self, copies: np.ndarray) -> None:
        super()._begin(copies)
        self.noisy[copies] = self.always_on
        if self.always_on:
            self.shown[copies] = words(self.np_random, len(copies))

    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        watching = (np.asarray(actions) == TV) & (not self.always_on)
        moved = super()._move(np.where(watching, DONE, actions))  # in a MultiRoom DONE does nothing
        self.noisy = watching | self.always_on
        self.spent += self.num_envs, watching.sum()
        if self.noisy.any():
            self.shown = words(self.np_random, self.num_envs)
        return moved

    def _look(self, copies: np.ndarray, obs: dict[str, np.ndarray]) -> None:
        super()._look(copies, obs)
        scramble(obs["image"], copies, self.noisy, self.shown, self.rows)

    def labels(self) -> dict[str, np.ndarray]:
        """MiniGrid's, and `tv`."""
        return super().labels() | ({} if self.always_on else {"tv": self.noisy.astype(np.int64)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        self.spent[:] = 0
        return super().reset(seed=seed, options=options)

    def exploration(self) -> dict[str, float]:
        """As every world, and `watched`."""
        steps, watched = self.spent.tolist()
        return super().exploration() | ({"watched": watched / steps} if steps and not self.always_on else {})

    def state_dict(self) -> dict[str, np.ndarray]:
        mine = {"noisy": self.noisy.copy(), "shown": self.shown.copy(), "spent": self.spent.copy()}
        return super().state_dict() | mine

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        super().load_state_dict(state)
        self.noisy, self.shown, self.spent = (state[name].copy() for name in ("noisy", "shown", "spent"))


@njit(cache=True)
def scramble(image, copies, noisy, shown, rows):  # type: ignore[no-untyped-def]
    """Random symbols into the farthest `rows` rows of image [N, 7, 7, 3], in those of `copies` that are noisy."""
    for n in copies:
        if not noisy[n]:
            continue
        state = np.uint64(shown[n])
        for row in range(rows):
            for i in range(VIEW_SIZE):
                state += GOLDEN
                look = below(state, LOOKS)
                symbol = VIEW[look // 6 << 3 | look % 6]
                image[n, i, row, 0], image[n, i, row, 1], image[n, i, row, 2] = symbol[0], symbol[1], symbol[2]


def make_single(**kwargs: Any) -> SingleCopy:
    """The one-copy environment (Gymnasium's entry point)."""
    return SingleCopy(NoisyTV(1, **kwargs))
