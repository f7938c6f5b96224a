"""One contender of the benchmark as a process: it builds and warms up, then runs a number of steps for each line that
it reads and answers with the seconds that took. So contenders take turns within one run while all of them stay warm.

    python -m benchmarks.contender NAME        names: benchmarks/table.py

Writes one JSON object a line: first `{"ready": NAME, "versions": {...}, "flops": ...}` (matrix products per environment
step, null where they are not counted), then for each integer read
`{"steps": ..., "wall": seconds, "cpu": seconds of this process}`, and what the contender itself measured of its parts,
if it did. One thread.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.table import CONTENDERS

PACKAGES = ("torch", "stable-baselines3", "gymnasium", "minigrid", "numpy", "numba", "rllte-core")


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def timed(run: Callable[[int], object], steps: int) -> dict[str, Any]:
    """Wall and CPU seconds of `run(steps)`, beside the dict that it may return."""
    wall, cpu = time.perf_counter(), time.process_time()
    parts = run(steps)
    spent = {"steps": steps, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return spent | parts if isinstance(parts, dict) else spent


def flops(run: Callable[[int], object], rollout: int) -> float | None:
    """FLOPs of the matrix products of torch per environment step, counted over one rollout and its update."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def product(x: tuple[int, ...], weight: tuple[int, ...], *_: object, **__: object) -> int:
        return 2 * x[0] * x[1] * weight[0]

    if not rollout:
        return None
    onednn = {torch.ops.mkldnn._linear_pointwise: product} if torch.backends.mkldnn.is_available() else {}
    with FlopCounterMode(display=False, custom_mapping=onednn) as counter:
        run(rollout)
    return counter.get_total_flops() / rollout


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not be taken for an answer
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    contender = CONTENDERS[sys.argv[1]]
    module = importlib.import_module(contender.module)
    run = module.make(**contender.options)
    run(contender.steps)
    versions = {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES}
    with getattr(module, "countable", nullcontext)():
        ready = {"ready": contender.name, "versions": versions, "flops": flops(run, contender.rollout)}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(run, int(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
