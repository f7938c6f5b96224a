"""Where a run was made: what a bit-for-bit resume depends on, and the commit of the source."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

TRAINING_PACKAGES = ("gymnasium", "minigrid", "numba", "numpy", "safetensors", "stable-baselines3", "torch")
OTHER_PACKAGES = ("filelock", "matplotlib", "pydantic", "tensorboard")


def _cpu() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _installed(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(tree: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(tree), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


WRITTEN = ("docs", "studies/results", "benchmarks/results")  # results and their pages: no run depends on them


def _commit() -> str | None:
    """The commit of the source tree, with '-dirty' where tracked files differ from it; None outside a checkout.

    What a study writes while it runs does not count.
    """
    tree = Path(__file__).resolve().parent.parent
    if not (tree / ".git").exists():
        return None
    source = ("--", ".", *(f":(exclude){folder}" for folder in WRITTEN))
    head, changed = (
        _git(tree, "rev-parse", "HEAD"),
        _git(tree, "status", "--porcelain", "--untracked-files=no", *source),
    )
    return f"{head}-dirty" if head and changed else head


def versions() -> dict[str, Any]:
    """What a bit-for-bit resume depends on: Python, machine, packages, threads, source. Imports torch."""
    import torch

    return {
        "sandbox": _installed("dark-energy-sandbox"),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_threads": torch.get_num_threads(),
        "packages": {package: _installed(package) for package in (*TRAINING_PACKAGES, *OTHER_PACKAGES)},
    }
