"""The same runs on the CPU and on a GPU of one machine, side by side: when is `device=cuda` worth it?

    python -m benchmarks.devices            where torch finds CUDA; writes benchmarks/results/devices.json

Steps a second are a run's steps over its wall time, start and four evaluation episodes included; each process has one
thread. A short run of every kind goes before, as the first compiles. All runs are at work at once (twice as many
processes as there are kinds and devices), as in a study on a machine with as many cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks import page
from sandbox.files import write_json
from sandbox.versions import versions

MAZE, PICTURES = "MiniGrid-MultiRoom-N4-S5-v0", "ppo+cnn:shift=true+noveld+inverse"
RENDERED = ("--set", "world.kwargs={view='rgb'}")
KINDS: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "symbols, ppo+counts": ("ppo+counts", MAZE, 131_072, ()),
    "symbols, ppo+rnd": ("ppo+rnd", MAZE, 65_536, ()),
    "pictures, PixelGoal": (PICTURES, "PixelGoal-v0", 32_768, ()),
    "pictures, DoorKey-5x5 as it is drawn": (PICTURES, "MiniGrid-DoorKey-5x5-v0", 32_768, RENDERED),
}
SEEDS, FIRST = 2, 8_192
SHORT = ("--set", "evaluation.points=1", "--set", "evaluation.episodes=4")


def begin(kind: str, device: str, seed: int, steps: int, folder: Path) -> subprocess.Popen[bytes]:
    agent, env, _, more = KINDS[kind]
    words = ["train", agent, "--env", env, "--steps", str(steps), "--seed", str(seed), "--set", f"device={device}"]
    where = ("--out", str(folder / device / kind))
    return subprocess.Popen([sys.executable, "-m", "sandbox", *words, *SHORT, *more, *where], stdout=subprocess.DEVNULL)


def together(seeds: int, steps: int | None, folder: Path) -> None:
    """Runs of every kind and seed on both devices, all at once."""
    kinds = [(kind, device, seed) for kind in KINDS for device in ("cpu", "cuda") for seed in range(seeds)]
    for process in [begin(*one, steps or KINDS[one[0]][2], folder) for one in kinds]:
        if process.wait():
            raise RuntimeError(f"exit code {process.returncode} of {process.args!r}")


def speeds(folder: Path) -> list[float]:
    """Steps a second of each run below `folder`."""
    results = [json.loads(path.read_text()) for path in sorted(folder.rglob("result.json"))]
    return [round(one["steps"] / one["cost"]["wall_seconds"]) for one in results]


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        together(1, FIRST, folder / "first")
        together(SEEDS, None, folder)
        return {kind: {device: speeds(folder / device / kind) for device in ("cpu", "cuda")} for kind in KINDS}


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("torch finds no CUDA here: nothing to compare")
    made = {"command": "python -m benchmarks.devices", "date": datetime.now(UTC).date().isoformat()}
    made |= {"versions": versions(), "gpu": torch.cuda.get_device_name()}
    write_json(page.RESULTS / "devices.json", made | {"steps_per_second": measure()})


if __name__ == "__main__":
    main()
