"""What there is: agents, worlds, parts and runs, without importing what is heavy."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import layout, registry
from sandbox.errors import CorruptFile, NoResources, UsageError

if TYPE_CHECKING:  # what a list of parts does not need is imported where it is used
    from sandbox.runs import Run

Row = dict[str, str]

WITHOUT_ORACLE = ("MiniGrid-Playground-v0",)  # of the worlds that are stepped in batches
MINIGRID = "Minigrid's own task, stepped in compiled batches."
HOST = "127.0.0.1"  # TensorBoard is for this machine only
FIRST_PORT, PORTS = 6006, 100  # TensorBoard's own, and how many more are tried


def show(kind: str, root: Path, plugins: list[Path], output: str) -> None:
    """Print the list to stdout as a table, JSON or CSV."""
    for plugin in plugins:
        registry.load_plugin(plugin)
    rows = run_rows(root) if kind == "runs" else part_rows(kind)
    if output == "json":
        print(json.dumps(rows, indent=2))
    elif output == "csv":
        print(to_csv(rows), end="")
    else:
        print(to_text(rows) if rows else f"no {kind} in {root}")


def part_rows(kind: str) -> list[Row]:
    """name and summary of each; `agents` are the bases of an agent's name."""
    if kind == "worlds":
        return world_rows()
    kinds = ("learners", "supervised", "reference") if kind == "agents" else (kind,)
    return [{"name": name, "summary": registry.summary(k, name)} for k in kinds for name in registry.names(k)]


def world_rows() -> list[Row]:
    """name of each world, whether it offers an oracle and labels, and a summary; of what cannot be run, why."""
    rows = [_world_row(name, summary) for name, summary in registry.worlds()]
    file = layout.ROOT / "envs" / "minigrid" / "__init__.py"
    for why, names in registry.literal(file, "NOT_BATCHED", {}).items():
        rows += [{"name": name, "oracle": "no", "labels": "no", "summary": f"cannot be run: {why}"} for name in names]
    return rows


def _world_row(name: str, summary: str) -> Row:
    """All that are stepped in batches offer labels; `envs.vector.offers_oracle`, which is heavy, knows of oracles."""
    oracle = "no" if name in WITHOUT_ORACLE else "yes"
    shown = MINIGRID if name.startswith("MiniGrid-") else summary
    return {"name": name, "oracle": oracle, "labels": "yes", "summary": shown}


def run_rows(root: Path) -> list[Row]:
    """path, status, agent, world, seed of every run below `root`."""
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; runs are below the folder that --out named")
    from sandbox.runs import find_runs

    return [_run_row(run) for run in find_runs(root)]


def _run_row(run: Run) -> Row:
    """A damaged one is listed too, with its path alone."""
    from sandbox.analyses._format import plain

    try:
        (agent, world, seed), status = run.identity, run.status
    except CorruptFile:
        return {"path": plain(str(run.path)), "status": "damaged", "agent": "", "world": "", "seed": ""}
    return {
        "path": plain(str(run.path)), "status": status, "agent": plain(agent), "world": plain(world), "seed": str(seed)
    }  # fmt: skip


def to_text(rows: list[Row]) -> str:
    """Columns padded with spaces; plain, as it may go through a pipe."""
    names = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    lines = [[name.upper() for name in names], *([row[name] for name in names] for row in rows)]
    return "\n".join(
        "  ".join(cell.ljust(widths[n]) for cell, n in zip(line, names, strict=True)).rstrip() for line in lines
    )


def to_csv(rows: list[Row]) -> str:
    """With a header."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def free_port() -> int:
    """The first that nobody listens at: TensorBoard would look for one itself, but say too late which."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        with suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise NoResources(f"the ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all in use; name another by --port")


def tensorboard(path: Path, port: int | None) -> None:
    """Run TensorBoard on `path` until Ctrl-C; bound to this machine."""
    if not path.is_dir():
        raise UsageError(f"{path} is no folder; give the folder of the runs (--out)")
    at = port or free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(path), "--host", HOST, "--port", str(at)]
    print(f"TensorBoard on {path}; from another machine: ssh -L {at}:localhost:{at} <this machine>", file=sys.stderr)
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return
    if code:
        raise NoResources(f"TensorBoard ended with {code}; is the port in use (--port)?")
