"""A run on disk: one folder that says what was run, what came out, on which machine, and who is at work in it.

What a run *is* follows from the files and from a lock, never from clocks, which jump.
Layout: `<root>/<env>/<agent>-<digest>/seed-<k>/`, in it the files named by the properties of `Run`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sandbox.errors import CorruptFile, NoResources, SandboxError, UsageError
from sandbox.files import disk_error, read_json, read_rows, write_json
from sandbox.values import natural

Status = Literal["done", "failed", "running", "stopped"]


# ---------------------------------------------------------------------- names


def slug(text: str) -> str:
    """`text` as one folder name: characters from [A-Za-z0-9._-], 1 to 80 of them, not beginning with '.' or '-'.

    No plus sign: TensorBoard's projector asks for a run by an address in which it stands for a space.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("-.")[:80].rstrip("-") or "unnamed"


# ---------------------------------------------------------------------- a run


@dataclass(frozen=True)
class Run:
    """A folder with a config.json. Reading never changes it."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def versions_file(self) -> Path:
        return self.path / "versions.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timing_file(self) -> Path:
        return self.path / "timing.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def error_file(self) -> Path:
        """The last error, as JSON; gone as soon as the run is at work again."""
        return self.path / "error.json"

    @property
    def error_log(self) -> Path:
        """Every traceback so far."""
        return self.path / "error.log"

    @property
    def warnings_file(self) -> Path:
        """What a run of a study had to say, a line each."""
        return self.path / "warnings.log"

    @property
    def lock_file(self) -> Path:
        return self.path / ".lock"

    @property
    def owner_file(self) -> Path:
        return self.path / ".owner.json"

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration. CorruptFile if it cannot be read."""
        return read_json(self.config_file)

    @property
    def identity(self) -> tuple[str, str, int]:
        """Agent, world and seed. CorruptFile if the configuration cannot be read, or is none of a run."""
        config = self.config
        try:
            found = config["agent"], config["world"]["id"], config["seed"]
        except (TypeError, KeyError, IndexError):
            found = (None, None, None)
        if [type(part) for part in found] != [str, str, int]:
            raise CorruptFile(f"{self.config_file} is no configuration of a run (agent, world.id, seed)")
        return found

    @property
    def result(self) -> dict[str, Any] | None:
        """What came out, None before the end. CorruptFile if it cannot be read."""
        return read_json(self.result_file) if self.result_file.exists() else None

    @property
    def error(self) -> dict[str, Any] | None:
        """`type`, `message`, `exit_code` of the failure that ended the run, None where none did."""
        return read_json(self.error_file) if self.error_file.exists() else None

    @property
    def status(self) -> Status:
        """done: result.json says so; running: its lock is held; failed: it has an error; else stopped (resumable)."""
        if _is_done(self):
            return "done"
        if is_locked(self):
            return "running"
        return "failed" if self.error_file.exists() else "stopped"

    def metrics(self) -> list[dict[str, Any]]:
        """Rows {"step": int, ...} of metrics.jsonl: deterministic values only."""
        return read_rows(self.metrics_file)

    def timing(self) -> list[dict[str, Any]]:
        """Rows {"step": int, ...} of timing.jsonl: clocks, memory, speed."""
        return read_rows(self.timing_file)


def _is_done(run: Run) -> bool:
    """A damaged result is no result: the run goes on from its last checkpoint and writes it again."""
    try:
        result = run.result
    except SandboxError:
        return False
    return isinstance(result, dict) and result.get("status") == "done"


def find_runs(root: Path) -> list[Run]:
    """Every folder at or below `root` that has a config.json, in natural order; symbolic links are not followed."""
    found = []
    for folder, subfolders, files in os.walk(root, followlinks=False):
        if "config.json" in files and not os.path.islink(os.path.join(folder, "config.json")):
            found.append(Path(folder))
            subfolders.clear()  # no run lies in a run
    return [Run(path) for path in sorted(found, key=lambda path: [natural(part) for part in path.parts])]


# ---------------------------------------------------------------------- writing into a run


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}" if name else key).items()}


