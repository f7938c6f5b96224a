"""Does the compiled MiniGrid equal Minigrid? Steps both side by side on every batched id and counts differences.

A step matches if view, direction, reward (to 1e-12), terminated and truncated are equal. Each level is played until
the number of steps is reached, restarted where an episode ends: once with random actions, once with the oracle's,
a quarter of which are replaced by random ones.

    python -m benchmarks.parity [--levels 20] [--steps 300]
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from envs.minigrid import IDS, mirror
from envs.minigrid.levels import new_env
from sandbox.runs import versions

RESULTS = Path(__file__).parent / "results" / "parity.json"
NOISE = {"random": 1.0, "oracle": 0.25}


def differs(theirs: tuple[Any, ...], ours: tuple[Any, ...]) -> bool:
    """Is any part of two steps unequal?"""
    same_view = np.array_equal(theirs[0]["image"], ours[0]["image"][0])
    same_turn = theirs[0]["direction"] == ours[0]["direction"][0]
    same_reward = abs(theirs[1] - ours[1][0]) <= 1e-12
    same_end = (theirs[2], theirs[3]) == (bool(ours[2][0]), bool(ours[3][0]))
    return not (same_view and same_turn and same_reward and same_end)


def compare_level(env: Any, seed: int, steps: int, noise: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """(mismatches, episodes, successes) in `steps` steps on the level of `seed`."""
    mismatches = episodes = successes = 0
    world = None
    for _ in range(steps):
        if world is None:
            first, _ = env.reset(seed=seed)
            world = mirror(env)
            obs, _ = world.reset()
            mismatches += not np.array_equal(first["image"], obs["image"][0])
            episodes += 1
        action = int(rng.integers(7) if rng.random() < noise else world.oracle()[0])
        theirs, ours = env.step(action), world.advance(np.array([action]))
        mismatches += differs(theirs, ours)
        successes += theirs[1] > 0
        if theirs[2] or theirs[3]:
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
