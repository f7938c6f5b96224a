"""Does the compiled MiniGrid equal Minigrid? Steps both side by side on every batched id and counts differences.

A step matches if view, direction, mission (where it is observed), reward, terminated and truncated are equal. Each
level is played until the number of steps is reached, restarted where an episode ends: once with random actions, once
with the oracle's, a quarter of which are replaced by random ones (Playground has no oracle: random again). Obstacles
that move by chance get the same draws on both sides.

    python -m benchmarks.parity [--levels 20] [--steps 300]
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from envs.minigrid import IDS, mirror, missions
from envs.minigrid.levels import new_env
from envs.minigrid.mirroring import SameDraws
from envs.minigrid.tasks import AVOID
from envs.minigrid.world import MiniGridWorld
from sandbox.versions import versions

RESULTS = Path(__file__).parent / "results" / "parity.json"
NOISE = {"random": 1.0, "oracle": 0.25}


def differs(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Is any part of two observations unequal?"""
    same_words = "mission" not in ours or theirs["mission"] == missions.text(ours["mission"][0])
    same_turn = theirs["direction"] == ours["direction"][0]
    return not (same_words and same_turn and np.array_equal(theirs["image"], ours["image"][0]))


def start(env: Any, seed: int, episode: int) -> tuple[MiniGridWorld, SameDraws | None, bool]:
    """A fresh episode: its mirror, the common source of draws, and whether the first views differ."""
    first, _ = env.reset(seed=seed)
    world = mirror(env)
    unequal = differs(first, world.reset()[0])
    if world.task.rule != AVOID:
        return world, None, unequal
    env.np_random = draws = SameDraws(world, episode)  # the same level, but other draws
    return world, draws, unequal


def compare_level(env: Any, seed: int, steps: int, noise: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """(mismatches, episodes, successes) in `steps` steps on the level of `seed`."""
    mismatches = episodes = successes = 0
    world = None
    for _ in range(steps):
        if world is None:
            world, draws, unequal = start(env, seed, episodes)
            mismatches += unequal
            episodes += 1
        by_chance = not world.has_oracle or rng.random() < noise
        action = int(rng.integers(world.task.actions) if by_chance else world.oracle()[0])
        if draws is not None:
            draws.next_step()
        obs, reward, terminated, truncated, _ = env.step(action)
        seen, *ours, _ = world.advance(np.array([action]))
        mismatches += differs(obs, seen) or [value[0] for value in ours] != [reward, terminated, truncated]
        successes += reward > 0
        if terminated or truncated:
            world = None
    return mismatches, episodes, successes


def compare_id(env_id: str, levels: int, steps: int) -> dict[str, Any]:
    """One row of the table."""
    env, rng = new_env(env_id, {}), np.random.default_rng(0)
    totals = np.zeros(3, int)
    for noise in NOISE.values():
        for seed in range(levels):
            totals += compare_level(env, seed, steps, noise, rng)
    mismatches, episodes, successes = totals.tolist()
    row = {"id": env_id, "levels": levels, "steps": levels * steps * len(NOISE), "episodes": episodes}
    return row | {"successes": successes, "mismatches": mismatches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300, help="of each level and each way to act")
    options = parser.parse_args()
    print("| id | levels | steps | episodes | successes | mismatches |\n|---|---|---|---|---|---|")
    rows = []
    for env_id in IDS:
        rows.append(compare_id(env_id, options.levels, options.steps))
        print(f"| {' | '.join(str(value) for value in rows[-1].values())} |", flush=True)
    total = {name: sum(row[name] for row in rows) for name in ("steps", "episodes", "successes", "mismatches")}
    print(f"| all {len(rows)} | | {' | '.join(str(value) for value in total.values())} |")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made = {"command": "make study-parity", "versions": versions()}
    report = made | {"minigrid": version("minigrid"), "noise": NOISE, "total": total, "rows": rows}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
