"""The verbs of the command line: they read options and call one function each. Heavy imports stay inside."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sandbox.errors import UsageError

app = typer.Typer(
    name="sandbox",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Train agents that teach themselves, and compare them with supervised ones on one budget.\n\n"
    "Start with: sandbox demo\n\nExit codes: 0 done, 1 internal, 2 usage, 3 the environment failed, 4 diverged, "
    "5 corrupt file, 6 some runs of a study failed, 7 resources, 75 stopped but resumable, 130 Ctrl-C.",
)


class Format(StrEnum):
    """How data is written to stdout."""

    table = "table"
    json = "json"
    csv = "csv"


class Kind(StrEnum):
    """What can be listed."""

    agents = "agents"
    worlds = "worlds"
    curiosity = "curiosity"
    objectives = "objectives"
    supervised = "supervised"
    encoders = "encoders"
    runs = "runs"


FLAG = ""  # as metavar: else Typer's help shows <bool>, as if a flag took a value
EnvIds = Annotated[list[str], typer.Option("--env", help="A world's id; repeat for several. Yours: module:Id-v0.")]
Steps = Annotated[int, typer.Option("--steps", help="Cap on environment steps of a run, label collection included.")]
Sets = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. learner.gamma=0.95. Repeatable.")
]
Plugins = Annotated[
    list[Path], typer.Option("--plugin", metavar="FILE", help="A file with a bonus (or another part) of your own.")
]
Expert = Annotated[
    Path | None, typer.Option("--expert", metavar="RUN", help="A finished run whose agent gives the action labels.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the runs.")]
Output = Annotated[Format, typer.Option("--format", help="Form of the data on stdout.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", metavar=FLAG, help="Print what would run and what it would cost, and stop.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, max=1024, help="Runs at a time; all cores by default.")]


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"sandbox {version('dark-energy-sandbox')}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", metavar=FLAG, help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar=FLAG, is_eager=True, callback=_show_version, help="Show the version and stop."
        ),
    ] = False,
) -> None:
    """Options before the verb; `__main__` takes --debug out of the words, so that it may stand after it too."""


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    jobs: Jobs = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds per agent.")] = 5,
    steps: Steps = 400_000,
    output: Output = Format.table,
    dry_run: DryRun = False,
) -> None:
    """The main job on a hard-exploration task: self-taught against supervised agents, five seeds each.

    Example:
    sandbox demo --seeds 2
    """
    from sandbox import main_job

    main_job.compare(main_job.demo_study(seeds, steps), out, jobs, str(output), dry_run, _command())


@app.command()
def train(
    agent: Annotated[str | None, typer.Argument(help="An agent by its parts, e.g. ppo+noveld+inverse.")] = None,
    env: Annotated[str | None, typer.Option("--env", help="A world's id; your own is module:Id-v0.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Cap on environment steps; 500000 by default.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the run; 0 by default.")] = None,
    out: Out = Path("runs"),
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file, or a run's config.json.")] = None,
    sets: Sets = [],
    plugins: Plugins = [],
    expert: Expert = None,
    output: Output = Format.table,
    dry_run: DryRun = False,
) -> None:
    """Train one agent in one world (or go on where an earlier run was cut).

    Example:
    sandbox train ppo+counts --env MiniGrid-DoorKey-8x8-v0 --steps 1000000
    """
    from sandbox import main_job

    _check_one_world()
    experiment = main_job.experiment(agent, env, steps, seed, config, sets, plugins, expert)
    main_job.train(experiment, out, str(output), dry_run, _command())


@app.command()
def compare(
    agents: Annotated[list[str], typer.Argument(help="Agents by their parts, e.g. ppo ppo+counts bc:labels=1000.")],
    envs: EnvIds,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10_000, help="Seeds per agent and world.")] = 5,
    steps: Steps = 500_000,
    jobs: Jobs = None,
    out: Out = Path("runs/compare"),
    sets: Sets = [],
    plugins: Plugins = [],
    expert: Expert = None,
    output: Output = Format.table,
    dry_run: DryRun = False,
) -> None:
    """Compare agents in worlds over seeds, on one budget; runs that are done are kept, cut ones resumed.

    Example:
    sandbox compare ppo ppo+counts bc:labels=1000 --env MiniGrid-DoorKey-8x8-v0
    """
    from sandbox import main_job

    study = main_job.study(agents, envs, seeds, steps, sets, plugins, expert)
    main_job.compare(study, out, jobs, str(output), dry_run, _command())


@app.command()
def labels(
    env: Annotated[str, typer.Option("--env", help="A world's id, one with an oracle. Yours: module:Id-v0.")],
    supervised: Annotated[
        list[str], typer.Option("--supervised", help="An arm that is told: bc, state, ... Repeatable.")
    ] = ["bc"],
    self_taught: Annotated[
        list[str],
        typer.Option(
            "--self-taught", help="An arm that is told nothing, or few labels if it has such a part. Repeatable."
        ),
    ] = ["ppo+noveld+inverse"],
    least: Annotated[int, typer.Option("--min-labels", min=2, help="Smallest number of labels.")] = 32,
    most: Annotated[int, typer.Option("--max-labels", min=2, help="Largest; the grid is the powers of two.")] = 8192,
    level: Annotated[
        float | None, typer.Option("--level", min=0, max=1, help="A success rate to reach besides, e.g. 0.9.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10_000, help="Seeds per agent and label count.")] = 5,
    steps: Steps = 500_000,
    jobs: Jobs = None,
    out: Out = Path("runs/labels"),
    sets: Sets = [],
    plugins: Plugins = [],
    expert: Expert = None,
    output: Output = Format.table,
    dry_run: DryRun = False,
) -> None:
    """How many labels a supervised agent needs to do as well as one that was told none: the crossing, with a figure.

    Example:
    sandbox labels --env MiniGrid-MultiRoom-N4-S5-v0 --supervised bc --seeds 10
    """
    from sandbox import main_job
    from sandbox.label_study import label_study

    _check_one_world()
    study = label_study(env, supervised, self_taught, least, most, seeds, steps, sets, plugins, expert, level)
    main_job.labels(study, out, jobs, str(output), dry_run, _command(), level)


@app.command()
def batch(
    file: Annotated[Path, typer.Argument(help="A study in TOML.")],
    jobs: Jobs = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the runs; runs/<name> by default.")] = None,
    sets: Sets = [],
    output: Output = Format.table,
    dry_run: DryRun = False,
) -> None:
    """Run the study that a file describes; only what is missing.

    Example:
    sandbox batch studies/demo.toml --jobs 2
    """
    from sandbox import main_job
    from sandbox.config import load_study

    study = load_study(file, sets)
    main_job.compare(study, out or Path("runs") / study.name, jobs, str(output), dry_run, _command())


@app.command()
def resume(path: Annotated[Path, typer.Argument(help="A run, or a folder of runs.")], jobs: Jobs = None) -> None:
    """Go on with every run below PATH that was cut or failed.

    Example:
    sandbox resume runs/compare
    """
    from sandbox import main_job

    main_job.resume(path, jobs, _command())


@app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(help="A run.")],
    episodes: Annotated[
        int | None, typer.Option("--episodes", min=1, max=1_000_000, help="How many; the run's own by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the evaluation; the run's own by default.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", metavar=FLAG, help="The most likely action, not a sample.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Play a run's final agent on unseen levels; the run itself is not changed.

    Example:
    sandbox evaluate runs/DeepSea-v0/ppo-counts-1a2b3c4d/seed-0 --episodes 500
    """
    from sandbox import main_job

    main_job.evaluate(path, episodes, seed, deterministic, str(output))


