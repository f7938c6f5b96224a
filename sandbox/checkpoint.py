"""A training state on disk: written whole or not at all, checked before it is believed, and free of pickle.

A tree of dicts, lists, numbers, text and arrays becomes tensors.safetensors and state.json; MANIFEST.json, written
last, holds the SHA-256 and size of both (safetensors itself accepts a flipped bit in its data without a word).

    folder/step-000000012288/{tensors.safetensors, state.json, MANIFEST.json}

Written into folder/.tmp-<uuid>, each file and the folder fsynced, read back, then renamed; older checkpoints go only
after that. The scheme (temporary folder, rename, proof written last, fall back to the newest that proves itself) is
that of Orbax and of PyTorch's distributed checkpoints; the kill points that test it are ours. One process writes into
a folder at a time (`sandbox.runs.lock`): every .tmp-* found by a save is therefore a dead writer's.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import signal
import struct
import uuid
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox.errors import CorruptFile, SandboxError
from sandbox.files import disk_error, parse_json, read_bytes, sync_folder, write_synced

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "MANIFEST.json"
MAX_STATE, MAX_MANIFEST = 64 * 2**20, 64 * 2**10  # bytes; arrays belong into the tensor file
NAME = re.compile(r"step-([0-9]{12})")
FAILPOINTS = ("tensors_written", "state_written", "before_manifest", "before_rename", "after_rename", "before_prune")
# What both torch and safetensors hold; numpy lacks the last.
INTEGERS = {"uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"}
DTYPES = INTEGERS | {"bool", "float16", "float32", "float64", "bfloat16"}

# ---------------------------------------------------------------------- tree <-> JSON + tensors


def encode(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split a tree into a JSON value and the tensors that it refers to.

    A tree is made of dict and OrderedDict (str or int keys), list, tuple, None, bool, int, float, str, torch tensors,
    numpy arrays and numpy scalars; `decode` gives the same types, dtypes, shapes and bits. Tensors are copied: two that
    share memory come back apart, on the CPU, without gradient (a Parameter as a plain Tensor).

    Raises:
        TypeError: anything else; names its place in the tree.
    """
    tensors: dict[str, Tensor] = {}
    return _encode(tree, "tree", tensors), tensors


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
    if kind in (list, tuple):
        items = [_encode(item, f"{place}[{index}]", tensors) for index, item in enumerate(value)]
        return items if kind is list else {"$tuple": items}
    if kind in (dict, OrderedDict):
        return _encode_dict(value, place, tensors)
    tag, tensor = _as_tensor(value, place)
    name = str(len(tensors))
    tensors[name] = tensor
    return {tag: name}


def _encode_dict(value: dict[Any, Any], place: str, tensors: dict[str, Tensor]) -> Any:
    for key in value:
        if type(key) not in (str, int):
            raise TypeError(f"{place}: a key is {type(key).__name__} {key!r}; a checkpoint takes str and int keys")
    pairs = [[key, _encode(item, f"{place}[{key!r}]", tensors)] for key, item in value.items()]
    if type(value) is OrderedDict:
        return {"$ordered": pairs}
    if all(type(key) is str and not key.startswith("$") for key in value):
        return dict(pairs)
    return {"$dict": pairs}  # JSON knows text keys only, and "$" marks our own


def _as_tensor(value: Any, place: str) -> tuple[str, Tensor]:
    """A contiguous copy of its own, and the tag that says what to make of it again."""
    import torch

    if type(value) in (torch.Tensor, torch.nn.Parameter):
        name = str(value.dtype).removeprefix("torch.")
        if name not in DTYPES or value.layout is not torch.strided or value.is_meta:
            raise TypeError(f"{place}: a {value.layout} tensor of {name} cannot be saved")
        return "$tensor", value.detach().cpu().resolve_neg().clone(memory_format=torch.contiguous_format)
    if type(value) is np.ndarray or isinstance(value, np.generic):
        if value.dtype.name not in DTYPES or not value.dtype.isnative:
            raise TypeError(f"{place}: numpy values of {value.dtype!r} cannot be saved")
        copy = np.array(value, order="C")
        return "$array" if type(value) is np.ndarray else "$scalar", torch.from_numpy(copy)
    raise TypeError(f"{place}: a checkpoint cannot hold {type(value).__module__}.{type(value).__qualname__}")


