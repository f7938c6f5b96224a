"""The documentation says what is true: commands parse, links lead somewhere, tables equal the code, examples run."""

from __future__ import annotations

import importlib
import json
import math
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import typer
from gymnasium.utils.env_checker import check_env
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from envs import vector
from sandbox import errors, main_job, registry, runs, spec
from sandbox.cli import app
from sandbox.config import Experiment, Study, load_study
from sandbox.label_study import label_study
from sandbox.options import schema
from sandbox.study import folder_of
from studies import methods

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
USING, METHODS, CONTRIBUTING = ROOT / "docs/using.md", ROOT / "docs/methods.md", ROOT / "CONTRIBUTING.md"
PARTS = ("curiosity", "objectives", "encoders", "supervised", "reference")
TINY = [
    "world.copies=4",
    "learner.n_steps=16",
    "evaluation.points=1",
    "evaluation.episodes=4",
]


# ---------------------------------------------------------------------- reading Markdown


def blocks(page: Path) -> list[str]:
    """The fenced blocks, each without its fences."""
    return re.findall(r"^```\w*\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", page.read_text("utf-8"), re.M | re.S)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of the only table in `text`, without its header."""
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def commands() -> Iterator[tuple[str, str, str]]:
    """(page, folder that the command starts from, command) of every command line in a block."""
    for page in PAGES:
        for block in blocks(page):
            folder = "."
            for line in block.splitlines():
                if line.startswith("cd "):
                    folder = line[3:].strip()
                if line.startswith("sandbox "):
                    yield page.name, folder, line


COMMANDS = list(commands())


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """(verb, its parameters) of a command line; raises what the command line would say to it."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    group = typer.main.get_command(app)
    verb, *rest = words
    command = group.commands[verb]  # type: ignore[attr-defined]
    return verb, command.make_context(verb, rest).params


# ---------------------------------------------------------------------- commands and links


def test_there_are_commands() -> None:
    verbs = {shlex.split(line)[1] for _, _, line in COMMANDS}
    assert verbs == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("page", "folder", "line"), COMMANDS, ids=[line for *_, line in COMMANDS])