@app.command()
def probe(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run or several.")],
    output: Output = Format.table,
) -> None:
    """What a linear reader finds of the world's true state in what runs have learned, beside four controls.

    Example:
    sandbox probe runs/MiniGrid-DoorKey-8x8-v0/ppo-inverse-1a2b3c4d/seed-0
    """
    from sandbox import probe as probing

    probing.show(paths, str(output))


@app.command()
def diagnose(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run.")], output: Output = Format.table
) -> None:
    """Whether a run's representation is healthy, collapsing or collapsed, against its untrained encoder.

    Example:
    sandbox diagnose runs/MiniGrid-DoorKey-8x8-v0/ppo-inverse-1a2b3c4d/seed-0
    """
    from sandbox import diagnose as diagnosing

    diagnosing.show(path, str(output))


@app.command()
def report(path: Annotated[Path, typer.Argument(help="A folder of runs.")], output: Output = Format.table) -> None:
    """Make the tables, the figure and the claims of all runs below PATH again.

    Example:
    sandbox report runs/demo --format json
    """
    from sandbox import main_job

    main_job.report(path, str(output))


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    root: Annotated[Path, typer.Argument(help="For runs: the folder to look in.")] = Path("runs"),
    plugins: Plugins = [],
    output: Output = Format.table,
) -> None:
    """List agents, worlds, parts, or runs.

    Example:
    sandbox list worlds
    """
    from sandbox import listing

    listing.show(str(kind), root, plugins, str(output))


@app.command()
def tensorboard(
    path: Annotated[Path, typer.Argument(help="A folder of runs.")] = Path("runs"),
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="The next free one by default.")] = None,
) -> None:
    """Show runs in TensorBoard (on this machine only).

    Example:
    sandbox tensorboard runs/demo
    """
    from sandbox import listing

    listing.tensorboard(path, port)


def _check_one_world() -> None:
    """Of an option that is given twice Typer takes the last and says nothing."""
    if sum(word.partition("=")[0] == "--env" for word in sys.argv) > 1:
        raise UsageError("--env is given more than once; this verb takes one world, `sandbox compare` takes several")


def _command() -> str:
    import shlex

    return shlex.join(["sandbox", *sys.argv[1:]])
