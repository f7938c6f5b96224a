"""Does a run that is killed again and again, and each time resumed, end bit for bit like one that never was?

One run is made without interruption. The same run is then killed by SIGKILL at seeded random instants, half of
them inside the writing of a checkpoint, and resumed until it ends; equal means the same SHA-256 of the last
checkpoint's tensors and of metrics.jsonl, and the same final evaluation. Done for a world that saves its state (20
kills) and for one that starts fresh episodes at every checkpoint (4 kills).

    python studies/kill_resume.py [--out FOLDER]      writes studies/results/kill_resume.json; takes a few minutes
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.checkpoint import FAILPOINTS
from sandbox.runs import Run, find_runs
from sandbox.terminal import last_row
from sandbox.versions import versions

RESULT = Path(__file__).parent / "results" / "kill_resume.json"
WAIT = 300.0  # seconds that one piece may take


@dataclass(frozen=True)
class Case:
    """One run and how often it is killed. `checkpoints`: rollouts between two of them."""

    agent: str
    env: str
    steps: int
    checkpoints: int
    kills: int


CASES = (
    Case("ppo+noveld", "MiniGrid-MultiRoom-N4-S5-v0", 120 * 8192, 2, 20),
    Case("ppo+noveld", "CartPole-v1", 40 * 1024, 2, 4),
)


def command(case: Case, out: Path) -> list[str]:
    words = [sys.executable, "-m", "sandbox", "train", case.agent, "--env", case.env, "--steps", str(case.steps)]
    settings = [f"checkpoint_rollouts={case.checkpoints}", "evaluation.points=4", "evaluation.episodes=50"]
    return [*words, "--out", str(out), *(word for setting in settings for word in ("--set", setting))]


def environment(failpoint: str = "") -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "SANDBOX_FAILPOINT": failpoint}


def whole(case: Case, out: Path) -> Run:
    """The uninterrupted run."""
    subprocess.run(command(case, out), env=environment(), check=True, stdout=subprocess.DEVNULL)
    return find_runs(out)[0]


def step_of(out: Path) -> int:
    """The step of the last row of metrics, 0 where there is none yet."""
    found = find_runs(out) if out.is_dir() else []
    return int(last_row(found[0].metrics_file).get("step", 0)) if found else 0


def newest(out: Path) -> int:
    """The step of the newest checkpoint, 0 where there is none yet."""
    return max((int(path.name[5:]) for path in out.rglob("step-*")), default=0)


def kill_once(case: Case, out: Path, draw: random.Random, failpoint: str) -> dict[str, Any]:
    """Start (or resume) the run and kill it: at the failpoint, or a random time after it began to learn."""
    process = subprocess.Popen(
        command(case, out), env=environment(failpoint), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if not failpoint:
        _wait_until_learning(process, out)
        time.sleep(draw.uniform(0.0, 1.0))
        process.kill()
    code = process.wait(WAIT)
    return {
        "at": failpoint or "random instant",
        "killed": code == -signal.SIGKILL,
        "step": step_of(out),
        "checkpoint": newest(out),
    }


def _wait_until_learning(process: subprocess.Popen[bytes], out: Path) -> None:
    """A resumed run first cuts the metrics back to its checkpoint; rows beyond that are its own."""
    before, kept, deadline = _metrics(out), newest(out), time.monotonic() + WAIT
    while process.poll() is None and time.monotonic() < deadline:
        if _metrics(out) != before and step_of(out) > kept:
            return
        time.sleep(0.005)


def _metrics(out: Path) -> tuple[int, int]:
    found = list(out.rglob("metrics.jsonl"))
    return (found[0].stat().st_mtime_ns, found[0].stat().st_size) if found else (0, 0)


def killed_and_resumed(case: Case, out: Path, seed: int) -> tuple[Run, list[dict[str, Any]]]:
    """The run that was killed `case.kills` times, and where."""
    draw, kills = random.Random(seed), []
    for i in range(case.kills):
        failpoint = f"{draw.choice(FAILPOINTS)}:{draw.randint(1, 3)}" if i % 2 else ""
        kills.append(kill_once(case, out, draw, failpoint))
        print(f"  kill {i + 1:2d}: {kills[-1]}", flush=True)
    subprocess.run(command(case, out), env=environment(), check=True, stdout=subprocess.DEVNULL)
    return find_runs(out)[0], kills


def fingerprint(run: Run) -> dict[str, Any]:
    last = max(run.checkpoints.glob("step-*"))
    result = run.result
    assert result is not None
    return {
        "tensors_sha256": hashlib.sha256((last / "tensors.safetensors").read_bytes()).hexdigest(),
        "metrics_sha256": hashlib.sha256(run.metrics_file.read_bytes()).hexdigest(),
        "steps": result["steps"],
        "return": result["return"]["mean"],
    }


def study(case: Case, root: Path, seed: int) -> dict[str, Any]:
    print(f"{case.agent} in {case.env}, {case.steps:,} steps, {case.kills} kills", flush=True)
    expected = fingerprint(whole(case, root / "whole"))
    run, kills = killed_and_resumed(case, root / "killed", seed)
    found = fingerprint(run)
    equal = found == expected and all(kill["killed"] for kill in kills)
    print(f"  uninterrupted {expected}\n  killed        {found}\n  {'EQUAL' if equal else 'NOT EQUAL'}", flush=True)
    return {"case": vars(case), "kills": kills, "uninterrupted": expected, "killed": found, "equal": equal}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULT.parent, help="folder of the result")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="kill_resume-"))
    try:
        cases = [study(case, root / str(i), options.seed + i) for i, case in enumerate(CASES)]
    finally:
        shutil.rmtree(root, ignore_errors=True)
    made = shlex.join(["python", "-m", "studies.kill_resume", *sys.argv[1:]])
    result = {"command": made, "versions": versions(), "cases": cases, "equal": all(one["equal"] for one in cases)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / RESULT.name).write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0 if result["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
