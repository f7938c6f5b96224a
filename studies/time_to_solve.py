"""How long does the default agent need on one core? Fixed steps, final policy, unseen levels, ten seeds.

`ppo+contacts` with every setting at its default, the same for all tasks; nothing was tuned on the seeds reported here
(tuning used seeds from 1000 on). After the fixed number of steps the final policy plays 512 episodes, one on each
evaluation level, with sampled actions. A seed is solved at a success of .95. Seconds are CPU seconds of training alone
(`studies/_timed.py` says what that is).

    make study-time-to-solve            or: python -m studies.time_to_solve --tasks MultiRoom-N6 --seeds 0 1 --jobs 1
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from studies import _timed

EPISODES = 512


class Target(NamedTuple):
    """Steps that are trained; within how many seconds, and on how many of ten seeds, the task should be solved."""

    steps: int
    seconds: float
    solved: int


TARGETS = {
    "MultiRoom-N4-S5": Target(500_000, 4, 10),
    "DoorKey-8x8": Target(450_000, 4, 10),
    "MultiRoom-N6": Target(1_600_000, 12, 10),
    "KeyCorridorS3R3": Target(1_500_000, 15, 10),
    "KeyCorridorS4R3": Target(6_000_000, 60, 8),
    "LockedRoom": Target(16_000_000, 150, 8),
}


def run(task: str, seed: int, steps: int) -> dict[str, Any]:
    """One task and seed: steps, CPU seconds of training, success of the final policy."""
    _timed.warm_up(task, seed)
    session = _timed.train(_timed.experiment(task, steps, seed, EPISODES))
    done, seconds, success = session.curve[-1]
    return {"steps": done, "seconds": seconds, "success": success, "episodes": EPISODES, "levels": session.levels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    work = [(task, seed, TARGETS[task].steps) for task in options.tasks for seed in options.seeds]
    _timed.in_processes("time_to_solve", "make study-time-to-solve", run, work, options.jobs)


if __name__ == "__main__":
    main()