def _changes(old: Any, new: Any) -> list[str]:
    """One line 'key: old -> new' per leaf that differs."""
    before, after = _flat(old), _flat(new)
    keys = [key for key in before | after if before.get(key, ...) != after.get(key, ...)]
    shown = [{key: json.dumps(side[key]) if key in side else "(none)" for key in keys} for side in (before, after)]
    return [f"{key}: {shown[0][key]} -> {shown[1][key]}" for key in keys]


def create(path: Path, config: Mapping[str, Any]) -> Run:
    """The run at `path` with `config` (JSON-able), its folder made where there is none.

    Raises:
        UsageError: the folder holds a run of another configuration; lists what differs.
        NoResources: the folder cannot be made or written to.
        CorruptFile: the folder's config.json cannot be read.
    """
    run = Run(Path(path))
    wanted = json.loads(json.dumps(dict(config), allow_nan=False))
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        if not os.access(run.path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "this folder cannot be written to")
    except OSError as error:
        raise disk_error(error, "cannot use the run's folder", run.path) from error
    if not run.config_file.exists():
        write_json(run.config_file, wanted)
    elif changes := _changes(_readable(run), wanted):
        listed = "\n".join(f"  {change}" for change in changes[:20]) + ("\n  ..." if len(changes) > 20 else "")
        raise UsageError(
            f"{run.path} holds a run of another configuration (there -> asked for):\n{listed}\n"
            "Choose another folder, ask for the same configuration to resume it, or remove that folder to start anew."
        )
    return run


def _readable(run: Run) -> dict[str, Any]:
    try:
        return run.config
    except CorruptFile as error:
        raise CorruptFile(f"{error}. Remove that file: the same command writes it anew and goes on") from error


def add_warning(run: Run, text: str) -> None:
    """Keep a warning for the study's own process, which tells it at the end."""
    with run.warnings_file.open("a", encoding="utf-8") as file:
        file.write(" ".join(text.split()) + "\n")


def record_error(run: Run, error: BaseException) -> None:
    """Keep a failure: the traceback is added to error.log, the message becomes error.json (status "failed").

    A disk that takes neither is no error here: the failure itself, which the caller raises, must not be hidden by it.
    """
    text = "".join(traceback.format_exception(error))
    with suppress(OSError), open(run.error_log, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')}\n{text}")
    code = error.exit_code if isinstance(error, SandboxError) else 1
    with suppress(NoResources):
        write_json(run.error_file, {"type": type(error).__name__, "message": str(error), "exit_code": code})


def clear_error(run: Run) -> None:
    """The run is at work again: its last error no longer decides its status (error.log keeps the traceback)."""
    try:
        run.error_file.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, "cannot remove the file", run.error_file) from error


# ---------------------------------------------------------------------- one process at a time


def is_locked(run: Run) -> bool:
    """Whether a process is at work in the run's folder; no where this user may not lock (a read-only archive)."""
    from filelock import FileLock, Timeout

    if not run.lock_file.exists():
        return False
    probe = FileLock(run.lock_file)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    probe.release()
    return False


@contextmanager
def lock(run: Run) -> Iterator[None]:
    """Only one process works in a run. The system frees the lock when its holder ends, killed or not.

    The fifth of a second of patience is for `is_locked`, which holds the lock for an instant.

    Raises:
        NoResources: another process holds it (its pid, host and start are named), or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    held = FileLock(run.lock_file)
    try:
        held.acquire(timeout=0.2, poll_interval=0.02)
    except Timeout:
        raise NoResources(f"{run.path} is in use by {_owner(run)}. Wait for it, or stop it, then run again.") from None
    except OSError as error:
        raise disk_error(error, "cannot lock the run's folder", run.path) from error
    try:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(run.owner_file, {"pid": os.getpid(), "host": socket.gethostname(), "started": started})
        yield
    finally:
        with suppress(OSError):
            run.owner_file.unlink(missing_ok=True)
        held.release()


def _owner(run: Run) -> str:
    try:
        owner = read_json(run.owner_file, 4096)
        return f"process {owner['pid']} on {owner['host']} since {owner['started']}"
    except (SandboxError, KeyError, TypeError):
        return "another process"
