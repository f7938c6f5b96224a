"""What whole runs cost: peak memory of one, and what two at once gain over one after the other."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.interleave import Process, spread
from benchmarks.table import CONTENDERS, KEYCORRIDOR, MULTIROOM

AGENT = "ppo+counts"
LEARNER = CONTENDERS["ppo+counts loop"]  # the same agent and world, without start, files and evaluations
TURNS = 5  # of one learner alone and two at once, in each round
IMPORTS = "import torch, numba, gymnasium, stable_baselines3, minigrid, tensorboard"
TRAIN = "from sandbox.cli import app; app({arguments!r}, standalone_mode=False)"
# Random keys: every one is a new view, the worst that can happen to the table.
FILL = """
import numpy as np
from agents.curiosity._visits import LifelongCounts
table, rng = LifelongCounts({max_views}), np.random.default_rng(0)
for _ in range({views} // 8192):
    table.add(rng.integers(1, 2**62, 8192))
"""
# Not getrusage: its peak begins with that of the process which started this one.
REPORT = """
import re
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def peak_mb(code: str) -> float:
    """Largest resident memory, in MB, of a fresh Python that runs `code` (Linux only)."""
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode} of\n{code}\n{done.stderr}")
    return int(done.stdout.split()[-1]) / 1024


def memory(steps: int) -> dict[str, Any]:
    """Peaks of: the imports alone; a default run; the lifelong table when many more views arrive than it may hold."""
    rows = [{"what": "imports alone (torch, numba, gymnasium, ...)", "mb": peak_mb(IMPORTS)}]
    for env in (MULTIROOM, KEYCORRIDOR):
        arguments = ["train", AGENT, "--env", env, "--steps", str(steps)]
        with tempfile.TemporaryDirectory() as folder:
            peak = peak_mb(TRAIN.format(arguments=[*arguments, "--out", folder]))
        rows.append({"what": f"`sandbox {' '.join(arguments)}`", "mb": peak})
    empty = peak_mb(FILL.format(max_views=2**20, views=0))
    for views in (2**20, 2**22, 2**23):
        what = f"lifelong table alone after {views:,} different views (max_views 2^20)"
        rows.append({"what": what, "mb": peak_mb(FILL.format(max_views=2**20, views=views)) - empty})
    return {"rows": rows}


def compare_seconds(steps: int, jobs: int) -> float:
    """Wall seconds of a study of two runs, start to end."""
    with tempfile.TemporaryDirectory() as folder:
        study = ["compare", AGENT, "--env", MULTIROOM, "--seeds", "2", "--steps", str(steps), "--jobs", str(jobs)]
        start = time.perf_counter()
        command = [sys.executable, "-m", "sandbox", *study, "--out", f"{folder}/study"]
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start


def two_learners(turns: int) -> list[float]:
    """t(one) / t(two at once) of bare learners that are warm: the efficiency that the machine allows, one a turn."""
    found = []
    with Process(LEARNER) as one, Process(LEARNER) as other:
        for _ in range(turns):
            alone = [process.turn()["wall"] for process in (one, other)]
            one.begin()
            other.begin()
            found.append(sum(alone) / (2 * max(one.answer()["wall"], other.answer()["wall"])))
    return found


def jobs(steps: int, rounds: int) -> dict[str, Any]:
    """Efficiency = t(one job) / (2 t(two jobs)): 1 where two runs at once take half the time of one after the other."""
    times, bare = [], []
    for _ in range(rounds):
        times.append({jobs: compare_seconds(steps, jobs) for jobs in (1, 2)})
        bare += two_learners(TURNS)
    efficiency = spread([pair[1] / (2 * pair[2]) for pair in times])
    seconds = {str(jobs): spread([pair[jobs] for pair in times]) for jobs in (1, 2)}
    command = f"sandbox compare {AGENT} --env {MULTIROOM} --seeds 2 --steps {steps} --jobs 1|2"
    found = {"study": command, "rounds": rounds, "seconds": seconds, "efficiency": efficiency, "target": 0.9}
    return found | {"bare": spread(bare)}
