"""`python -m sandbox` and the command `sandbox`: errors become one message and one exit code."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from contextlib import suppress
from typing import TextIO

from sandbox.errors import NoResources, SandboxError
from sandbox.signals import ctrl_c_kept


def main() -> None:
    """Run the command line; never a traceback unless `--debug`."""
    from sandbox import layout

    _open_streams()
    debug = "--debug" in sys.argv or os.environ.get("SANDBOX_DEBUG", "0") not in ("", "0")
    code = 0
    try:
        with ctrl_c_kept():  # numba compiles before a run begins, too
            layout.prepare_path()
            layout.check_layout()
            from sandbox.cli import app

            app([word for word in sys.argv[1:] if word != "--debug"])  # so that it may stand after the verb
    except SystemExit as stop:
        code = _code(stop)
    except SandboxError as error:
        code = _tell(error, debug)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 0  # the reader of our output has seen enough
    except OSError as error:
        code = _tell(NoResources(f"{error}; make room, or choose another place or permission"), debug)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _say(f"error: unexpected {type(error).__name__}: {error} (--debug shows where)")
        code = 1
    if code == 130:
        _say("stopped by Ctrl-C; what was saved stays")
    code = _flush(code)
    gc.freeze()  # else Python's last collection looks at every object of torch's, for half a second
    sys.exit(code)


def _open_streams() -> None:
    """A stream that the caller closed swallows its output; no file of ours may get its number.

    A character that the terminal's encoding lacks is written as an escape, not as an error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # opened in this order, each gets the lowest free number: its own
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _code(stop: SystemExit) -> int:
    """Typer turns a reader that has seen enough into 1 (here: 0), and says nothing of a Ctrl-C."""
    if isinstance(stop.__context__, BrokenPipeError):
        return 0
    return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1


def _tell(error: SandboxError, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if error.exit_code != 130:
        _say(f"error: {error}")
    return error.exit_code


def _say(text: str) -> None:
    """To whoever still reads: a closed stderr must not change the exit code."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def _flush(code: int) -> int:
    """Flush here, where a closed or full stdout can still be told from success."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _swallow(sys.stdout)
    except OSError as error:
        _say(f"error: cannot write to stdout: {error}")
        _swallow(sys.stdout)
        code = code or 7
    try:
        sys.stderr.flush()
    except OSError:
        _swallow(sys.stderr)
    return code


def _swallow(stream: TextIO) -> None:
    """What is still in the stream goes nowhere: Python flushes again at its end, and would make 120 of the code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
