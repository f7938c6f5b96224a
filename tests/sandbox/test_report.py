"""The report on files as runs leave them, and the table in a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sandbox import report
from sandbox.analyses import _format, table
from sandbox.errors import UsageError
from sandbox.runs import find_runs


def write_run(root: Path, agent: str, seed: int, success: float, env: str = "MiniGrid-MultiRoom-N6-v0") -> None:
    folder = root / env / agent / f"seed-{seed}"
    folder.mkdir(parents=True)
    config = {"agent": agent, "world": {"id": env, "kwargs": {}}, "steps": 499_712, "seed": seed}
    cost = {"cpu_seconds": 9.1, "wall_seconds": 9.5, "peak_memory_mb": 610}
    result = {
        "schema": 1, "status": "done", "agent": agent, "env": env, "seed": seed, "steps": 499_712,
        "evaluation": {"episodes": 2, "levels": "held-out (512)", "deterministic": False},
        "return": {"mean": success * 0.7, "episodes": [0.7, 0.7]},
        "success": {"mean": success, "episodes": [True, True]},
        "labels": {"actions": 0, "states": 0, "rewards": 499_712, "terminations": 499_712}, "privileged": [],
        "cost": cost | {"joules": {"value": 91.0, "source": "estimated (10 W per busy core)"}},
    }  # fmt: skip
    rows = [{"step": 1000 * k, "eval/success_rate": success * k / 5} for k in range(6)]
    versions = {"sandbox": "0.1.0", "commit": f"abc{seed % 2}", "packages": {"torch": "2.13.0", "numpy": "2.4.6"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "versions.json").write_text(json.dumps(versions))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "my study"
    for seed, success in enumerate([0.10, 0.12, 0.11, 0.14, 0.13]):
        write_run(root, "ppo", seed, success)
        write_run(root, "ppo+counts", seed, 0.95 + seed / 100)
    return root


def test_the_report_has_tables_claims_figure_versions_and_commands(root: Path) -> None:
    folder = report.build(root)
    text = (folder / "report.md").read_text()
    assert folder == root / "report"
    assert {path.name for path in folder.iterdir()} == {
        "report.md", "table.md", "table.csv", "table.json", "curves.png", "ledger.md", "coverage.md",
    }  # fmt: skip
    assert text.startswith("# my study\n\n10 runs: 10 done.\n")
    assert "success: ppo+counts is above ppo by 0.85 [" in text
    assert "![curves](curves.png)" in text
    assert (folder / "table.md").read_text() in text
    assert (folder / "ledger.md").read_text() in text
    assert "* commit: abc0; abc1\n" in text  # two commits: shown, not hidden
    assert "* torch: 2.13.0\n" in text
    assert f"    sandbox report '{root}'\n" in text
    assert f"    sandbox train --config '{root}/MiniGrid-MultiRoom-N6-v0/ppo/seed-0/config.json' --out again\n" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Table", "## Coverage", "## Curves", "## Ledger", "## Method", "## Versions", "## Commands",
    ]  # fmt: skip


def test_the_same_runs_give_the_same_report(root: Path) -> None:
    first = {path.name: path.read_bytes() for path in report.build(root).iterdir()}
    assert {path.name: path.read_bytes() for path in report.build(root).iterdir()} == first


def test_every_file_of_the_analyses_is_a_section() -> None:
    folder = Path(report.__file__).parent / "analyses"
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert set(report.names()) == files
    assert report.names()[0] == "table"


def test_a_folder_without_runs_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no runs"):
        report.build(tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_report_that_cannot_be_written_is_an_error(root: Path) -> None:
    (root / "report").write_text("in the way")
    with pytest.raises(FileExistsError):
        report.build(root)


def unfinished(root: Path) -> None:
    for result in root.rglob("result.json"):
        result.unlink()


def test_where_no_run_has_finished_the_report_says_so(root: Path) -> None:
    report.build(root)
    unfinished(root)
    folder = report.build(root)
    text = (folder / "report.md").read_text()
    assert text.startswith("# my study\n\n10 runs: 10 stopped.\n\nNo run has finished: there are no numbers yet.\n")
    assert not (folder / "curves.png").exists()
    assert "## Curves" not in text
    assert "No world" not in text
    assert "| ppo | 0/5 | - |" in text
    assert rendered(table.rows(find_runs(root))).endswith("\nNo run has finished: there are no numbers yet.\n")


def test_runs_that_are_no_replicates_are_noted(root: Path) -> None:
    write_run(root / "again", "ppo", 0, 0.10)
    write_run(root / "longer", "ppo", 0, 0.90)
    longer = next((root / "longer").rglob("config.json"))
    longer.write_text(longer.read_text().replace("499712", "999424"))
    note = "ppo: no interval, a seed twice, not the same steps; 1 copy of a run left out"
    assert f"\n{note}.\n" in (report.build(root) / "report.md").read_text()
    rows = table.rows(find_runs(root))
    assert f"\n{note}\n" in rendered(rows)
    assert (rows[0]["agent"], rows[0]["runs"], rows[0]["success"]["low"]) == ("ppo", 6, None)


def test_a_damaged_line_of_metrics_takes_no_table_away(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = root / "MiniGrid-MultiRoom-N6-v0" / "ppo" / "seed-2" / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write("garbage\n")
    versions = metrics.with_name("versions.json")
    versions.write_text("garbage")
    text = (report.build(root) / "report.md").read_text()
    assert "success: ppo+counts is above ppo by 0.85 [" in text
    said = capsys.readouterr().err
    assert f"warning: left out of the curves: {metrics}, row 7" in said
    assert f"warning: left out of the versions: {versions}" in said


def test_what_runs_were_resumed_on_is_said_in_words(root: Path) -> None:
    first = {"sandbox": "0.1.0", "commit": "abc0", "packages": {"torch": "2.13.0", "numpy": "2.4.6"}}
    second, third = (
        first | {"commit": "def"},
        first | {"commit": "def", "packages": {"torch": "2.14.0", "numpy": "2.4.6"}},
    )
    for seed, resumed in ((0, [second, third]), (2, [second])):
        path = root / "MiniGrid-MultiRoom-N6-v0" / "ppo" / f"seed-{seed}" / "versions.json"
        path.write_text(json.dumps(first | {"resumed": resumed}))
    text = (report.build(root) / "report.md").read_text()
    expected = "resumed on other versions 3 times: commit abc0 to def (2 times); torch 2.13.0 to 2.14.0 (once)"
    assert f"* {expected}\n" in text
    assert "{" not in text[text.index("## Versions") :]


def rendered(rows: list[dict[str, Any]], claims: list[dict[str, Any]] | tuple[()] = (), width: int = 100) -> str:
    out = io.StringIO()
    report.render_table(rows, Console(file=out, width=width), claims)
    return out.getvalue()


def test_the_terminal_table_fits_and_cuts_no_number(root: Path) -> None:
    for seed in range(5):
        write_run(root, "bc:labels=1000+vicreg:mode=frozen:weight=0.25", seed, 0.5, "MiniGrid-ObstructedMaze-1Dlh-v0")
    runs = find_runs(root)
    rows = table.rows(runs)
    text = rendered(rows, table.claims(runs))
    assert max(map(len, text.splitlines())) <= 100
    brackets = [_format.bracket(row[metric]) for row in rows for metric in ("success", "return")]
    for cell in (*brackets, "500k", "9.1", "91 est.", "env"):
        assert cell in text
    assert "…" not in text
    assert "ppo+counts is above ppo" in text


def test_a_narrow_terminal_gets_a_table_for_each_environment(root: Path) -> None:
    for seed in range(5):
        write_run(root, "bc:labels=1000", seed, 0.5, "Other-v0")
    text = rendered(table.rows(find_runs(root)), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "MiniGrid-MultiRoom-N6-v0\n" in text
    assert "Other-v0\n" in text
    assert text.count("0.50 [0.50, 0.50]") == 1
    assert "…" not in text


WORDS = ["bc", ":labels=1000", "+vicreg", ":mode=frozen", ",weight=0.25"]
ORDER = ["joules", "CPU s", "labels", "steps", "return", "success", "runs"]  # the cheapest first


def test_the_agent_is_the_last_to_go(root: Path) -> None:
    """On a narrow terminal, and its name is broken between its words only."""
    for seed in range(5):
        write_run(root, "".join(WORDS), seed, 0.5)
    rows = table.rows(find_runs(root))
    for width in range(13, 101):
        lines = rendered(rows, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("agent")
        names = [line.split()[0] for line in lines[2 : 2 + len(WORDS)]]
        names = names[: names.index("ppo")] if "ppo" in names else names
        assert "".join(names) == "".join(WORDS)
        assert {word for name in names for word in report._words(name)} == set(WORDS)
        gone = {name for name in ORDER if name not in lines[0]}
        assert gone == set(ORDER[: len(gone)])
        assert bool(gone) == any(line.startswith("no room for:") for line in lines)
    assert not gone


def test_a_column_without_numbers_goes_first(root: Path) -> None:
    rows = table.rows(find_runs(root))
    for row in rows:
        row["success"] = None
    assert "success" in rendered(rows, width=68)
    assert "no room for: success\n" in rendered(rows, width=60)


def test_one_environment_needs_no_column(root: Path) -> None:
    text = rendered(table.rows(find_runs(root)))
    assert "env" not in text
    assert "MiniGrid" not in text


def test_names_are_data_not_markup(root: Path) -> None:
    runs = find_runs(root)
    rows, claims = table.rows(runs), table.claims(runs)
    rows[0]["agent"], claims[0]["text"] = "[red]x[/red]\x1b[31m", "[bold]y[/bold]\x1b]0;z\x07"
    text = rendered(rows, claims)
    assert "[red]x[/red]?[31m" in text
    assert "[bold]y[/bold]?]0;z?" in text
    assert "\x1b" not in text


def test_json_refuses_what_json_does_not_know() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.to_json("s", [{"x": float("nan")}], [])
    assert json.loads(report.to_json("s", [], [])) == {"schema": 1, "study": "s", "rows": [], "claims": []}
