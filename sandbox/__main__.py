"""`python -m sandbox` and the command `sandbox`: errors become one message and one exit code."""

from __future__ import annotations

import os
import sys
import traceback

from sandbox.errors import SandboxError


def main() -> None:
    """Run the command line; never a traceback unless `--debug`."""
    from sandbox import registry

    debug = "--debug" in sys.argv or bool(os.environ.get("SANDBOX_DEBUG"))
    code = 0
    try:
        registry.prepare_path()
        registry.check_layout()
        from sandbox.cli import app

        app(standalone_mode=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except SandboxError as error:
        code = _tell(error, debug)
    except KeyboardInterrupt:
        print("stopped at once by Ctrl-C; what was saved stays", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        code = 0  # the reader of our output has seen enough
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"error: unexpected {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        code = 1
    sys.exit(_flush(code))


def _tell(error: SandboxError, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _flush(code: int) -> int:
    """Flush here, where a closed or full stdout can still be told from success."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"error: cannot write to stdout: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 7
    return code


if __name__ == "__main__":
    main()
