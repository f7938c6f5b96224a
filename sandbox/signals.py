"""Stopping at the next safe point: Ctrl-C once, SIGTERM or a lost terminal set a flag; Ctrl-C twice stops at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Timer, main_thread
from types import FrameType
from typing import Any

from sandbox.errors import Interrupted, SandboxError, Stopped

StopCheck = Callable[[], SandboxError | None]
AGAIN = 0.01  # seconds until a Ctrl-C that was swallowed is tried again


@contextmanager
def stop_requests(
    *, ignore_ctrl_c: bool = False, notify: Callable[[str], None] = lambda _text: None
) -> Iterator[StopCheck]:
    """Yields a function that returns the exception to raise at the next safe point, or None.

    Args:
        ignore_ctrl_c: for a study's workers: the terminal sends Ctrl-C to the whole group, the parent decides.
        notify: told once what will happen.
    """
    request: list[SandboxError] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and request:
            raise KeyboardInterrupt
        if not request:
            request.append(
                Interrupted("interrupted by Ctrl-C") if number == signal.SIGINT else Stopped("stopped by a signal")
            )
            with suppress(RuntimeError):  # the signal came while the same stream was being written
                notify("stopping at the next safe point (Ctrl-C again stops at once) ...")

    wanted = [signal.SIGTERM, signal.SIGHUP]
    previous = {number: signal.signal(number, handle) for number in wanted}
    previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN if ignore_ctrl_c else handle)
    try:
        with ctrl_c_kept():
            yield lambda: request[0] if request else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def ctrl_c_kept() -> Iterator[None]:
    """A Ctrl-C that came where nothing can be raised comes again."""

    def swallowed(what: Any) -> None:
        """Callbacks from C (numba's compiler has one) and destructors cannot raise: Python drops what they raise."""
        if issubclass(what.exc_type, KeyboardInterrupt):
            Timer(AGAIN, signal.pthread_kill, [main_thread().ident, signal.SIGINT]).start()
        else:
            hook(what)

    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        yield
    finally:
        sys.unraisablehook = hook
