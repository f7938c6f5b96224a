"""Three trials for each kind of arm of the labels study, on seeds kept apart: is some default far from its best?

A comparison of arms is one of tuned arms only if all had equally many trials. Here each has three values of the setting
that matters most to it (studies/tuning.toml), and the table shows what the study's default gives away. Nothing was
chosen by it: the study's runs are older.

    make study-tuning
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from sandbox.analyses import table
from sandbox.config import load_study
from sandbox.errors import SandboxError
from sandbox.files import read_json, write_json
from sandbox.runs import find_runs

HERE = Path(__file__).parent
COMMAND = "make study-tuning"
ROOT = Path("runs") / "tuning"
RESULT = HERE / "results" / "tuning.json"
TUNED = re.compile(r"[:,](lr|pretrain_steps)=([^,+]+)")


def result(root: Path) -> dict[str, Any]:
    """The table of the finished runs, each row with its arm and the value that was tried (None: the default)."""
    runs = find_runs(root)
    rows = [row | dict(zip(("arm", "tried"), arm_of(row["agent"]), strict=True)) for row in table.rows(runs)]
    return {"command": COMMAND, "versions": read_json(runs[0].versions_file), "rows": rows}


def arm_of(agent: str) -> tuple[str, str | None]:
    """The agent without the setting that was tried, and the setting."""
    found = TUNED.search(agent)
    return TUNED.sub("", agent), found and f"{found[1]}={found[2]}"


def main() -> None:
    from sandbox import main_job

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, help="runs at a time; by default one for each core")
    try:
        main_job.compare(load_study(HERE / "tuning.toml", ()), ROOT, parser.parse_args().jobs, "table", False, COMMAND)
    except SandboxError as error:
        sys.exit(f"stopped: {error}\nThe same command goes on.")
    write_json(RESULT, result(ROOT))
    print(RESULT)


if __name__ == "__main__":
    main()