def test_command_is_right(page: str, folder: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options exist; agents, settings, worlds, plugins and study files too."""
    monkeypatch.chdir(ROOT / folder)
    verb, given = parsed(line)
    agents: list[str] = []
    envs: list[str] = []
    names: tuple[str, ...]
    if verb == "train" and given["config"] is None:
        names = ("agent", "env", "steps", "seed", "config", "sets", "plugins")
        made = main_job.experiment(*(given[name] for name in names))
        agents, envs = [made.agent], [made.world.id]
    if verb == "compare":
        names = ("agents", "envs", "seeds", "steps", "sets", "plugins")
        study = main_job.study(*(given[name] for name in names))
        agents, envs = [one.agent for one in study.experiments()], study.envs
    if verb == "labels":
        names = ("env", "supervised", "self_taught", "least", "most", "seeds", "steps", "sets", "plugins")
        study = label_study(*(given[name] for name in names))
        agents, envs = [one.agent for one in study.experiments()], study.envs
    if verb == "batch":
        load_study(given["file"], given["sets"])
    if verb == "list":
        for plugin in given["plugins"]:
            registry.load_plugin(plugin)
    for agent in agents:
        spec.validate(spec.parse_agent(agent))
    for env in envs:
        module, colon, _ = env.partition(":")
        assert Path(f"{module}.py").is_file() if colon else env in [world for world, _ in registry.worlds()]


def test_folders_of_runs_are_those_that_the_commands_make() -> None:
    """A folder's name ends in the digest of its configuration: a reader who copies it must find it."""
    shown = {one for page in (ROOT / "README.md", USING) for one in re.findall(r"runs/\S+/seed-\d+", page.read_text())}
    agents = ["ppo", "ppo+rnd", "ppo+rnd:lr=1e-3"]
    compared = main_job.study(agents, ["DeepSea-v0"], 5, 500_000, [], [])
    trained = {
        "runs/expert": ("ppo+noveld", "MiniGrid-DoorKey-5x5-v0", 500_000),
        "runs": ("ppo+counts+inverse", main_job.DEMO_ENV, 400_000),
    }
    made = {folder_of(one, Path("runs/demo")) for one in main_job.demo_study(5, 400_000).experiments()}
    made |= {folder_of(one, Path("runs/compare")) for one in compared.experiments()}
    for out, (agent, env, steps) in trained.items():
        made |= {folder_of(main_job.experiment(agent, env, steps, 0, None, [], []), Path(out))}
    assert len(shown) >= 4
    assert {Path(one) for one in shown if "*" not in one} <= made


def test_a_wrong_command_would_be_found() -> None:
    with pytest.raises(Exception, match="--sneeds"):
        parsed("sandbox compare ppo --env DeepSea-v0 --sneeds 5")


def slug(heading: str) -> str:
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_resolve(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text("utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name}: {target}"
        headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.M) if anchor else []
        assert not anchor or anchor in map(slug, headings), f"{page.name}: {target}#{anchor}"


# ---------------------------------------------------------------------- tables


def test_options_of_each_verb() -> None:
    rows = {row[0].strip("`"): set(re.findall(r"--[a-z-]+", row[2])) for row in table(section(USING, "Verbs"))}
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    real = {
        name: {word for option in verb.params for word in option.opts if word.startswith("--")} - {"--help"}
        for name, verb in verbs.items()
    }
    assert rows == real


def test_exit_codes() -> None:
    rows = {(int(code), name.strip("`")) for code, name, _ in table(section(USING, "Exit codes"))}
    kinds: list[type[errors.SandboxError]] = [errors.SandboxError, *errors.SandboxError.__subclasses__()]
    assert rows == {(0, "-"), *((kind.exit_code, kind.__name__) for kind in kinds)}


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, default) as TOML would have it; "required" where there is no default."""
    for name, info in model.model_fields.items():
        kind, default = info.annotation, info.default
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings(kind, f"{prefix}{name}.")
        elif default is PydanticUndefined:
            yield prefix + name, "required"
        else:
            yield prefix + name, json.loads(json.dumps(default))


def documented(heading: str) -> dict[str, Any]:
    def value(cell: str) -> Any:
        if cell in ("required", "the defaults above"):
            return cell
        return None if cell == "none" else tomllib.loads(f"x = {cell.strip('`')}")["x"]

    return {key.strip("`"): value(default) for key, default, _ in table(section(USING, heading))}


def test_keys_of_an_experiment() -> None:
    assert documented("Keys of an experiment") == dict(settings(Experiment))


def test_keys_of_a_study() -> None:
    real: dict[str, Any] = {}
    for key, default in settings(Study):
        group = key.partition(".")[0]
        real |= {group: "the defaults above"} if group in ("learner", "evaluation") else {key: default}
    assert documented("Keys of a study") == real


# ---------------------------------------------------------------------- parts


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in PARTS for name in registry.names(kind)])
def test_part_is_described(kind: str, name: str) -> None:
    """Each part has its section, with its options and their defaults."""
    text = section(METHODS, name)
    stated = re.search(r"Options: (.*?)\.\s*$", text, re.S)
    assert stated, f"{name}: no line of options"
    pairs = [item.split("=") for item in re.findall(r"`([a-z_]+=[^`]+)`", stated[1])]
    values = {key: None if text == "None" else tomllib.loads(f"x = {text}")["x"] for key, text in pairs}
    fields = {} if kind == "reference" else schema(registry.load(kind, name)).model_fields
    real = {key: list(f.default) if isinstance(f.default, tuple) else f.default for key, f in fields.items()}
    assert values == real


def test_bonuses_are_described_by_their_files() -> None:
    text = METHODS.read_text("utf-8")
    assert methods.page(text) == text, "a docstring or an option changed: python -m studies.methods"


@pytest.mark.parametrize(
    ("kind", "name"), [(k, name) for k in ("curiosity", "objectives") for name in registry.names(k)]
)
def test_every_option_is_explained(kind: str, name: str) -> None:
    cls = registry.load(kind, name)
    listed = re.findall(r"^\* ((?:`\w+`(?:, )?)+): \S", methods.meanings(cls), re.M)
    explained = [option for names in listed for option in re.findall(r"`(\w+)`", names)]
    assert sorted(explained) == sorted(schema(cls).model_fields)


def test_costs_of_bonuses_are_those_measured() -> None:
    own, peer = {"reward": 0.25, "update": 1.5, "sum": 1.75}, {"sum": 4.0}
    rows = [{"bonus": "rnd", "ours": own, "peer": peer}, {"bonus": "lpm", "ours": own, "peer": None}]
    score = {"iqm": 0.5, "low": 0.25, "high": 0.75, "n": 5}
    arms = [{"world": "Far", "arm": "rnd", "score": score}, {"world": "Near", "arm": "lpm", "score": None}]
    text = methods.section({"command": "measure them", "rows": rows}, {"command": "study them", "arms": arms})
    assert text.count("by `study them`") == 1
    assert text.count("Far 0.50 [0.25, 0.75] (n = 5)") == 1
    assert "Near" not in text
    assert "by `measure them`" in text
    assert text.count("Cost: ") == 2
    assert "Cost: 1.75 (reward 0.25, update 1.50); RLeXplore's 4.00." in methods.bonus("rnd", rows[0], [])
    assert "Cost: 1.75 (reward 0.25, update 1.50)." in methods.bonus("lpm", rows[1], [])


# ---------------------------------------------------------------------- examples


def module_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file, imported under its own name as `--env module:Id-v0` does, for the length of a test."""
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setitem(sys.modules, path.stem, ModuleType(path.stem))  # so that what is there afterwards is undone
    del sys.modules[path.stem]
    return importlib.import_module(path.stem)


def train(agent: str, env: str, folder: Path, steps: int = 256, plugins: tuple[Path, ...] = ()) -> runs.Run:
    made = main_job.experiment(agent, env, steps, 0, None, TINY, plugins)
    main_job.train(made, folder, "json", False, "a test")
    (run,) = runs.find_runs(folder)
    return run


def test_my_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module_of(ROOT / "examples/my_world.py", monkeypatch)
    env = gym.make("Corridor-v0")
    truth: Any = env.unwrapped
    check_env(truth, skip_render_check=True)
    for seed in range(4):
        env.reset(seed=seed)
        told, success = [truth.labels()["distance"]], False
        while not success:
            _, reward, terminated, truncated, info = env.step(truth.oracle())
            told.append(truth.labels()["distance"])
            success = info["is_success"]
            assert reward == float(success) == float(terminated)
            assert not truncated
        assert told == [5, 4, 3, 2, 1, 0]
    for agent in ("bc:labels=60", "state:labels=60"):
        result = train(agent, "my_world:Corridor-v0", tmp_path / agent[:2]).result
        assert result is not None
        assert result["success"] is not None
        assert result["labels"]["actions" if agent.startswith("bc") else "states"] == 60


def test_my_bonus(tmp_path: Path) -> None:
    from agents.context import Context
    from agents.rollout import Rollout

    registry.load_plugin(ROOT / "examples/my_bonus.py")
    kind = registry.load("curiosity", "my_bonus")
    space = gym.spaces.Discrete(2, start=3)
    context = Context(gym.spaces.Box(0, 1, (1,)), space, 1, lambda: pytest.fail("it needs no encoder"))
    bonus = kind(context, smoothing=1.0)
    actions, nothing = torch.tensor([[3], [3], [4]]), torch.zeros(3, 1)
    rollout = Rollout(nothing, actions, nothing, nothing, nothing.bool(), nothing.bool())
    assert bonus.reward(rollout).flatten().tolist() == pytest.approx([math.log(2)] * 3)
    bonus.update(rollout)
    expected = [math.log(5 / 3), math.log(5 / 3), math.log(5 / 2)]
    assert bonus.reward(rollout).flatten().tolist() == pytest.approx(expected)
    run = train("ppo+my_bonus:smoothing=2.0", "DeepSea-v0", tmp_path, plugins=(ROOT / "examples/my_bonus.py",))
    assert any("curiosity/entropy" in row for row in run.metrics())


def test_train_api(monkeypatch: pytest.MonkeyPatch) -> None:
    api = module_of(ROOT / "examples/train_api.py", monkeypatch)
    model = api.explore(steps=1024, size=3)
    assert model.num_timesteps == 1024
    assert -0.02 <= api.mean_return(model, size=3) <= 0.99
    assert api.drop_in(steps=1).num_timesteps == 2048


def test_python_in_the_readme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (code,) = python_blocks(ROOT / "README.md")
    (tmp_path / "readme_block.py").write_text(code.replace("learn(10_000)", "learn(1)"))
    model = module_of(tmp_path / "readme_block.py", monkeypatch).model
    action, _ = model.predict(np.zeros((1, 4), np.float32))
    assert action.shape == (1,)


def test_the_demo_as_a_file() -> None:
    assert load_study(ROOT / "studies/demo.toml") == main_job.demo_study(5, 400_000)


def test_every_study_and_toml_block(tmp_path: Path) -> None:
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "studies").glob("*.toml"))]
    texts += re.findall(r"^```toml\n(.*?)^```$", USING.read_text("utf-8"), re.M | re.S)
    assert len(texts) >= 3
    for text in texts:
        (tmp_path / "study.toml").write_text(text)
        for one in load_study(tmp_path / "study.toml").experiments():
            spec.validate(spec.parse_agent(one.agent))
            assert vector.is_batched(one.world.id) or one.world.id in gym.registry


