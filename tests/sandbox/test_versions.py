"""Versions name what a resume depends on; the commit is that of the source, dirty where a run depends on the change."""

import subprocess
import sys

from sandbox import versions as module
from sandbox.files import read_json, write_json
from sandbox.versions import versions


def test_versions_are_json_and_name_what_matters(tmp_path):
    import numpy
    import torch

    found = versions()
    write_json(tmp_path / "versions.json", found)
    assert read_json(tmp_path / "versions.json") == found
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["numpy"] == numpy.__version__
    assert found["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["torch_threads"] == torch.get_num_threads()
    assert found["cpu"]


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        names = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *names, *arguments], capture_output=True, text=True, check=True
        ).stdout

    monkeypatch.setattr(module, "__file__", str(tmp_path / "sandbox" / "versions.py"))
    assert module._commit() is None
    git("init")
    (tmp_path / "studies" / "results").mkdir(parents=True)
    records = tmp_path / "studies" / "results" / "runs.jsonl"
    (tmp_path / "x").write_text("1")
    records.write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    head = git("rev-parse", "HEAD").strip()
    assert module._commit() == head
    records.write_text("2")  # a study keeps a record while others of its runs are still to come
    assert module._commit() == head
    (tmp_path / "x").write_text("2")
    assert module._commit() == f"{head}-dirty"
    monkeypatch.setenv("PATH", "")
    assert module._commit() is None
