"""What a person sees while runs go on: lines where no terminal is, a table where one is, nothing that ends a run."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sandbox import terminal
from sandbox.config import Experiment, World
from sandbox.runs import Run
from sandbox.study import Job


def job(folder: Path, agent: str = "ppo", seed: int = 0, state: str = "waiting", message: str = "") -> Job:
    experiment = Experiment(agent=agent, world=World(id="DeepSea-v0"), steps=1000, seed=seed)
    return Job(Run(folder / f"{agent}-{seed}"), experiment, state, message)


def test_a_line_for_each_change_and_none_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(tmp_path, seed=0), job(tmp_path, seed=1)]
    with terminal.study_progress() as show:
        show(jobs)
        assert capsys.readouterr().err == ""
        jobs[0].state = "running"
        show(jobs)
        show(jobs)
        assert capsys.readouterr().err == "[0/2] running ppo DeepSea-v0 seed 0\n"
        jobs[0].state, jobs[0].message = "failed", "no luck"
        jobs[1].state = "skipped"
        show(jobs)
    shown = capsys.readouterr()
    assert shown.err == "[2/2] failed ppo DeepSea-v0 seed 0: no luck\n[2/2] skipped ppo DeepSea-v0 seed 1\n"
    assert shown.out == ""


def test_the_table_has_a_mark_for_each_seed_and_the_latest_numbers(tmp_path: Path) -> None:
    states = ["done", "skipped", "failed", "running", "waiting", "stopped"]
    jobs = [job(tmp_path, seed=i, state=state) for i, state in enumerate(states)]
    jobs[3].run.path.mkdir()
    rows = [{"step": 400, "rollout/success_rate": 0.25}, {"step": 500, "rollout/success_rate": 0.5}]
    jobs[3].run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 600, "roll')
    out = io.StringIO()
    for plain, marks in ((False, "●○✗▶·■"), (True, "dsfrws")):
        Console(file=out, width=100).print(terminal._table(jobs, 7.0, plain))
        text = out.getvalue()
        assert marks in text
    assert "4 of 6 runs, 7 s" in text
    assert "50% success 0.50" in text  # the half-written last line is not read


def test_what_is_running_comes_first_as_the_end_of_a_long_table_is_not_seen(tmp_path: Path) -> None:
    jobs = [job(tmp_path, agent=f"ppo{i}", state="running" if i == 30 else "waiting") for i in range(40)]
    out = io.StringIO()
    Console(file=out, width=100).print(terminal._table(jobs, 0.0, False))
    shown = [line.split()[0] for line in out.getvalue().splitlines()[2:]]
    assert shown == [f"ppo{i}" for i in [30, *range(30), *range(31, 40)]]


def test_agents_are_shown_as_they_are_and_not_as_markup(tmp_path: Path) -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(terminal._table([job(tmp_path, agent="ppo+[red]mine[/red]")], 0.0, False))
    assert "ppo+[red]mine[/red]" in out.getvalue()


def test_a_terminal_gets_a_live_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich replaces stderr while a live table is shown; what replaces it has no encoding."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(terminal, "console", lambda: Console(file=screen, force_terminal=True, width=100))
    with terminal.study_progress() as show:
        show([job(tmp_path, state="running")])
        assert getattr(sys.stderr, "encoding", None) is None  # else this test does not test what it says
    with terminal.run_progress("ppo", 100) as tell:
        tell(50, 100, {"return": 0.5})
    screen.flush()
    text = screen.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "0 of 1 runs" in text
    assert "50/100" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, {}),
        (b"", {}),
        (b'{"step": 1}', {}),
        (b'{"step": 1}\n', {"step": 1}),
        (b'{"step": 1}\n{"step": 2}\n{"st', {"step": 2}),
        (b'{"step": 1}\nnoise\n[3]\n', {"step": 1}),
        (b'{"step": 1}\n' + b"x" * 20_000 + b"\n", {}),
    ],
)
def test_the_last_whole_row(tmp_path: Path, content: bytes | None, expected: dict[str, Any]) -> None:
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert terminal.last_row(path) == expected


class Gone(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_is_gone_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    terminal.note("hello")
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    with terminal.run_progress("ppo", 100) as show:
        show(10, 100, {"return": 1.0})


def test_one_run_says_a_line_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal.run_progress("ppo", 1000) as show:
        show(10, 1000, {})
        assert capsys.readouterr().err == ""  # not yet
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    with terminal.run_progress("ppo", 10_000) as show:
        show(2000, 10_000, {"success": 0.5, "return": 1.23456})
    assert capsys.readouterr().err == "2,000 of 10,000 steps  success 0.5  return 1.23\n"