# ---------------------------------------------------------------------- the examples in CONTRIBUTING


def test_excerpts_are_verbatim() -> None:
    found = [re.match(r"# in (\S+)\n(.*)", block, re.S) for block in python_blocks(CONTRIBUTING)]
    excerpts = [match for match in found if match]
    assert len(excerpts) == 6
    for match in excerpts:
        assert match[2] in (ROOT / match[1]).read_text("utf-8")


@pytest.mark.parametrize(
    ("kind", "name", "agent"),
    [
        ("agents/objectives", "slowness", "ppo+slowness"),
        ("agents/encoders", "affine", "ppo+affine:features=8+counts"),
        ("agents/supervised", "one_pass", "one_pass:labels=60"),
    ],
)
def test_part_of_contributing_works(kind: str, name: str, agent: str, tmp_path: Path) -> None:
    path = written(f"{kind}/{name}.py", tmp_path)
    run = train(agent, "DeepSea-v0", tmp_path / "runs", plugins=(path,))
    assert run.result is not None
    wanted = {"slowness": "representation/change", "affine": "curiosity/views", "one_pass": "supervised/train_loss"}[
        name
    ]
    assert any(wanted in row for row in run.metrics())


def test_analysis_of_contributing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("random", "DeepSea-v0", tmp_path / "runs")
    analysis = module_of(written("sandbox/analyses/memory.py", tmp_path), monkeypatch)
    lines = analysis.analyse([run], tmp_path).read_text("utf-8").splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"\| random \| 0 \| \d+ \|", lines[2])


