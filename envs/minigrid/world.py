"""N copies of a Minigrid task on arrays, the whole step compiled; see `envs.minigrid.physics` for its formulas."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from envs.batched import BatchedWorld, Observation
from envs.minigrid import labels, missions, physics, planner, reach, views
from envs.minigrid.levels import Pool
from envs.minigrid.physics import DIRECTION, PAD, PITCH, POSITION, TARGET
from envs.minigrid.single import check_view
from envs.minigrid.tasks import AVOID, FREE, VIEW_SIZE

Split = Literal["train", "eval"]
SAVED = ("grids", "bodies", "obstacles", "drawn", "episodes")


class MiniGridWorld(BatchedWorld):
    """Minigrid's grid worlds, N copies at a time, on levels that Minigrid drew.

    ## Description
    The tasks of `envs.minigrid.IDS`: rooms with walls, doors, keys, boxes, balls and lava. Steps equal Minigrid's,
    number for number. Training episodes draw their level uniformly; in the evaluation split, copy n plays in its k-th
    episode since `reset` level (k * N + n) mod size, without chance (but for obstacles that move). `levels_note` says
    whether evaluation levels are unseen in training.

    ## Action Space
    Discrete(7): 0 turn left, 1 turn right, 2 forward, 3 pick up, 4 drop, 5 toggle, 6 done (does nothing but in GoTo).
    DynamicObstacles: Discrete(3), the first three.

    ## Observation Space
    `image`, by default (7, 7, 3) uint8: type, colour and state of each cell before the agent that walls and closed
    doors do not hide, exactly Minigrid's; `envs.minigrid.views` has the whole grid and pictures. The bound is 10, the
    highest code, and not 255, so that no library takes the codes for a picture. `direction` Discrete(4). In Fetch,
    GoToDoor, GoToObject and PutNear also `mission` MultiDiscrete([21] * L): the words of the mission as tokens, see
    `envs.minigrid.missions`, which also says why the others have none.

    ## Rewards
    1 - 0.9 * (steps / max_steps) on success, -1 for running into something in DynamicObstacles, else 0.

    ## Termination
    Reaching the goal; stepping into lava; and by the task's rule, see `envs.minigrid.tasks`. Truncated at `max_steps`
    steps; both can be true at once.

    ## Labels
    Position, direction, what is carried, doors, and what the task is about: see `envs.minigrid.labels`.

    ## Cells
    The agent's position; `envs.minigrid.reach` counts those within reach.

    ## Oracle
    A planner that sees the whole grid and replans at each call; see `envs.minigrid.planner`. Playground asks for
    nothing and has none.

    Args:
        pool: the levels and what they share.
        num_envs: number of copies N.
        split: which levels to draw from.
        emit_labels: put `labels()` into `infos["labels"]`.
        view: "partial", "full" or "rgb".
        tile_size: pixels of a cell, for "rgb".

    Raises:
        ValueError: for an unknown split or view, or tiles smaller than a pixel.
    """

    extra_actions = 0  # beyond Minigrid's own

    def __init__(
        self,
        pool: Pool,
        num_envs: int,
        *,
        split: Split = "train",
        emit_labels: bool = False,
        view: str = "partial",
        tile_size: int = 8,
    ) -> None:
        check_view(view, tile_size)
        image = views.space(view, pool.task.width, pool.task.height, tile_size)
        parts: dict[str, spaces.Space] = {"image": image, "direction": spaces.Discrete(4)}
        observation_space = spaces.Dict(parts | missions.space(pool.task.rule))
        self.cell_shape = (pool.task.height, pool.task.width)
        actions = spaces.Discrete(pool.task.actions + self.extra_actions)
        super().__init__(num_envs, observation_space, actions, emit_labels=emit_labels)
        self.view, self.tile_size, self._image_shape = view, tile_size, (num_envs, *image.shape)
        if split not in ("train", "eval"):
            raise ValueError(f'split must be "train" or "eval", got {split!r}')
        self.task, self.split, self.levels_note = pool.task, split, pool.note
        self.levels = pool.train if split == "train" else pool.evaluation
        self.has_one_level = len(self.levels) == 1
        self.doors = pool.doors
        self.has_oracle = pool.task.rule != FREE
        self.speaks = self.levels.missions.shape[1] > 0
        self.rules = physics.rules_of(pool.task)
        self.places = physics.places_of(pool.task)
        self.grids = physics.empty_grids(pool.task, num_envs)
        self.bodies = np.zeros((num_envs, 6), np.int64)
        self.obstacles = np.zeros((num_envs, self.levels.obstacles.shape[1]), np.int64)
        self.drawn = np.zeros(num_envs, np.int64)  # each copy's level
        self.episodes = np.zeros(num_envs, np.int64)  # begun since `reset`
        self.label_spaces = labels.spaces_of(self)
        self._reachable: np.ndarray | None = None  # of each level
        self._everyone = np.arange(num_envs)
        self._odd: np.ndarray | None = None  # made when a key is asked for
        self._actions = np.zeros(num_envs, np.int64)
        self._success = np.zeros(num_envs, bool)

    # ------------------------------------------------------------------ episodes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        self.episodes[:] = 0
        self._success = np.zeros(self.num_envs, bool)
        return super().reset(seed=seed, options=options)

    def _begin(self, copies: np.ndarray) -> None:
        if self.split == "train":
            self.drawn[copies] = self.np_random.integers(len(self.levels), size=len(copies))
        else:
            self.drawn[copies] = (self.episodes[copies] * self.num_envs + copies) % len(self.levels)
        self.episodes[copies] += 1
        grids, bodies = self.levels.grids, self.levels.bodies
        physics.begin(self.grids, self.bodies, self.rules, copies, grids, bodies, self.drawn[copies])
        if self.task.rule == AVOID:
            rows, columns = np.divmod(self.levels.obstacles[self.drawn[copies]], self.task.width)
            self.obstacles[copies] = (rows + PAD) * self.rules[PITCH] + columns + PAD

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._move(actions)[:3]

    def _move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Rewards, terminated, truncated, and how many copies ended."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(f"actions must be [{self.num_envs}] integers, got {actions.dtype} {actions.shape}")
        self._actions[:] = actions  # always the same memory layout, hence never a second compilation
        rewards = np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, bool), np.empty(self.num_envs, bool)
        hit = self._stir() if self.task.rule == AVOID else None
        state, coverage = (self.grids, self.bodies, self.rules, self._actions), self.coverage
        assert coverage is not None
        ended = physics.advance(*state, coverage.seen, coverage.visits, self.places, rewards, terminated, truncated)
        if ended < 0:
            highest = self.task.actions + self.extra_actions - 1
            raise ValueError(f"actions must lie in 0..{highest}, got {actions.min()}..{actions.max()}")
        if hit is not None:
            rewards[hit], terminated = -1.0, terminated | hit
            ended = np.count_nonzero(terminated | truncated)
        self._success = rewards > 0
        return rewards, terminated, truncated, ended

    def _stir(self) -> np.ndarray:
        """Move the obstacles by chance; [N] bool: who is about to run into what was ahead of him before that."""
        chance = self.np_random.integers(2**64, size=self.num_envs, dtype=np.uint64)
        hit = np.zeros(self.num_envs, bool)
        physics.stir(self.grids, self.bodies, self.rules, self.obstacles, chance, self._actions, hit)
        return hit

    def _observe(self) -> Observation:
        obs: dict[str, np.ndarray] = {
            "image": np.zeros(self._image_shape, np.uint8),
            "direction": np.empty(self.num_envs, np.int64),
        }
        self._look(self._everyone, obs)
        if self.speaks:
            obs["mission"] = self.levels.missions[self.drawn]
        return obs

    def _look(self, copies: np.ndarray, obs: dict[str, np.ndarray]) -> None:
        state, image, direction = (self.grids, self.bodies, self.rules, copies), obs["image"], obs["direction"]
        if self.view == "partial":
            physics.look(*state, image, direction)
        elif self.view == "full":
            views.survey(*state, image, direction)
        else:
            symbols = np.zeros((self.num_envs, VIEW_SIZE, VIEW_SIZE, 3), np.uint8)
            physics.look(*state, symbols, direction)
            views.paint(symbols, views.tiles(self.tile_size), copies, image)

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """`BatchedWorld.step`, but after a reset only the copies concerned look again."""
        if self.revealed or (self.emit_labels and not self.emit_state):
            return super().step(actions)
        rewards, terminated, truncated, ended = self._move(actions)
        self.episode_returns += rewards
        self.episode_lengths += 1
        infos: dict[str, Any] = {"is_success": self._success}
        if self.emit_state:
            infos["labels"] = {"state": self.state_key()}
        obs = self._observe()
        if ended:
            done = terminated | truncated
            copies = np.flatnonzero(done)
            infos |= {"final_obs": obs, "_final_obs": done, "_episode": done}
            infos["episode"] = self._sums()
            self.episode_returns[copies], self.episode_lengths[copies] = 0.0, 0
            self._begin(copies)
            self._enter(copies)
            obs = {name: value.copy() for name, value in obs.items()}
            obs["image"][copies] = 0
            self._look(copies, obs)
            if self.speaks:
                obs["mission"][copies] = self.levels.missions[self.drawn[copies]]
        return obs, rewards, terminated, truncated, infos

    # ------------------------------------------------------------------ ground truth

    def is_success(self) -> np.ndarray:
        """[N] bool: the step just taken was rewarded."""
        return self._success

    def labels(self) -> dict[str, np.ndarray]:
        """Ground truth of the present state; see `envs.minigrid.labels` for the names."""
        return labels.labels_of(self)

    def state_key(self) -> np.ndarray:
        """[N] int64, not below 0: of the whole grid, the agent and the task's places; see `labels.state_keys`."""
        if self._odd is None:
            self._odd = labels.factors(self.grids.shape[1] + len(labels.PARTS))
        keys = np.empty(self.num_envs, np.int64)
        labels.state_keys(self.grids, self.bodies, self._odd, keys)
        return keys

    def oracle(self) -> np.ndarray:
        """[N] int64: the first action of the planner's plan; "done" where there is no way."""
        return self._plans()[0] if self.has_oracle else super().oracle()

    def plan_lengths(self) -> np.ndarray:
        """[N] int64: how many actions the oracle would take to succeed; 0 done, -1 no way."""
        return self._plans()[1]

    def _plans(self) -> tuple[np.ndarray, np.ndarray]:
        actions, lengths = np.empty(self.num_envs, np.int64), np.empty(self.num_envs, np.int64)
        planner.plans(self.grids, self.bodies, self.rules, actions, lengths)
        return actions, lengths

    # ------------------------------------------------------------------ coverage

    def cells(self) -> np.ndarray:
        """[N] int64: y * width + x of the agent."""
        return self.places[self.bodies[:, POSITION]]

    def reachable(self) -> np.ndarray:
        """[N] int64: cells within reach in each copy's level; see `envs.minigrid.reach`."""
        if self._reachable is None:
            self._reachable = reach.reachable(self.levels, self.task)
        return self._reachable[self.drawn]

    def _visit(self) -> None:
        """The compiled step has counted already."""

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, np.ndarray]:
        """Grids, bodies, levels drawn, episodes begun, the last step's success, returns and lengths."""
        mine = {name: getattr(self, name).copy() for name in SAVED}
        return super().state_dict() | mine | {"success": self._success.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a saved state.

        Raises:
            ValueError: if it belongs to another task or number of copies, or points outside the grid.
        """
        for name in SAVED:
            if state[name].shape != getattr(self, name).shape:
                raise ValueError(f"{name} has shape {state[name].shape}, this world needs {getattr(self, name).shape}")
        self._check_places(state)
        super().load_state_dict(state)
        for name in SAVED:
            getattr(self, name)[:] = state[name]
        self._success = state["success"].copy()

    def _check_places(self, state: dict[str, np.ndarray]) -> None:
        """Compiled code trusts positions, targets and obstacles with memory addresses."""
        bodies = state["bodies"]
        places = np.concatenate([bodies[:, [POSITION]], state["obstacles"]], axis=1)
        rows, columns = np.divmod(places, self.rules[PITCH])
        inside = (rows >= PAD) & (rows < PAD + self.task.height) & (columns >= PAD) & (columns < PAD + self.task.width)
        if not inside.all() or not np.isin(bodies[:, DIRECTION], range(4)).all():
            raise ValueError("the saved state has an agent or an obstacle outside the grid")
        targets = bodies[:, TARGET:]
        if (targets < -1).any() or (targets >= self.grids.shape[1]).any():
            raise ValueError("the saved state has a target outside the grid")
