"""A run on disk: one folder that says what was run, what came out, on which machine, and who is at work in it.

Everything that a user may exchange is JSON; a file is replaced whole or not at all (temporary file beside it, fsync,
rename), and what a run *is* follows from the files and from a lock, never from clocks, which jump.
Layout: `<root>/<env>/<agent>-<digest>/seed-<k>/`, in it the files named by the properties of `Run`.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn

from sandbox.errors import CorruptFile, NoResources, SandboxError, UsageError

Status = Literal["done", "failed", "running", "stopped"]

MAX_JSON = 16 * 2**20  # bytes; a result of a few thousand numbers is far below
OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TRAINING_PACKAGES = ("gymnasium", "minigrid", "numba", "numpy", "safetensors", "stable-baselines3", "torch")
OTHER_PACKAGES = ("filelock", "matplotlib", "pydantic", "tensorboard")

# ---------------------------------------------------------------------- names


def slug(text: str) -> str:
    """`text` as one folder name: characters from [A-Za-z0-9._+-], 1 to 80 of them, not beginning with '.' or '-'."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).lstrip("-.")[:80].rstrip("-") or "unnamed"


# ---------------------------------------------------------------------- files


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _free(path: Path) -> str:
    """' (x free)' on the disk of the nearest existing parent; empty where the system does not say."""
    for parent in (path, *path.parents):
        with suppress(OSError):
            return f" ({_size(shutil.disk_usage(parent).free)} free)"
    return ""


def disk_error(error: OSError, doing: str, path: Path, needed: int = 0) -> NoResources:
    """What a user can act on, made of an `OSError`: what, where, why, and the mend. `needed` in bytes, if known."""
    why = f"{doing} ({path}): {error.strerror or error}."
    if error.errno in OUT_OF_SPACE:
        need = f" Needed {_size(needed)}{_free(path)}." if needed else ""
        return NoResources(f"{why}{need} Free disk space or raise the quota or file-size limit, then run it again.")
    return NoResources(f"{why} Check owner, permissions and mount of that place, or choose another folder.")


def sync_folder(path: Path) -> None:
    """Make the folder's entries (a rename in it) survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes) -> None:
    """A new file, on the disk when this returns. FileExistsError if there is one."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_bytes(path: Path, max_bytes: int, *, follow: bool = True) -> bytes:
    """A regular file's content.

    Raises:
        CorruptFile: missing, larger than `max_bytes`, not a regular file (a device, a pipe), or a symbolic link where
            `follow` is false.
        NoResources: it may not be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    try:
        with open(os.open(path, flags), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise CorruptFile(f"{path} is not a regular file")
            if info.st_size > max_bytes:
                raise CorruptFile(f"{path} has {_size(info.st_size)}; at most {_size(max_bytes)} are read")
            return file.read(info.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise CorruptFile(f"{path} is missing") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptFile(f"{path} is a symbolic link, which is not followed here") from None
        raise disk_error(error, "cannot read the file", path) from error


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, whole or not at all.

    Raises:
        NoResources: disk full, read-only, no permission; the old file is intact.
        ValueError, TypeError: `value` is not JSON (NaN and infinity are not).
    """
    write_whole(Path(path), (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or raise NoResources and leave it as it was."""
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, "cannot write the file", path, len(data)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def parse_json(data: bytes, place: str) -> Any:
    """The value of UTF-8 JSON (a byte order mark is allowed). CorruptFile begins with `place`, says line and column."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{place} is not UTF-8 text: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise CorruptFile(f"{place}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{place}: {error}") from None


def read_json(path: Path, max_bytes: int = MAX_JSON) -> Any:
    """The value in a JSON file.

    Raises:
        CorruptFile: missing, too large, not UTF-8, not JSON (with its line).
        NoResources: it may not be read.
    """
    return parse_json(read_bytes(Path(path), max_bytes), str(path))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file (see `sandbox.metrics`); none where there is no file yet.

    A last line without its end was cut by a kill and is left out. "nan", "inf" and "-inf" come back as floats.

    Raises:
        CorruptFile: a line that is no JSON object with a `step`; names the line.
    """
    if not Path(path).exists():
        return []
    lines = read_bytes(Path(path), 2**34).split(b"\n")[:-1]
    return [_row(line, f"{path}, row {number}") for number, line in enumerate(lines, start=1)]


def _row(line: bytes, place: str) -> dict[str, Any]:
    row = parse_json(line, place)
    if not isinstance(row, dict) or "step" not in row:
        raise CorruptFile(f"{place} is not an object with a step")
    return {key: float(value) if value in ("nan", "inf", "-inf") else value for key, value in row.items()}


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


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    """A sorting key under which seed-2 comes before seed-10."""
    pieces = (re.findall(r"(\d+)|(\D+)", part, re.ASCII) for part in path.parts)
    return [[(0, int(digits), "") if digits else (1, 0, text) for digits, text in part] for part in pieces]


def find_runs(root: Path) -> list[Run]:
    """Every folder at or below `root` that has a config.json, in natural order; symbolic links are not followed."""
    found = []
    for folder, subfolders, files in os.walk(root, followlinks=False):
        if "config.json" in files and not os.path.islink(os.path.join(folder, "config.json")):
            found.append(Path(folder))
            subfolders.clear()  # no run lies in a run
    return [Run(path) for path in sorted(found, key=_natural)]


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


# ---------------------------------------------------------------------- where it ran


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
