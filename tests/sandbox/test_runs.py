import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import runs
from sandbox.errors import CorruptFile, Diverged, NoResources, UsageError
from sandbox.files import read_json, write_json
from sandbox.runs import Run, clear_error, create, find_runs, lock, record_error, slug

ROOT = Path(runs.__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


# ------------------------------------------------------------------ names


@given(st.one_of(st.text(), st.text("./-~ \0A"), st.text("ab-", min_size=70, max_size=100)))
def test_a_slug_is_always_one_safe_folder_name(text):
    name = slug(text)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", name)
    assert name not in (".", "..")
    assert name[0] not in "-."
    assert unquote_plus(name) == name  # TensorBoard's projector puts it into an address as it is


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("MiniGrid-DoorKey-8x8-v0", "MiniGrid-DoorKey-8x8-v0"),
        ("ppo+rnd:lr=1e-4", "ppo-rnd-lr-1e-4"),
        ("../../x", "x"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("[red]<script>", "red-script"),
        ("日本", "unnamed"),
    ],
)
def test_slugs(text, name):
    assert slug(text) == name


# ------------------------------------------------------------------ a run and its status


def test_a_new_run_has_its_configuration(tmp_path):
    run = create(tmp_path / "a" / "b", {"env": "E", "sizes": (1, 2)})
    assert run == Run(tmp_path / "a" / "b")
    assert run.config == {"env": "E", "sizes": [1, 2]}
    assert (run.result, run.error, run.status) == (None, None, "stopped")
    assert (run.metrics(), run.timing()) == ([], [])


def test_the_same_configuration_again_is_the_same_run(tmp_path):
    create(tmp_path, {"a": 1, "sizes": (1, 2)})
    assert create(tmp_path, {"sizes": [1, 2], "a": 1}).config == {"a": 1, "sizes": [1, 2]}


def test_a_damaged_configuration_is_written_anew_once_it_is_removed(tmp_path):
    run = create(tmp_path / "run", {"seed": 1})
    run.config_file.write_text("{")
    with pytest.raises(CorruptFile, match=r"config\.json.*Remove that file"):
        create(tmp_path / "run", {"seed": 1})
    run.config_file.unlink()
    assert create(tmp_path / "run", {"seed": 1}).config == {"seed": 1}


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    create(tmp_path, {"agent": {"lr": 0.1, "n": 4}, "old": None})
    with pytest.raises(UsageError) as caught:
        create(tmp_path, {"agent": {"lr": 0.2, "n": 4}, "new": "x"})
    text = str(caught.value)
    assert "agent.lr: 0.1 -> 0.2" in text
    assert "old: null -> (none)" in text
    assert 'new: (none) -> "x"' in text
    assert "agent.n" not in text
    assert Run(tmp_path).config["agent"]["lr"] == 0.1


def test_a_folder_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NoResources, match="file"):
        create(tmp_path / "file" / "run", {})
    monkeypatch.setattr(runs.os, "access", lambda *_: False)
    with pytest.raises(NoResources, match="cannot be written"):
        create(tmp_path / "read-only", {})


def test_status_follows_the_files(tmp_path):
    run = create(tmp_path, {})
    record_error(run, Diverged("the loss is nan"))
    assert run.status == "failed"
    assert run.error == {"type": "Diverged", "message": "the loss is nan", "exit_code": 4}
    assert "the loss is nan" in run.error_log.read_text()
    clear_error(run)
    clear_error(run)
    assert run.status == "stopped"
    assert "the loss is nan" in run.error_log.read_text()
    for content in ('{"status": "half"}', '{"status": "do', "[]", '"done"'):
        run.result_file.write_text(content)
        assert run.status == "stopped"
    record_error(run, ValueError("x"))
    write_json(run.result_file, {"status": "done"})
    assert run.status == "done"
    assert run.error["exit_code"] == 1


def test_the_log_keeps_every_traceback(tmp_path):
    run = create(tmp_path, {})
    for text in ("first", "second \udc80"):
        try:
            raise ValueError(text)
        except ValueError as error:
            record_error(run, error)
    log = run.error_log.read_text()
    assert log.count("Traceback") == 2
    assert log.index("first") < log.index("second")


def test_a_full_disk_does_not_hide_the_failure(tmp_path, monkeypatch):
    run = create(tmp_path, {})
    run.error_log.mkdir()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runs.os, "replace", full)
    record_error(run, Diverged("the loss is nan"))
    assert run.error is None


def test_runs_are_found_in_natural_order(tmp_path):
    for seed in (10, 2, 1):
        create(tmp_path / "E" / "ppo-12345678" / f"seed-{seed}", {"seed": seed})
    create(tmp_path / "D" / "rnd", {})
    create(tmp_path / "D" / "rnd" / "copy", {})  # inside of a run: not one of its own
    (tmp_path / "E" / "empty").mkdir()
    elsewhere = create(tmp_path.parent / f"{tmp_path.name}-elsewhere", {}).path
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [str(run.path.relative_to(tmp_path)) for run in find_runs(tmp_path)]
    assert found == ["D/rnd"] + [f"E/ppo-12345678/seed-{seed}" for seed in (1, 2, 10)]
    assert find_runs(elsewhere) == [Run(elsewhere)]
    assert find_runs(tmp_path / "nowhere") == []


# ------------------------------------------------------------------ the lock

HOLDER = """
import sys, time
from pathlib import Path
from sandbox.runs import Run, lock
with lock(Run(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """A run in use by another process."""
    run = create(tmp_path, {})
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield run, holder
        holder.kill()


def test_a_second_process_is_refused_and_told_by_whom(held):
    run, holder = held
    assert run.status == "running"
    host = os.uname().nodename
    with pytest.raises(NoResources, match=rf"process {holder.pid} on {host} since 20\d\d-") as caught, lock(run):
        pytest.fail("two processes in one run")
    assert caught.value.exit_code == 7
    run.owner_file.write_text("{")
    with pytest.raises(NoResources, match="another process"), lock(run):
        pytest.fail("two processes in one run")


def test_a_killed_holder_frees_the_run(held):
    run, holder = held
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert run.owner_file.exists()
    assert run.status == "stopped"
    with lock(run):
        assert run.status == "running"
        assert read_json(run.owner_file)["pid"] == os.getpid()
    assert run.status == "stopped"
    assert not run.owner_file.exists()


def test_the_lock_is_freed_by_an_error(tmp_path):
    run = create(tmp_path, {})
    for _ in range(2):
        with pytest.raises(KeyError), lock(run):
            raise KeyError
    assert run.status == "stopped"


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NoResources, match="cannot lock"), lock(Run(tmp_path / "file")):
        pytest.fail("locked nothing")


def test_looking_at_a_run_does_not_change_its_folder(tmp_path):
    run = create(tmp_path, {})
    assert run.status == "stopped"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_reading_runs_needs_no_heavy_import():
    heavy = ["torch", "numba", "gymnasium", "numpy", "filelock"]
    code = f"import sys, sandbox.runs, sandbox.versions; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