def written(name: str, folder: Path) -> Path:
    """The block of CONTRIBUTING that begins with `# <name>`, as a file."""
    (code,) = [block for block in python_blocks(CONTRIBUTING) if block.startswith(f"# {name}\n")]
    path = folder / Path(name).name
    path.write_text(code)
    return path


# ---------------------------------------------------------------------- tags and files


def test_tensorboard_tags(tmp_path: Path) -> None:
    cells = [row[0] for row in table(section(USING, "TensorBoard"))]
    tags = {tag for cell in cells for tag in re.findall(r"`([a-z_]+/[a-z_*]+)`", cell)}
    seen: set[str] = set()
    for agent, env in (("ppo+rnd+inverse", "DeepSea-v0"), ("bc:labels=60", "DeepSea-v0"), ("ppo", "Pendulum-v1")):
        run = train(agent, env, tmp_path / agent[:3] / env)
        seen |= {key for row in [*run.metrics(), *run.timing()] for key in row} - {"step"}
    unknown = {key for key in seen if not any(fnmatch(key, tag) for tag in tags)}
    assert not unknown
    assert not {tag for tag in tags if not tag.endswith("*") and tag not in seen}


def test_files_of_a_run(tmp_path: Path) -> None:
    named = set(re.findall(r"`([^`]+)`", " ".join(row[0] for row in table(section(USING, "Where a run's files are")))))
    run = train("ppo", "DeepSea-v0", tmp_path)
    there = {path.relative_to(run.path).as_posix() for path in run.path.glob("*")} - {".lock", ".owner.json"}
    there = {"checkpoints/step-*/" if name == "checkpoints" else name for name in there}
    # only of a run that failed, warned in a study, has an objective, was probed
    patterns = named - {"error.json", "error.log", "warnings.log", "projector_config.pbtxt", "projector", "probe.json"}
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in there)
    assert all(any(fnmatch(name, pattern) for name in there) for pattern in patterns)
