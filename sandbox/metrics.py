"""What a run measured, step by step: two files that are the truth, and TensorBoard, which is a view of them.

metrics.jsonl holds what the seed determines, timing.jsonl what the machine does (`time/` and `system/`: clocks, memory,
speed), so that two equal runs have equal metrics byte for byte. x = environment steps everywhere. On resume all three
go back to the checkpoint: the files are cut at its offset, TensorBoard is told by a session start to drop later steps.

The event file is written here and not by torch's `SummaryWriter`, record by record with TensorBoard's own parts:
`SummaryWriter` writes in a thread, where a full disk ends in a traceback, and names files by the second, the process
and a counter, so that a quick restart can sort before the file it continues and is then read in the wrong order.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.logger import KVWriter

from sandbox.errors import CorruptFile
from sandbox.files import disk_error, read_rows

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

__all__ = ["EventFile", "JsonLines", "RunWriter", "read_rows"]

TIMING = ("time/", "system/")

# ---------------------------------------------------------------------- rows


def _scalar(key: str, value: Any) -> bool | int | float | str | None:
    """A value as plain Python; TypeError if it is no number, text or None."""
    if hasattr(value, "item") and math.prod(value.shape) == 1:
        value = value.item()  # numpy or torch; float32 widens to the float64 of the same value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a row of metrics holds numbers and text; {key!r} is a {type(value).__name__}")


def _json(value: bool | int | float | str | None) -> bool | int | float | str | None:
    """What JSON lacks (nan, inf, -inf) as that word."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _end_of_rows(file: int) -> int:
    """Bytes up to and with the last line end."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - 2**16)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


class JsonLines:
    """Append-only rows, one JSON object per line, each handed to the system before `append` returns.

    Floats are written so that they read back exactly; nan, inf and -inf as these words, in quotes, because JSON has no
    such numbers and null would not say which (`read_rows` gives floats again). Opening cuts a last line that a kill
    left half-written.

    Raises:
        NoResources: the file cannot be opened or written (disk full, permission); no half row stays behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._end = _end_of_rows(self._file)
            os.ftruncate(self._file, self._end)
        except OSError as error:
            raise disk_error(error, "cannot open the file", self.path) from error

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """Add the row {"step": step, **values}, keys in the order given."""
        if "step" in values:
            raise ValueError("a row has its step already: no value may be called 'step'")
        row = {"step": int(step)} | {key: _json(_scalar(key, value)) for key, value in values.items()}
        line = (json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n").encode()
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise disk_error(error, "cannot write a row", self.path, len(line)) from error
        self._end += len(line)

    def offset(self) -> int:
        """Bytes so far, after an fsync: a checkpoint must not point beyond what survives a power cut."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise disk_error(error, "cannot write the file", self.path) from error
        return self._end

    def truncate(self, offset: int) -> None:
        """Cut the file back to `offset`, an earlier answer of `offset()`.

        Raises:
            CorruptFile: the file is shorter, or `offset` is not the end of a row: it is not the file it was.
        """
        if offset > self._end:
            raise CorruptFile(
                f"{self.path} has {self._end} bytes of whole rows, {offset} were kept: rows "
                f"are missing; to make the run anew, delete {self.path.parent / 'checkpoints'}"
            )
        if offset and os.pread(self._file, 1, offset - 1) != b"\n":
            raise CorruptFile(f"{self.path}: byte {offset} is not the end of a row: the file was changed")
        try:
            os.ftruncate(self._file, offset)
        except OSError as error:
            raise disk_error(error, "cannot cut the file", self.path) from error
        self._end = offset

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


# ---------------------------------------------------------------------- TensorBoard


def _event_file_name(folder: Path) -> str:
    """A name that sorts after every event file in `folder`, even if the clock went back."""
    names = (re.match(r"events\.out\.tfevents\.(\d{10})\.", path.name) for path in folder.glob("events.out.tfevents.*"))
    stamp = max([int(time.time()), *(int(match[1]) + 1 for match in names if match)])
    return f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"


class EventFile:
    """One session's TensorBoard events; what earlier sessions wrote from `purge_step` on is hidden by readers.

    Raises:
        OSError: as the file system gives them.
        ImportError: there is no tensorboard.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        self._file = open(Path(folder) / _event_file_name(Path(folder)), "xb")  # noqa: SIM115
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))
        self._file.flush()

    def _write(self, **fields: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())

    def add(self, summaries: list[Summary], step: int) -> None:
        """Write one event per summary, at `step` environment steps."""
        for summary in summaries:
            self._write(step=step, summary=summary)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _scalars(values: Mapping[str, Any]) -> list[Summary]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return [Summary(value=[Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()])]


def _text(tag: str, markdown: str) -> list[Summary]:
    from torch.utils.tensorboard.summary import text

    return [text(tag, markdown)]


