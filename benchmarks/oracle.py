"""How good is the oracle of MiniGrid? Plays evaluation levels of every batched id with its actions.

levels         1,000 evaluation levels, or as many as the id has (see `envs.minigrid.levels`), played in order
success        the share of episodes that the oracle solves
hopeless       episodes proven to be impossible: not even who walks through everything movable could succeed
elsewhere      the share of the others that the oracle solves
no plan        how many of the others began without a plan
length         mean steps of a success
as planned     the share of successes that took as many steps as the plan at the start said. Where obstacles move no
               plan can say it; in a maze too large to prove a plan the shortest, it may become shorter on the way.
ms             median time of a call of the oracle on 64 copies

    python -m benchmarks.oracle [--episodes 1000] [--ids NAME ...]
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from envs import vector
from envs.minigrid import IDS, planner
from sandbox.versions import versions

RESULTS = Path(__file__).parent / "results" / "oracle.json"
COPIES = 64


def outlook(world: Any) -> tuple[np.ndarray, np.ndarray]:
    """[N] lengths of the plans, and [N] whether success is impossible."""
    return world.plan_lengths(), planner.hopeless(world.grids, world.bodies, world.rules)


def play(world: Any, episodes: int) -> tuple[list[tuple[int, int, bool, bool]], list[float]]:
    """(planned, played, success, hopeless) of each episode, and the seconds of each call of the oracle.

    Copy n plays evaluation levels n, n + N ... in order, so that the first episodes to begin are the first levels.
    """
    world.reset(seed=0)
    planned, hopeless = outlook(world)
    number = np.arange(world.num_envs)  # of the episode that each copy plays
    played, seconds = {}, []
    while (number < episodes).any():
        start = time.perf_counter()
        actions = world.oracle()
        seconds.append(time.perf_counter() - start)
        _, _, terminated, truncated, infos = world.step(actions)
        done = terminated | truncated
        if not done.any():
            continue
        for n in np.flatnonzero(done):
            length, success = int(infos["episode"]["l"][n]), bool(infos["is_success"][n])
            played[int(number[n])] = (int(planned[n]), length, success, bool(hopeless[n]))
        number[done] += world.num_envs
        for old, new in zip((planned, hopeless), outlook(world), strict=True):
            old[done] = new[done]
    return [played[k] for k in range(episodes)], seconds


def measure(env_id: str, episodes: int) -> dict[str, Any] | None:
    """One row of the table; None where there is no oracle."""
    world: Any = vector.make(env_id, COPIES, split="eval", eval_levels=episodes)
    if not world.has_oracle:
        return None
    world.reset(seed=0)
    world.oracle()  # compiles
    rows, seconds = play(world, episodes)
    planned, length, success, hopeless = np.array(rows).T
    won = success == 1
    return {
        "id": env_id,
        "levels": len(world.levels),
        "episodes": episodes,
        "success": round(float(won.mean()), 4),
        "hopeless": int(hopeless.sum()),
        "elsewhere": round(float(won[hopeless == 0].mean()), 4),
        "no plan": int(((planned < 0) & (hopeless == 0)).sum()),
        "length": round(float(length[won].mean()), 1),
        "as planned": round(float((length == planned)[won].mean()), 4),
        "ms": round(1e3 * float(np.median(seconds)), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--ids", nargs="+", default=IDS, metavar="NAME")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    without = []
    for env_id in options.ids:
        row = measure(env_id, options.episodes)
        if row is None:
            without.append(env_id)
            continue
        if not rows:
            print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}")
        rows.append(row)
        print(f"| {' | '.join(str(value) for value in row.values())} |", flush=True)
    print(f"No oracle: {', '.join(without) or 'none'}")
    if tuple(options.ids) == IDS:
        made = {"command": f"python -m benchmarks.oracle --episodes {options.episodes}", "versions": versions()}
        report = made | {"minigrid": version("minigrid"), "no oracle": without, "rows": rows}
        RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
