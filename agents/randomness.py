"""torch's random streams, used for a while and then as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept() -> Iterator[None]:
    """What is drawn or seeded inside shifts nobody else's stream.

    `torch.random.fork_rng` asks every GPU for its state, which begins CUDA, half a gigabyte and seconds, in processes
    that compute on the CPU: where CUDA has not begun, there is nothing to keep.
    """
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus):
        yield