def _hparams(config: Mapping[str, Any], metrics: Mapping[str, float]) -> list[Summary]:
    from torch.utils.tensorboard.summary import hparams

    return list(hparams(_flat(config), dict(metrics)))


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; what the plugin does not know (lists) as JSON text."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
    return flat


def _write_projector(folder: Path, tag: str, features: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
    """The files that TensorBoard's projector reads (it takes no events); the one that names the others comes last."""
    place = folder / "projector"
    place.mkdir(exist_ok=True)
    np.savetxt(place / "features.tsv", features, fmt="%.6g", delimiter="\t")
    table = [list(columns), *([f"{value:g}" for value in row] for row in zip(*columns.values(), strict=True))]
    (place / "labels.tsv").write_text("".join("\t".join(row) + "\n" for row in table), "utf-8")
    named = {"tensor_name": tag, "tensor_path": "projector/features.tsv", "metadata_path": "projector/labels.tsv"}
    fields = "".join(f"  {name}: {json.dumps(value)}\n" for name, value in named.items())
    (folder / "projector_config.pbtxt").write_text(f"embeddings {{\n{fields}}}\n", "utf-8")


# ---------------------------------------------------------------------- a run's writer


class RunWriter(KVWriter):
    """An output format of stable-baselines3's `Logger`: metrics.jsonl, timing.jsonl and TensorBoard events in `folder`.

    A value goes to exactly one of the two files, whatever the `exclude` given with it; numbers also go to TensorBoard
    unless excluded from "tensorboard". If TensorBoard cannot be written, `warn` is told once and the run goes on.

    Args:
        position: `position()` as the checkpoint kept it; rows and points after it are dropped. None: the run starts
            (again) from nothing, and so do its files.
        warn: takes one line of text.

    Raises:
        CorruptFile: the files are not those that `position` was taken from.
        NoResources: they cannot be opened or written.
    """

    def __init__(
        self, folder: Path, *, position: Mapping[str, int] | None = None, warn: Callable[[str], object] = warnings.warn
    ) -> None:
        self.folder = Path(folder)
        start = position or {"step": -1, "metrics": 0, "timing": 0}
        self._rows = {name: JsonLines(self.folder / f"{name}.jsonl") for name in ("metrics", "timing")}
        for name, rows in self._rows.items():
            rows.truncate(start[name])
        self._purge_step = start["step"] + 1
        self._events: EventFile | None = None
        self._broken = False
        self.warn = warn

    def position(self, step: int) -> dict[str, int]:
        """What a checkpoint at `step` keeps, so that a resumed writer goes on from here. On disk when it returns."""
        return {"step": int(step)} | {name: rows.offset() for name, rows in self._rows.items()}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """One row per file that has a value, one TensorBoard event for all numbers."""
        values = {key: _scalar(key, value) for key, value in key_values.items()}
        for name, timing in (("metrics", False), ("timing", True)):
            if row := {key: value for key, value in values.items() if key.startswith(TIMING) is timing}:
                self._rows[name].append(step, row)
        shown = {key: value for key, value in values.items() if "tensorboard" not in (key_excluded.get(key) or ())}
        if numbers := {key: value for key, value in shown.items() if isinstance(value, (int, float))}:
            self._show(lambda: _scalars(numbers), step)

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """Show Markdown in TensorBoard's text tab; it is in no row."""
        self._show(lambda: _text(tag, markdown), step)

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """List the run in TensorBoard's hparams tab: `config` against the tags in `metrics`. Call it once.

        Nested keys are joined by dots. The tab shows the last scalar of each tag; the values here are not written.
        """
        self._show(lambda: _hparams(config, metrics), 0)

    def embedding(self, tag: str, features: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Show points [M, D] in TensorBoard's projector, to be coloured by `columns` (two or more, each [M] numbers).

        One set per run: a second call replaces it. Written as the plugin's own files, and not by `SummaryWriter`, whose
        `add_embedding` writes the same ones, and an event file of its own that a resume would not know of.
        """
        try:
            _write_projector(self.folder, tag, features, columns)
        except OSError as error:
            self.warn(f"no projector ({self.folder}): {error}; metrics.jsonl goes on")

    def _show(self, make: Callable[[], list[Summary]], step: int) -> None:
        if self._broken:
            return
        try:
            if self._events is None:
                self._events = EventFile(self.folder, self._purge_step)
            self._events.add(make(), int(step))
        except (OSError, ImportError) as error:
            self._broken = True  # a half-written record ends what readers see: nothing more may follow it
            self.warn(f"no TensorBoard from here on ({self.folder}): {error}; metrics.jsonl goes on")

    def close(self) -> None:
        for rows in self._rows.values():
            rows.close()
        if self._events is not None:
            with suppress(OSError):  # already told, or only the view is lost
                self._events.close()
