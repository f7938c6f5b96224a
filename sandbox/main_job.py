"""What the verbs do: from options to a study, from a study to runs, from runs to a table and the claims it allows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sandbox import printing, terminal
from sandbox import report as reporting
from sandbox import study as studies
from sandbox.analyses import crossing, table
from sandbox.config import Experiment, Study, build, load_experiment, override, to_dict
from sandbox.errors import CorruptFile, Diverged, NoResources, SandboxError, StudyIncomplete, UsageError
from sandbox.registry import load_plugin
from sandbox.runs import Run, create, find_runs
from sandbox.signals import stop_requests
from sandbox.spec import parse_agent
from sandbox.study import Job
from sandbox.values import quoted

DEMO_ENV = "MiniGrid-MultiRoom-N4-S5-v0"
DEMO_AGENTS = [
    "random", "ppo", "ppo+counts", "ppo+noveld", "ppo+noveld+inverse", "bc:labels=300", "bc:labels=3000", "oracle",
]  # fmt: skip


# ---------------------------------------------------------------------- from options to configurations


def demo_study(seeds: int, steps: int) -> Study:
    """The main job: reward alone, curiosity, curiosity and self-supervision, and two budgets of labels."""
    return build(
        Study, {"name": "demo", "agents": DEMO_AGENTS, "envs": [DEMO_ENV], "seeds": seeds, "steps": steps}, "demo"
    )


def study(
    agents: list[str],
    envs: list[str],
    seeds: int,
    steps: int,
    sets: Sequence[str],
    plugins: Sequence[Path],
    expert: Path | None = None,
) -> Study:
    """A study from the command line."""
    data: dict[str, Any] = {"name": "compare", "agents": agents, "envs": envs, "seeds": seeds, "steps": steps}
    data |= {"expert": str(expert)} if expert is not None else {}
    return build(Study, override(data | {"plugins": [str(path) for path in plugins]}, sets), "the command line")


def experiment(
    agent: str | None,
    env: str | None,
    steps: int | None,
    seed: int | None,
    config: Path | None,
    sets: Sequence[str],
    plugins: Sequence[Path],
    expert: Path | None = None,
) -> Experiment:
    """One experiment, from a file or from the command line."""
    given = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    if config is not None:
        if agent or env or plugins or expert:
            raise UsageError(
                "--config names a whole experiment; change it by --set, not by AGENT, --env, --plugin or --expert"
            )
        made = load_experiment(config, [*(f"{name}={value}" for name, value in given.items()), *sets])
        for plugin in made.plugins:
            load_plugin(plugin.path)  # before the agent's name is read: its parts may be there
        return made.model_copy(update={"agent": str(parse_agent(made.agent))})
    if agent is None or env is None:
        example = "sandbox train ppo+counts --env DeepSea-v0"
        raise UsageError(f"train needs an AGENT and --env (or --config FILE), e.g. {example}")
    loaded = [load_plugin(path) for path in plugins]
    data: dict[str, Any] = {"agent": agent, "world": {"id": env}, "steps": 500_000} | given
    data["plugins"] = [{"path": str(plugin.path), "sha256": plugin.sha256} for plugin in loaded]
    if expert is not None:
        from sandbox.expert import refer

        data["expert"] = refer(expert).model_dump()
    made = build(Experiment, override(data, sets), "the command line")
    return made.model_copy(update={"agent": str(parse_agent(made.agent))})


# ---------------------------------------------------------------------- doing


def train(experiment_: Experiment, out: Path, output: str, dry_run: bool, command: str) -> None:
    """One run in this process, to its result."""
    folder = studies.folder_of(experiment_, out)
    if dry_run:
        printing.show_plan([experiment_], out, 1, output)
        return
    _check_worlds([experiment_])
    run = create(folder, to_dict(experiment_))
    _train_here(run, experiment_, command)
    rows = table.rows([run])
    printing.write(rows, [], "train", output)
    printing.next_lines([f"sandbox evaluate {quoted(folder)}"])


def _train_here(run: Run, experiment_: Experiment, command: str) -> None:
    from sandbox.worker import run_once

    if run.status == "done":
        terminal.note(f"already done: {run.path}")
        return
    with (
        stop_requests(notify=terminal.note) as should_stop,
        terminal.run_progress(experiment_.agent, experiment_.steps) as show,
    ):
        try:
            run_once(run, progress=show, should_stop=should_stop, warn=terminal.note, command=command)
        except BaseException as error:
            if not isinstance(error, Diverged | UsageError):  # which would only come again
                terminal.note(f"{printing.kept(run)}; to go on: sandbox resume {quoted(run.path)}")
            raise


def compare(study_: Study, out: Path, jobs: int | None, output: str, dry_run: bool, command: str) -> None:
    """A whole study: run what is missing, then table, claims and report.

    Raises:
        StudyIncomplete: some runs failed; the table is printed all the same.
    """
    todo = _run(study_, out, jobs, output, dry_run, command)
    if todo is not None:
        _finish(study_.name, [job.run for job in todo], out, output)
        _complain(todo)


def labels(
    study_: Study, out: Path, jobs: int | None, output: str, dry_run: bool, command: str, level: float | None
) -> None:
    """`compare`, then the crossing of what is told with what is not, in `out` as crossing.json, .md and .png.

    Raises:
        StudyIncomplete: some runs failed; the crossing is printed all the same.
        UsageError: these runs have none, as too many of them failed.
    """
    todo = _run(study_, out, jobs, output, dry_run, command)
    if todo is None:
        return
    runs = [job.run for job in todo]
    path = crossing.analyse(runs, out, level)
    if path is None:
        _complain(todo)
        raise UsageError(f"{out}: no crossing: a label-free learner, or --level, and the score or success are needed")
    printing.write_crossing(crossing.worlds(runs, level), output)
    _report_folder(out)
    terminal.note(f"\ncrossing: {path.with_suffix('.png')}")
    printing.next_lines([f"cat {quoted(path)}", f"sandbox report {quoted(out)}"])
    _complain(todo)


def _run(study_: Study, out: Path, jobs: int | None, output: str, dry_run: bool, command: str) -> list[Job] | None:
    """Every run of the study, done or failed; None where nothing was to be done but to print the plan."""
    experiments = study_.experiments()
    workers = jobs or study_.jobs or studies.default_jobs()
    if dry_run:
        printing.show_plan(experiments, out, workers, output)
        return None
    missing = [one for one in experiments if printing.status(one, out) != "done"]
    if missing:  # the server imports what the workers need while this process checks what is asked for
        studies.start_server([] if study_.world.kwargs else study_.envs)
        _check_worlds(missing)
    todo = studies.prepare(experiments, out)
    _execute(todo, workers, command, out)
    return todo


def _check_worlds(experiments: list[Experiment]) -> None:
    """Refuse at once what no run could do: an unknown world, an arm that needs an oracle where there is none."""
    from sandbox import expert
    from sandbox.plan import check_device, plan

    seen = set()
    for one in experiments:
        key = (one.agent, one.world.id)
        if key not in seen:
            seen.add(key)
            expert.load(plan(one))
            check_device(one.device)


def _execute(todo: list[Job], workers: int, command: str, out: Path) -> None:
    skipped = sum(job.state == "skipped" for job in todo)
    if skipped:
        terminal.note(f"{skipped} of {len(todo)} runs are done already")
    try:
        with stop_requests(notify=terminal.note) as should_stop, terminal.study_progress() as watch:
            studies.execute(todo, workers, watch=watch, should_stop=should_stop, command=command)
    except BaseException:
        if any(job.state != "done" for job in todo):
            terminal.note(f"to go on: the same command again, or sandbox resume {quoted(out)}")
        raise
    finally:
        _tell_warnings([job.run for job in todo if job.state != "skipped"])


def _tell_warnings(runs_: list[Run]) -> None:
    """Each once, with one of the runs that said it."""
    said: dict[str, list[Run]] = {}
    for run in runs_:
        if run.warnings_file.exists():
            for line in dict.fromkeys(run.warnings_file.read_text("utf-8").splitlines()):
                said.setdefault(line, []).append(run)
    for line, found in said.items():
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        terminal.note(f"{found[0].path}{others}: {line}")


def _complain(todo: list[Job]) -> None:
    """Runs that failed, or that somebody stopped one by one."""
    ends = [(state, sum(job.state == state for job in todo)) for state in ("failed", "stopped")]
    told = " and ".join(f"{count} of {len(todo)} runs {state}" for state, count in ends if count)
    if told:
        again = "The same command tries them again; error.log in a run's folder says more."
        raise StudyIncomplete(f"{told}:\n{studies.retry_message(todo)}\n{again}")


def _finish(name: str, runs: list[Run], out: Path, output: str) -> None:
    rows, claims = table.rows(runs), table.claims(runs)
    folder = _report_folder(out)
    printing.write(rows, claims, name, output)
    if folder is not None:
        lines = [f"cat {quoted(folder)}/report.md", f"sandbox tensorboard {quoted(out)}"]
        curves = folder / "curves.png"
        if curves.exists():
            terminal.note(f"\nlearning curves: {curves}")
        printing.next_lines(lines)


def _report_folder(out: Path) -> Path | None:
    """The report is a by-product: a full disk or a damaged file must not take the table away."""
    try:
        return reporting.build(out, readable_runs(out))
    except (OSError, SandboxError) as error:
        terminal.note(f"warning: no report: {error}")
        return None


def resume(path: Path, jobs: int | None, command: str) -> None:
    """Go on with every unfinished run below `path`."""
    if not path.is_dir():
        raise UsageError(f"{path} is no folder of a run or of runs")
    found = readable_runs(path)
    if len(found) == 1:
        run, experiment_ = studies.read_run(found[0].path)
        _train_here(run, experiment_, command)
        printing.write(table.rows([run]), [], "resume", "table")
        return
    todo = [Job(run, one, "skipped" if run.status == "done" else "waiting") for run, one in _known(found)]
    _execute(todo, jobs or studies.default_jobs(), command, path)
    _finish("resume", found, path, "table")
    _complain(todo)


def _known(found: list[Run]) -> Iterator[tuple[Run, Experiment]]:
    """With their experiments; one of another version of the sandbox is named and left out."""
    for run in found:
        try:
            yield studies.read_run(run.path)
        except SandboxError as error:
            terminal.note(f"warning: left out: {error}")


def readable_runs(path: Path) -> list[Run]:
    """The runs below `path`; one whose configuration is damaged is named and left out, unless it is the only one.

    Raises:
        UsageError: there is none.
        CorruptFile: none can be read.
    """
    found = find_runs(path)
    if not found:
        raise UsageError(f"{path} holds no runs")
    damaged: dict[Path, CorruptFile] = {}
    for run in found:
        try:
            _ = run.identity
        except CorruptFile as error:
            damaged[run.path] = error
    if len(damaged) == len(found):
        raise next(iter(damaged.values()))
    for reason in damaged.values():
        terminal.note(f"warning: left out: {reason}")
    return [run for run in found if run.path not in damaged]


def evaluate(path: Path, episodes: int | None, seed: int | None, deterministic: bool, output: str) -> None:
    """The final agent of a run on unseen levels; prints one row."""
    from sandbox.experiment import evaluate_run
    from sandbox.plan import plan
    from sandbox.worker import translate

    run, one = studies.read_run(path)
    settings = one.evaluation.model_copy(
        update={
            "episodes": episodes or one.evaluation.episodes,
            "deterministic": deterministic or one.evaluation.deterministic,
        }
    )
    asked = one.model_copy(update={"evaluation": settings})
    try:
        with redirect_stdout(sys.stderr):
            evaluation = evaluate_run(run, plan(asked), one.seed if seed is None else seed, terminal.note)
    except Exception as error:
        raise translate(error) from error
    if run.status != "done":
        terminal.note(f"warning: this run is not done: {printing.kept(run)}")
    row = {
        "agent": one.agent, "env": one.world.id, "episodes": len(evaluation.returns), "levels": evaluation.levels,
        "deterministic": settings.deterministic, "seed": one.seed if seed is None else seed, "status": run.status,
        "return": evaluation.mean_return, "success": evaluation.success_rate,
    }  # fmt: skip
    if output == "json":
        print(json.dumps(row, indent=2))
        return
    from sandbox.listing import to_csv, to_text

    if output == "csv":
        print(to_csv([{name: "" if value is None else str(value) for name, value in row.items()}]), end="")
        return
    shown = {name: f"{v:.4g}" if isinstance(v, float) else "-" if v is None else str(v) for name, v in row.items()}
    print(to_text([shown]))


def report(path: Path, output: str) -> None:
    """Make the report again from what lies on disk."""
    if not path.is_dir():
        raise UsageError(f"{path} is no folder of runs")
    runs = readable_runs(path)
    printing.write(table.rows(runs), table.claims(runs), path.resolve().name, output)
    try:
        folder = reporting.build(path, runs)
    except OSError as error:
        raise NoResources(f"cannot write the report below {path}: {error}") from error
    terminal.note(f"report: {folder}")