def decode(json_tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree that `encode` was given.

    Raises:
        CorruptFile: the JSON is not of `encode`'s making, or refers to a tensor that is not there.
    """
    try:
        return _decode(json_tree, tensors)
    except (KeyError, ValueError, TypeError, struct.error, RecursionError) as error:
        raise CorruptFile(f"not the state of a checkpoint: {type(error).__name__} {error}") from None


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if not any(key.startswith("$") for key in value):
        return {key: _decode(item, tensors) for key, item in value.items()}
    ((tag, content),) = value.items()
    match tag:
        case "$float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "$tuple":
            return tuple(_decode(item, tensors) for item in content)
        case "$dict":
            return {key: _decode(item, tensors) for key, item in content}
        case "$ordered":
            return OrderedDict((key, _decode(item, tensors)) for key, item in content)
        case "$tensor":
            return tensors[content]
        case "$array":
            return tensors[content].numpy()
        case "$scalar":
            return tensors[content].numpy()[()]
    raise ValueError(f"unknown tag {tag}")


# ---------------------------------------------------------------------- writing

_passed: Counter[str] = Counter()


def kill_here(name: str) -> None:
    """Die by SIGKILL if SANDBOX_FAILPOINT is `name`, or `name:k` and this is the k-th time: for kill tests."""
    wanted = os.environ.get("SANDBOX_FAILPOINT")
    if not wanted:
        return
    target, _, count = wanted.partition(":")
    if target == name:
        _passed[name] += 1
        if _passed[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)


def save(folder: Path, step: int, tree: Any, *, keep: int = 2, failpoint: Callable[[str], None] = kill_here) -> Path:
    """Write `tree` as the checkpoint of `step` (environment steps) and return its folder.

    Afterwards the `keep - 1` newest older checkpoints that verify are left, other older ones and dead writers'
    leftovers are gone. A step that is already there and verifies is left as it is: a step of a run has one state.

    Args:
        failpoint: called with each name of `FAILPOINTS` as that point is passed.

    Raises:
        NoResources: disk full, no permission, read-only: says what was needed; the older checkpoints are intact.
        CorruptFile: what was written does not read back; the older checkpoints are intact.
        TypeError: see `encode`.
        ValueError: step outside [0, 10**12), keep below 1, or more than 64 MiB outside of arrays.
    """
    folder = Path(folder)
    if not 0 <= step < 10**12 or keep < 1:
        raise ValueError(f"step must be in [0, 10**12) and keep at least 1, got step={step}, keep={keep}")
    contents = _contents(tree)
    temporary, final = folder / _temporary_name(), folder / f"step-{step:012d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        if not (os.path.lexists(final) and not verify(final)):
            _write(temporary, step, contents, failpoint)
            _publish(temporary, final, failpoint)
        failpoint("before_prune")
        _prune(folder, step, keep)
    except OSError as error:
        needed = sum(len(data) for data in contents.values())
        doing = f"cannot save the checkpoint of step {step}, the older ones are intact"
        raise disk_error(error, doing, folder, needed) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _contents(tree: Any) -> dict[str, bytes]:
    # Bytes first, own writes later: then a full disk is an OSError, and the checksum is that of what was meant.
    from safetensors.torch import save as to_bytes

    json_tree, tensors = encode(tree)
    state = json.dumps(json_tree, allow_nan=False, separators=(",", ":")).encode()
    if len(state) > MAX_STATE:
        raise ValueError(f"the state without its arrays has {len(state)} bytes, more than {MAX_STATE}: use arrays")
    return {TENSORS: to_bytes(tensors), STATE: state}


def _write(temporary: Path, step: int, contents: dict[str, bytes], failpoint: Callable[[str], None]) -> None:
    temporary.mkdir()
    for name, point in ((TENSORS, "tensors_written"), (STATE, "state_written")):
        write_synced(temporary / name, contents[name])
        failpoint(point)
    failpoint("before_manifest")
    write_synced(temporary / MANIFEST, _manifest_of(step, contents))
    sync_folder(temporary)
    if problems := _problems(temporary, step):
        raise CorruptFile(f"a new checkpoint does not read back as written ({problems[0]}): suspect the disk")


def _manifest_of(step: int, contents: dict[str, bytes]) -> bytes:
    files = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}
    # No blanks: then every single byte of the manifest matters, and no flipped bit can hide.
    return json.dumps({"schema": SCHEMA, "step": step, "files": files}, separators=(",", ":")).encode()


def _publish(temporary: Path, final: Path, failpoint: Callable[[str], None]) -> None:
    failpoint("before_rename")
    if os.path.lexists(final):
        _discard(final)  # it did not verify
    os.rename(temporary, final)
    failpoint("after_rename")
    sync_folder(final.parent)


def _prune(folder: Path, step: int, keep: int) -> None:
    kept = 1
    for older, path in _checkpoints(folder):
        if older >= step:
            continue
        if kept < keep and not verify(path):
            kept += 1
        else:
            _discard(path)


def _discard(path: Path) -> None:
    """Out of sight in one move, so that a kill half-way leaves nothing that looks like a damaged checkpoint."""
    hidden = path.with_name(_temporary_name())
    os.rename(path, hidden)
    _remove(hidden)


def _temporary_name() -> str:
    return f".tmp-{uuid.uuid4().hex}"


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".tmp-*"):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# ---------------------------------------------------------------------- reading


def _checkpoints(folder: Path) -> Iterator[tuple[int, Path]]:
    """(step, path) of what is named as a checkpoint, newest first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    steps = [int(match[1]) for name in names if (match := NAME.fullmatch(name))]
    yield from ((step, folder / f"step-{step:012d}") for step in sorted(steps, reverse=True))


def _manifest(path: Path, step: int) -> dict[str, dict[str, Any]]:
    """The `files` of the manifest, all of whose fields are as they must be. Else CorruptFile."""
    place = path / MANIFEST
    if path.is_symlink():
        raise CorruptFile(f"{path} is a symbolic link, which is not followed here")
    manifest = parse_json(read_bytes(place, MAX_MANIFEST, follow=False), str(place))
    if not isinstance(manifest, dict) or set(manifest) != {"schema", "step", "files"}:
        raise CorruptFile(f"{place} is not the manifest of a checkpoint")
    if manifest["schema"] != SCHEMA:
        raise CorruptFile(f"{place} has schema {manifest['schema']}; this version reads {SCHEMA}")
    if manifest["step"] != step:
        raise CorruptFile(f"{place} is that of step {manifest['step']}, not of step {step}")
    files = manifest["files"]
    if not isinstance(files, dict) or set(files) != {TENSORS, STATE}:
        raise CorruptFile(f"{place} does not list exactly {TENSORS} and {STATE}")
    for name, entry in files.items():
        if not isinstance(entry, dict) or set(entry) != {"sha256", "bytes"} or type(entry["bytes"]) is not int:
            raise CorruptFile(f"{place} does not give size and SHA-256 of {name}")
    return files


def _checked(path: Path, entry: dict[str, Any]) -> bytes:
    """The content of one file, if it is the one that the manifest vouches for. Else CorruptFile."""
    largest = MAX_STATE if path.name == STATE else 2**62
    data = read_bytes(path, largest, follow=False)
    if len(data) != entry["bytes"]:
        raise CorruptFile(f"{path} has {len(data)} bytes instead of {entry['bytes']}")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CorruptFile(f"{path} does not match its SHA-256 in {MANIFEST}: one of the two has changed")
    return data


def _problems(path: Path, step: int) -> list[str]:
    try:
        files = _manifest(path, step)
    except SandboxError as error:
        return [str(error)]
    problems = []
    for name, entry in files.items():
        try:
            _checked(path / name, entry)
        except SandboxError as error:
            problems.append(str(error))
    return problems


def _step_of(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    if match is None:
        raise CorruptFile(f"{path} is not named step-<12 digits>, as a checkpoint is")
    return int(match[1])


def verify(path: Path) -> list[str]:
    """What is wrong with the checkpoint at `path` (.../step-<12 digits>), a sentence per file; empty if nothing is."""
    try:
        return _problems(Path(path), _step_of(Path(path)))
    except CorruptFile as error:
        return [str(error)]


def load(path: Path) -> Any:
    """The tree of the checkpoint at `path`.

    Raises:
        CorruptFile: it does not verify; names the file and what is wrong with it.
        NoResources: it may not be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    path = Path(path)
    data = {name: _checked(path / name, entry) for name, entry in _manifest(path, _step_of(path)).items()}
    try:
        tensors = from_bytes(data[TENSORS])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptFile(f"{path / TENSORS} is not a safetensors file: {error}") from None
    return decode(parse_json(data[STATE], str(path / STATE)), tensors)


def latest(folder: Path, warn: Callable[[str], object] = warnings.warn) -> tuple[int, Any] | None:
    """(step, tree) of the newest checkpoint in `folder` that verifies; None where there is none at all.

    Newest is the highest step, whatever the clock says. `warn` is told of each damaged one that was passed over.

    Raises:
        CorruptFile: there are checkpoints, and all are damaged.
        NoResources: one may not be read.
    """
    damaged: list[tuple[int, str]] = []
    for step, path in _checkpoints(Path(folder)):
        try:
            tree = load(path)
        except CorruptFile as error:
            damaged.append((step, str(error)))
            continue
        for newer, problem in damaged:
            warn(f"the checkpoint of step {newer} is damaged ({problem}); the one of step {step} is used instead")
        return step, tree
    if damaged:
        listed = "\n".join(f"  step {step}: {problem}" for step, problem in damaged)
        raise CorruptFile(f"no checkpoint in {folder} can be used:\n{listed}\nRemove that folder to start anew.")
    return None
