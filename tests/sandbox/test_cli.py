"""The command line as a user meets it: help, lists, plans, forms of output, odd terminals."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import listing

Call = Callable[..., Any]
VERBS = ["demo", "train", "compare", "labels", "batch", "resume", "evaluate", "probe", "diagnose"]
VERBS += ["report", "list", "tensorboard"]
KINDS = ["agents", "worlds", "curiosity", "objectives", "supervised", "encoders"]
ANSI = re.compile(r"\x1b\[")


@pytest.mark.parametrize(
    "words", [["--help"], ["list", "worlds"], ["list", "agents"], ["list", "curiosity"], ["train", "--help"]]
)
def test_help_and_lists_import_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    code = (
        "import sys, atexit; from sandbox.__main__ import main\n"
        "heavy = {'torch', 'numba', 'gymnasium', 'numpy'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['sandbox', *{words}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_an_example_of_its_verb(sandbox: Call, verb: str) -> None:
    answer = sandbox(verb, "--help")
    assert answer.code == 0
    example = answer.out.split("Example:")[1].strip().splitlines()
    assert example[0].startswith(f"sandbox {verb}") and not example[1].strip()  # one line, to be copied
    assert "`" not in answer.out
    assert sandbox(verb, "-h").out == answer.out


@pytest.mark.parametrize(
    ("words", "flag"), [(["compare"], "--dry-run"), (["evaluate"], "--deterministic"), ([], "--debug")]
)
def test_a_flag_is_not_shown_with_a_value(sandbox: Call, words: list[str], flag: str) -> None:
    (line,) = [line for line in sandbox(*words, "--help").out.splitlines() if flag in line]
    assert "<bool>" not in line


def test_the_version_is_told(sandbox: Call) -> None:
    answer = sandbox("--version")
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(r"sandbox [0-9.]+\n", answer.out)


def test_the_first_help_names_every_verb(sandbox: Call) -> None:
    answer = sandbox("--help")
    assert answer.code == 0
    assert all(re.search(rf"^\W*{verb}\b", answer.out, re.MULTILINE) for verb in VERBS)


def test_no_verb_shows_the_help_and_is_a_usage_error(sandbox: Call) -> None:
    answer = sandbox()
    assert answer.code == 2
    assert "compare" in answer.out + answer.err


@pytest.mark.parametrize("words", [["trian"], ["train", "--sed", "1"], ["list"], ["list", "wrlds"], ["compare", "ppo"]])
def test_a_wrong_word_is_a_usage_error(sandbox: Call, words: list[str]) -> None:
    answer = sandbox(*words)
    assert answer.code == 2
    assert answer.out == ""
    assert "Traceback" not in answer.err


# ---------------------------------------------------------------------- list


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_says_the_same_in_each_form(sandbox: Call, kind: str) -> None:
    rows = json.loads(sandbox("list", kind, "--format", "json").out)
    assert len(rows) >= 2
    assert all(row["name"] and row["summary"] for row in rows)
    assert list(csv.DictReader(io.StringIO(sandbox("list", kind, "--format", "csv").out))) == rows
    table = sandbox("list", kind)
    assert table.err == ""
    assert [line.split()[0] for line in table.out.splitlines()] == ["NAME", *(row["name"] for row in rows)]


def test_the_list_of_worlds_says_what_a_world_offers(sandbox: Call) -> None:
    from envs import vector

    rows = {row["name"]: row for row in json.loads(sandbox("list", "worlds", "--format", "json").out)}
    for name, row in rows.items():
        if "WFC" in name:
            assert (row["oracle"], row["labels"]) == ("no", "no") and "cannot be run" in row["summary"]
            continue
        env = vector.single(name)
        assert row["oracle"] == ("yes" if vector.offers_oracle(name, env) else "no"), name
        assert row["labels"] == ("yes" if vector.is_batched(name) else "no"), name
        env.close()
    assert rows["MiniGrid-Playground-v0"]["oracle"] == "no"


def test_runs_are_listed_with_their_status(sandbox: Call, small: list[str]) -> None:
    assert sandbox("train", "random", "--env", "DeepSea-v0", *small, "--out", "out").code == 0
    rows = json.loads(sandbox("list", "runs", "out", "--format", "json").out)
    assert [(row["status"], row["agent"], row["world"], row["seed"]) for row in rows] == [
        ("done", "random", "DeepSea-v0", "0")
    ]
    assert list(csv.DictReader(io.StringIO(sandbox("list", "runs", "out", "--format", "csv").out))) == rows
    assert rows[0]["path"] in sandbox("list", "runs", "out").out


def test_an_empty_folder_has_no_runs(sandbox: Call, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    answer = sandbox("list", "runs", "out")
    assert answer.code == 0
    assert "no runs" in answer.out
    assert json.loads(sandbox("list", "runs", "out", "--format", "json").out) == []


# ---------------------------------------------------------------------- --dry-run


@pytest.mark.parametrize(
    "words",
    [
        ["train", "ppo+counts", "--env", "DeepSea-v0"],
        ["compare", "ppo", "random", "--env", "DeepSea-v0", "--env", "CartPole-v1", "--seeds", "2"],
        ["demo", "--seeds", "1"],
    ],
)
def test_a_dry_run_writes_nothing(sandbox: Call, tmp_path: Path, words: list[str]) -> None:
    answer = sandbox(*words, "--dry-run", "--out", "out")
    assert answer.code == 0, answer.err
    assert list(tmp_path.iterdir()) == []
    assert words[1].split()[0] in answer.out or words[0] == "demo"


def test_a_dry_run_says_what_it_would_cost(sandbox: Call) -> None:
    words = ["compare", "ppo", "random", "--env", "DeepSea-v0", "--seeds", "3", "--steps", "20000", "--dry-run"]
    answer = sandbox(*words, "--jobs", "2")
    assert "6 runs, 2 at a time" in answer.out
    # 64 copies x 128 steps make a rollout of 8192; two of them fit into 20,000 for each of the three learning runs.
    assert f"{3 * 2 * 8192:,} environment steps" in answer.out


def test_a_study_file_is_planned_from_its_own_folder(sandbox: Call, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(
        'name = "one"\nagents = ["random"]\nenvs = ["DeepSea-v0"]\nsteps = 1000\nseeds = [7]\n'
    )
    answer = sandbox("batch", "one.toml", "--dry-run")
    assert answer.code == 0, answer.err
    assert "seed-7" in answer.out
    assert str(Path("runs") / "one") in answer.out


# ---------------------------------------------------------------------- forms of output, odd terminals


@pytest.fixture
def done(sandbox: Call, small: list[str]) -> str:
    assert sandbox("train", "random", "--env", "DeepSea-v0", *small, "--out", "out").code == 0
    return "out"


def test_data_goes_to_stdout_and_the_rest_to_stderr(sandbox: Call, done: str) -> None:
    answer = sandbox("report", done, "--format", "json")
    assert set(json.loads(answer.out)) == {"schema", "study", "rows", "claims"}
    assert "report" in answer.err
    table = sandbox("report", done, "--format", "csv")
    assert [row["agent"] for row in csv.DictReader(io.StringIO(table.out))] == ["random"]


@pytest.mark.parametrize("verb", ["report", "evaluate"])
def test_no_terminal_no_colour(sandbox: Call, done: str, verb: str) -> None:
    place = json.loads(sandbox("list", "runs", done, "--format", "json").out)[0]["path"] if verb == "evaluate" else done
    answer = sandbox(verb, place)
    assert answer.code == 0
    assert not ANSI.search(answer.out + answer.err)


@pytest.mark.parametrize(
    ("env", "ascii_only"),
    [
        ({"COLUMNS": "20"}, False),
        ({"NO_COLOR": "1", "TERM": "xterm-256color"}, False),
        ({"TERM": "dumb"}, False),
        ({"LANG": "C", "LC_ALL": "C"}, False),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}, True),
    ],
)
def test_odd_terminals_get_the_same_data(start: Call, done: str, env: dict[str, str], ascii_only: bool) -> None:
    process = start("report", done, env=env)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "random" in "".join(out.split())
    assert not ANSI.search(out + err)
    assert not ascii_only or (out + err).isascii()


def test_a_terminal_of_twenty_columns_and_no_colour(tmp_path: Path, done: str) -> None:
    """On a real (pseudo) terminal: the colour that a terminal would get is left out with NO_COLOR."""
    import pty

    shown = {}
    for name, extra in (("plain", {"NO_COLOR": "1"}), ("colour", {})):
        parent, child = pty.openpty()
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        env |= {"COLUMNS": "20", "TERM": "xterm-256color"} | extra
        command = [sys.executable, "-m", "sandbox", "train", "--help"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=child, stderr=child, env=env)
        os.close(child)
        data = b""
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            data += piece
        os.close(parent)
        assert process.wait(30) == 0
        shown[name] = data.decode()
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert colour.search(shown["colour"])
    assert not colour.search(shown["plain"])
    assert max(len(ANSI.split(line)[0].rstrip()) for line in shown["plain"].splitlines()) <= 20


# ---------------------------------------------------------------------- closed and full outputs


def test_a_reader_that_has_seen_enough_is_no_error(start: Call) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("list", "worlds", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


def test_a_closed_stdout_swallows_the_data_and_nothing_else(start: Call, tmp_path: Path, small: list[str]) -> None:
    words = ["train", "random", "--env", "DeepSea-v0", *small, "--out", "out"]
    process = start(*words, stdout=None, preexec_fn=lambda: os.close(1))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    (result,) = (tmp_path / "out").rglob("result.json")
    assert json.loads(result.read_text())["status"] == "done"
    assert all("runs success" not in path.read_text("utf-8", "replace") for path in (tmp_path / "out").rglob("*.json*"))


def unheard(start: Call, *words: str) -> tuple[int, str]:
    """Exit code and output of a command whose stderr nobody reads."""
    read, write = os.pipe()
    os.close(read)
    process = start(*words, stderr=write)
    os.close(write)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def test_a_closed_stderr_does_not_end_a_run(start: Call, small: list[str]) -> None:
    code, out = unheard(start, "train", "random", "--env", "DeepSea-v0", *small, "--out", "out", "--format", "json")
    assert code == 0
    assert json.loads(out)["rows"][0]["runs"] == 1


def test_an_error_that_nobody_reads_keeps_its_code(start: Call) -> None:
    assert unheard(start, "train", "ppo", "--env", "DeepSee-v0") == (2, "")


def test_a_full_stdout_is_told(start: Call) -> None:
    with open("/dev/full", "w") as full:
        process = start("list", "worlds", stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 7
    assert "No space left" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("place", [0, 2, 4])
def test_debug_shows_the_traceback_wherever_it_stands(sandbox: Call, place: int) -> None:
    words = ["train", "ppo+novelt", "--env", "DeepSea-v0"]
    answer = sandbox(*words[:place], "--debug", *words[place:])
    assert answer.code == 2
    assert "Traceback" in answer.err
    assert answer.err.splitlines()[-1].startswith("error: agent")


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_the_variable_for_tracebacks_can_be_off(
    sandbox: Call, monkeypatch: pytest.MonkeyPatch, value: str, shown: bool
) -> None:
    monkeypatch.setenv("SANDBOX_DEBUG", value)
    answer = sandbox("train", "ppo+novelt", "--env", "DeepSea-v0")
    assert answer.code == 2
    assert ("Traceback" in answer.err) == shown


@pytest.mark.parametrize("words", [["train", "ppo"], ["labels"]])
def test_a_verb_for_one_world_refuses_two(sandbox: Call, words: list[str]) -> None:
    answer = sandbox(*words, "--env", "DeepSea-v0", "--env=DiscoMaze-v0", "--dry-run")
    assert (answer.code, answer.out) == (2, "")
    assert "--env is given more than once" in answer.err and "sandbox compare" in answer.err


def test_a_world_that_cannot_be_run_is_refused_with_the_reason(sandbox: Call) -> None:
    answer = sandbox("train", "ppo", "--env", "MiniGrid-WFC-MazeSimple-v0", "--dry-run")
    assert (answer.code, answer.out) == (2, "")
    assert "cannot be run: its levels cannot be drawn" in answer.err and "pip install" not in answer.err


def test_an_unknown_world_gets_one_suggestion(sandbox: Call) -> None:
    answer = sandbox("train", "ppo", "--env", "CartPol-v1", "--dry-run")
    assert answer.code == 2
    assert answer.err.count("Did you mean") == 1 and "Did you mean CartPole-v1" in answer.err
    assert ".." not in answer.err


def test_a_run_that_is_done_and_has_no_checkpoint_is_made_anew(sandbox: Call, tmp_path: Path, small: list[str]) -> None:
    assert sandbox("train", "ppo", "--env", "DeepSea-v0", "--steps", 512, *small, "--out", "my runs").code == 0
    (result,) = (tmp_path / "my runs").rglob("result.json")
    shutil.rmtree(result.parent / "checkpoints")
    for verb in ("evaluate", "diagnose"):
        answer = sandbox(verb, result.parent)
        assert answer.code == 2
        assert f"delete {result}, then `sandbox resume '{result.parent}'` makes it anew" in answer.err
    result.unlink()
    assert f"`sandbox resume '{result.parent}'` goes on with it" in sandbox("evaluate", result.parent).err
    assert sandbox("resume", result.parent).code == 0
    assert sandbox("evaluate", result.parent).code == 0


def test_tensorboard_is_told_a_port_that_is_free(
    sandbox: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(listing.subprocess, "run", run)
    with socket.create_server((listing.HOST, 0)) as taken:
        monkeypatch.setattr(listing, "FIRST_PORT", taken.getsockname()[1])
        answer = sandbox("tensorboard", ".")
    assert answer.code == 0, answer.err
    port = int(ran[0][ran[0].index("--port") + 1])
    assert port > listing.FIRST_PORT and f"ssh -L {port}:localhost:{port}" in answer.err


def test_a_folder_that_shadows_ours_is_refused(tmp_path: Path, start: Call) -> None:
    (tmp_path / "other" / "envs").mkdir(parents=True)
    (tmp_path / "other" / "envs" / "__init__.py").write_text("")
    process = start("list", "worlds", env={"PYTHONPATH": str(tmp_path / "other")})
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "other" in err
    assert "envs" in err


def test_a_users_folder_with_packages_of_our_names(tmp_path: Path) -> None:
    """The installed command, in a fresh interpreter, from a folder that has its own `envs` and `agents`."""
    for name in ("envs", "agents"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user folder was imported')\n")
    command = [str(Path(sys.executable).parent / "sandbox"), "train", "random", "--env", "DeepSea-v0", "--steps", "100"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_a_dry_run_counts_pre_training_and_labels(sandbox: Call) -> None:
    agent = "bc:labels=100+inverse:mode=frozen,pretrain_steps=20000"
    answer = sandbox("train", agent, "--env", "DeepSea-v0", "--steps", "30000", "--dry-run")
    assert "24,676" in answer.out  # three rollouts of 8,192, and the labels
    answer = sandbox("train", "bc:labels=2+inverse:mode=frozen", "--env", "DeepSea-v0", "--steps", "10", "--dry-run")
    assert answer.code == 2 and "too few for 64 copies" in answer.err


def test_labels_refuses_at_once_where_nothing_is_to_be_reached(sandbox: Call) -> None:
    words = ["labels", "--env", "DeepSea-v0", "--self-taught", "bc+inverse:mode=frozen", "--dry-run"]
    answer = sandbox(*words)
    assert answer.code == 2 and "give --level" in answer.err
    assert sandbox(*words, "--level", "0.9").code == 0


def test_a_file_names_an_agent_in_any_order(sandbox: Call, tmp_path: Path) -> None:
    folders = set()
    for agent in ("ppo+inverse+noveld", "ppo+noveld:alpha=0.5+inverse"):
        (tmp_path / "one.toml").write_text(f'agent = "{agent}"\nsteps = 20000\n[world]\nid = "DeepSea-v0"\n')
        answer = sandbox("train", "--config", "one.toml", "--dry-run")
        assert answer.code == 0, answer.err
        folders.add(answer.out.split("runs/")[1].split()[0])
    assert len(folders) == 1


@pytest.mark.parametrize("text", ["[]", "{}", '{"agent": "ppo", "world": "DeepSea-v0", "seed": 0}', "not JSON"])
def test_a_damaged_configuration_does_not_end_the_list_of_runs(
    sandbox: Call, small: list[str], tmp_path: Path, text: str
) -> None:
    assert sandbox("train", "random", "--env", "DeepSea-v0", *small, "--out", "out").code == 0
    (tmp_path / "out" / "broken").mkdir()
    (tmp_path / "out" / "broken" / "config.json").write_text(text)
    answer = sandbox("list", "runs", "out")
    assert answer.code == 0, answer.err
    assert "damaged" in answer.out and "random" in answer.out
    answer = sandbox("report", "out")
    assert answer.code == 0 and "broken" in answer.err
