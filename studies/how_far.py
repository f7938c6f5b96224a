"""How far does the same default reach? Steps and seconds to a success of .95 on unseen levels, or the best in the time.

`ppo+contacts` with every setting at its default. Every million steps the policy of that moment plays 200 episodes on
evaluation levels with sampled actions. A run ends when two evaluations in a row reach .95 (one alone may be luck; the
first of the two is reported) or when its CPU seconds of training are spent (`studies/_timed.py` says what they are).

Of the larger mazes version 1 is taken: in version 0 some levels cannot be solved (docs/results/oracle.md).

    make study-how-far            or: python -m studies.how_far --tasks DoorKey-16x16 --seeds 0 --seconds 600
"""

from __future__ import annotations

import argparse
import functools
from typing import Any

from studies import _timed

EPISODES = 200
EVERY = 122 * 64 * 128  # steps between evaluations: whole rollouts, about a million
MOST = 4000 * EVERY  # steps: a cap that the seconds reach first
KEPT = 40  # points of a curve in the result
TASKS = [
    "DoorKey-16x16", "MultiRoom-N7-S8", "MultiRoom-N10-S10", "MultiRoom-N12-S10", "ObstructedMaze-1Dlh",
    "ObstructedMaze-2Dlh", "KeyCorridorS5R3", "KeyCorridorS6R3", "ObstructedMaze-1Q-v1", "ObstructedMaze-2Q-v1",
    "ObstructedMaze-Full-v1",
]  # fmt: skip


def solved(session: _timed.Timed) -> bool:
    """Did the last two evaluations reach .95?"""
    return len(session.curve) > 1 and min(success for _, _, success in session.curve[-2:]) >= _timed.SOLVED


def enough(session: _timed.Timed, seconds: float) -> bool:
    return session.seconds >= seconds or solved(session)


def run(task: str, seed: int, seconds: float) -> dict[str, Any]:
    """One task and seed; `steps` and `seconds` are those of the first evaluation of the two that solved it, else of
    the last one."""
    _timed.warm_up(task, seed)
    experiment = _timed.experiment(task, MOST, seed, EPISODES, points=MOST // EVERY)
    session = _timed.train(experiment, functools.partial(enough, seconds=seconds))
    curve = session.curve
    steps, spent, _ = curve[-2] if solved(session) else curve[-1]
    return {
        "solved": solved(session),
        "steps": steps,
        "seconds": spent,
        "best": max(success for _, _, success in curve),
        "last": curve[-1][2],
        "episodes": EPISODES,
        "levels": session.levels,
        "curve": curve[:: max(1, len(curve) // KEPT)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=3600.0, help="CPU seconds of training for each run")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    work = [(task, seed, options.seconds) for task in options.tasks for seed in options.seeds]
    _timed.in_processes("how_far", "make study-how-far", run, work, options.jobs)


if __name__ == "__main__":
    main()
