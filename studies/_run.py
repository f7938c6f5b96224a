"""What the study scripts share: one process per job, and a small result file that says how it was made."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def one_thread() -> None:
    """Each process on one thread; called in every worker before anything is computed."""
    import torch

    torch.set_num_threads(1)


def in_processes(
    job: Callable[..., dict[str, Any]], arguments: Iterable[tuple[Any, ...]], jobs: int
) -> list[dict[str, Any]]:
    """`job(*a)` for each a, `jobs` at a time, in order; each answer is printed as it comes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    answers = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        for future in [pool.submit(job, *a) for a in arguments]:
            answers.append(future.result())
            print(json.dumps(answers[-1]), file=sys.stderr, flush=True)
    return answers


def write(name: str, command: str, content: dict[str, Any]) -> Path:
    """studies/results/<name>.json with the command, the versions and the commit that made it."""
    from sandbox.files import write_json
    from sandbox.versions import versions

    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_json(path, {"command": command, "versions": versions()} | content)
    return path
