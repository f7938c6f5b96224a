"""Files are whole or not there, and a bad one is named with its place."""

import errno
import os
from pathlib import Path

import pytest

from sandbox import files
from sandbox.errors import CorruptFile, NoResources
from sandbox.files import read_json, write_json


def test_json_comes_back_and_leaves_no_litter(tmp_path):
    path = tmp_path / "x.json"
    for value in ({"a": [1, 0.1, None, "é", True]}, [1], "text"):
        write_json(path, value)
        assert read_json(path) == value
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_json_is_not_written(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert read_json(path) == 1


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "x.json"
    write_json(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(NoResources, match=r"x\.json.*No space left.*Needed 6 bytes.*free") as caught:
        write_json(path, "new")
    monkeypatch.undo()
    assert caught.value.exit_code == 7
    assert read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n "a": 1,\n "b": oops}', "line 3, column 7"),
        (b"", "line 1"),
        (b'{"a": "\xe9"}', "not UTF-8 text: byte 7"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "recursion"),
        (b" " * 2000, "has 2 kB; at most 1 kB are read"),
    ],
)
def test_a_bad_file_is_named_with_its_place(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=rf"(?s)bad\.json.*{message}"):
        read_json(path, max_bytes=1000 if content.isspace() else 10**6)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.json", tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises((CorruptFile, NoResources), match=str(path)):
            read_json(path)


def test_a_byte_order_mark_is_no_error(tmp_path):
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "bom.json") == [1]
