"""Files that are whole or not there: written beside, fsynced, renamed; read with a limit, and named when they are bad.

Everything that a user may exchange is JSON, without NaN.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from sandbox.errors import CorruptFile, NoResources

MAX_JSON = 16 * 2**20  # bytes; a result of a few thousand numbers is far below
OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
