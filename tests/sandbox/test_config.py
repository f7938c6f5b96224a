"""Configuration: bounds, messages, overrides, files, studies, digests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sandbox import layout, registry
from sandbox.config import (
    Evaluation,
    Experiment,
    Learner,
    PluginRef,
    Study,
    World,
    agent_of,
    build,
    digest,
    load_experiment,
    load_study,
    override,
    to_dict,
)
from sandbox.errors import CorruptFile, UsageError

EXPERIMENT: dict[str, Any] = {"agent": "ppo", "world": {"id": "A-v0"}, "steps": 10}
STUDY: dict[str, Any] = {"agents": ["ppo"], "envs": ["A-v0"], "steps": 10}
PARTS = {
    "learners/ppo.py": "class PPO: ...\n",
    "encoders/wide.py": "class Wide:\n    def __init__(self, space, *, size: int = 8): ...\n",
    "curiosity/news.py": "class News: ...\n",
    "reference/random.py": "class Random: ...\n",
}
PLUGIN = """
class _Base:
    __module__, __qualname__ = "agents.curiosity", "IntrinsicReward"

class Mine(_Base): ...
"""


@pytest.fixture(scope="module", autouse=True)
def fake_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("tree")
    for name, text in PARTS.items():
        path = root / "configparts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setattr(layout, "ROOT", root)
        patch.setattr(registry, "PACKAGES", {kind: f"configparts.{kind}" for kind in registry.PACKAGES})
        yield


def experiment(**changes: Any) -> Experiment:
    return build(Experiment, EXPERIMENT | changes, "here")


# ---------------------------------------------------------------------- the models


def test_defaults() -> None:
    made = experiment()
    assert made.world == World(id="A-v0", kwargs={}, copies=None, levels=4096, eval_levels=512)
    assert made.evaluation == Evaluation(episodes=None, points=10, deterministic=False)
    learner = {
        "n_steps": 128, "batch_size": None, "n_epochs": 2, "learning_rate": 2e-3, "gamma": 0.99, "gae_lambda": 0.95,
        "clip_range": 0.2, "ent_coef": 0.01, "vf_coef": 0.5, "max_grad_norm": 0.5, "intrinsic_weight": 0.05,
        "extrinsic_weight": 1.0, "intrinsic_gamma": 0.99, "intrinsic_episodic": True, "net_arch": (),
        "anneal": ((10_000_000, 1.0), (14_000_000, 0.25)), "bfloat16": False,
    }  # fmt: skip
    assert made.learner.model_dump() == learner
    assert (made.seed, made.device, made.plugins, made.checkpoint_rollouts) == (0, "cpu", (), None)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        experiment().learner.gamma = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0}, {"steps": 10**12 + 1}, {"steps": 10.0}, {"steps": "10"}, {"seed": -1}, {"seed": 2**32},
        {"device": "tpu"}, {"device": "cuda:"}, {"agent": ""}, {"world": {"id": ""}}, {"world": {"id": "A v0"}},
        {"world": {"id": "A-v0", "copies": 0}}, {"world": {"id": "A-v0", "copies": 65537}},
        {"world": {"id": "A-v0", "levels": 0}}, {"world": {"id": "A-v0", "kwargs": {"a": [1]}}},
        {"world": {"id": "A-v0", "kwargs": {"a": float("nan")}}}, {"evaluation": {"points": 0}},
        {"evaluation": {"deterministic": 1}}, {"plugins": [{"path": "x", "sha256": "0"}]}, {"checkpoint_rollouts": 0},
        *({"learner": {key: value}} for key, value in [
            ("learning_rate", 0), ("learning_rate", -1e-3), ("learning_rate", 1e30), ("learning_rate", float("inf")),
            ("gamma", 1.01), ("gamma", -0.1), ("gae_lambda", 2), ("clip_range", 0), ("n_steps", 0), ("n_steps", 1.5),
            ("batch_size", 1), ("n_epochs", 0), ("max_grad_norm", 0), ("ent_coef", -1), ("vf_coef", float("nan")),
            ("intrinsic_weight", -1), ("intrinsic_weight", []), ("intrinsic_weight", [[0, 1], [0, 2]]),
            ("intrinsic_weight", [[5, 1.0], [3, 0.0]]), ("extrinsic_weight", [[0, -1.0]]), ("anneal", [[0.5, 1.0]]),
            ("anneal", [[0, 1.0, 2.0]]), ("intrinsic_episodic", "yes"), ("net_arch", [0]),
            ("net_arch", "64"), ("net_arch", [1] * 17),
        ]),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_or_of_another_type_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="here: "):
        experiment(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"learner": {"learning_rate": 1e2}}, {"learner": {"gamma": 1}}, {"learner": {"net_arch": [64, 64]}},
        {"steps": 10**12}, {"seed": 2**32 - 1}, {"device": "cuda:1"}, {"world": {"id": "my_module:Own-v3"}},
        {"world": {"id": "ns/Own-v3", "kwargs": {"a": 1, "b": 1.5, "c": True, "d": "x"}, "copies": 65536}},
    ],
)  # fmt: skip
def test_what_lies_within_bounds_is_kept(changes: dict[str, Any]) -> None:
    saved = to_dict(experiment(**changes))
    for key, value in changes.items():
        assert (value.items() <= saved[key].items()) if isinstance(value, dict) else saved[key] == value


def test_a_keyword_of_a_world_keeps_its_type() -> None:
    kwargs = experiment(world={"id": "A-v0", "kwargs": {"a": 1, "b": 1.0, "c": True}}).world.kwargs
    assert [type(value) for value in kwargs.values()] == [int, float, bool]


# ---------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"learner": {"gama": 1}},
            r"here: learner.gama: unknown key. Did you mean learner.gamma\? Known here: n_steps, ",
        ),
        ({"gamma": 1}, r"here: gamma: unknown key. Did you mean learner.gamma\?"),
        ({"learner": {"steps": 3}}, r"here: learner.steps: unknown key. Did you mean steps\?"),
        ({"world": {"copies": "many"}}, 'here: world.copies: is "many", should be a valid integer'),
        ({"learner": {"gamma": 2}}, "here: learner.gamma: is 2, should be less than or equal to 1"),
        ({"world": {"kwargs": {"a": [1]}}}, r"world.kwargs.a: is \[1\], should be true or false or a valid integer"),
        (
            {"learner": {"intrinsic_episodic": "True"}},
            'learner.intrinsic_episodic: is "True", should be true or false$',
        ),
        (
            {"learner": {"intrinsic_weight": [[5, 1.0], [3, 0.0]]}},
            r"is \[\[5, 1.0\], \[3, 0.0\]\], should be a valid number or have steps that rise$",
        ),
        ({"seeds": [0, "x"]}, r'seeds\[1\]: is "x", should be a valid integer'),
        ({"learner": 3}, "here: learner: is 3, should be an object"),
    ],
)
def test_a_message_names_the_place_what_was_given_and_what_is_expected(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(Study, STUDY | data, "here")


def test_all_problems_come_in_one_message_a_line_each() -> None:
    with pytest.raises(UsageError) as caught:
        build(Study, {"agents": [], "steps": -1, "x\x1b": 1}, "here")
    lines = str(caught.value).splitlines()
    assert [line.strip().split(":")[0] for line in lines] == ["here", "agents", "envs", "steps", r'"x\u001b"']


def test_a_long_value_is_shortened_and_many_problems_are_counted() -> None:
    with pytest.raises(UsageError) as caught:
        build(Study, STUDY | {"agents": [7] * 1000, "name": "x" * 100_000}, "here")
    assert str(caught.value).endswith("... and 981 more")
    assert max(map(len, str(caught.value).splitlines())) < 200


# ---------------------------------------------------------------------- files


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "steps = 1\nagent = = 2\n", "not valid TOML.*line 2"),
        ("a.toml", "steps = 1\nsteps = 2\n", "not valid TOML.*overwrite.*line 2"),
        ("a.toml", b"steps = 1\n# \xff\n", r"not UTF-8 \(byte 12 is 0xff\)"),
        ("a.toml", b"\xef\xbb\xbf# \xff\n", r"not UTF-8 \(byte 5 is 0xff\)"),
        ("a.toml", "#" * 1_000_001, "larger than 1,000,000 bytes"),
        ("a.toml", "x = " + "[" * 5000, "nested too deeply"),
        ("a.toml", "x = " + "9" * 5000, "not valid TOML"),
        ("a.toml", "steps = 1979-05-27", "steps: no setting is a date"),
        ("a.toml", "[world.kwargs]\nday = 1979-05-27", "world.kwargs.day: no setting is a date"),
        ("a.toml", "steps = 0xffffffffffffffff", "steps: no setting is a date, a number beyond"),
        ("a.json", '{"steps": 1, "steps": 2}', "'steps' is given twice"),
        ("a.json", '{\n"steps": }', "not valid JSON.*line 2"),
        ("a.json", "[]", "expected a table"),
        ("a.json", "[" * 5000, "not valid JSON"),
        ("a.json", '{"agent": "\\ud800"}', "agent: no setting is .* not Unicode"),
    ],
)
def test_an_unreadable_file_says_where_and_why(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    path = write(tmp_path / name, text)
    for load in (load_experiment, load_study):
        with pytest.raises(UsageError, match=message) as caught:
            load(path)
        assert str(path) in str(caught.value)


def test_a_file_for_another_verb_says_which(tmp_path: Path) -> None:
    one = write(tmp_path / "my one.toml", 'agent = "ppo"\nsteps = 10\n[world]\nid = "A-v0"\n')
    study = write(tmp_path / "my study.toml", 'agents = ["ppo"]\nenvs = ["A-v0"]\nsteps = 10\n')
    with pytest.raises(UsageError, match=f"describes one experiment; `sandbox train --config '{one}'` runs it"):
        load_study(one)
    with pytest.raises(UsageError, match=f"describes a study; `sandbox batch '{study}'` runs it"):
        load_experiment(study)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for name, message in [("none.toml", "no such file"), (".", "not a regular file"), ("pipe.toml", "not a regular")]:
        with pytest.raises(UsageError, match=message):
            load_study(tmp_path / name)
    with pytest.raises(UsageError):
        load_study("a\0b")


def test_a_byte_order_mark_and_windows_lines_are_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", b'\xef\xbb\xbfagent = "ppo"\r\nsteps = 10\r\n[world]\r\nid = "A-v0"\r\n')
    assert load_experiment(path) == experiment()


def test_overrides_come_after_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.toml", 'agents = ["ppo"]\nenvs = ["A-v0"]\nsteps = 10\n[learner]\ngamma = 0.5\nn_epochs = 3'
    )
    study = load_study(path, ["learner.gamma=0.9", "steps=1", "seeds=[4]", "world.kwargs.size=8", "name=n"])
    assert (study.learner.gamma, study.learner.n_epochs, study.steps, study.seeds) == (0.9, 3, 1, [4])
    assert (study.world.kwargs, study.name) == ({"size": 8}, "n")


def test_override_changes_a_copy() -> None:
    data = {"learner": {"gamma": 0.5}, "steps": 1}
    assert override(data, ["learner.gamma=1", "learner.x=a b", "new.key=true", "steps= 2"]) == {
        "learner": {"gamma": 1, "x": "a b"},
        "new": {"key": True},
        "steps": 2,
    }
    assert data == {"learner": {"gamma": 0.5}, "steps": 1}


@pytest.mark.parametrize("assignment", ["", "steps", "=1", ".a=1", "a.=1", "a b=1", "steps.x=1", "a..b=1"])
def test_a_malformed_override_is_refused(assignment: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        override({"steps": 1}, [assignment])


# ---------------------------------------------------------------------- any text


KEYS = st.sampled_from(
    ["agent", "agents", "envs", "steps", "seeds", "seed", "world", "learner", "gamma", "plugins", "x"]
)
VALUES = st.sampled_from(
    ["1", "-1", "nan", '"ppo"', '["A-v0"]', "[1, 'x']", "{id = 'A-v0'}", "true", "1979-05-27", "1e999"]
)
LINES = st.tuples(st.lists(KEYS, min_size=1, max_size=3), VALUES).map(lambda pair: f"{'.'.join(pair[0])} = {pair[1]}")
TOML = st.text(max_size=60) | st.lists(LINES | KEYS.map(lambda key: f"[{key}]"), max_size=8).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(TOML, st.lists(LINES | st.text(max_size=20), max_size=2), st.sampled_from(["toml", "json"]))
def test_any_file_is_valid_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, overrides: list[str], suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for load in (load_experiment, load_study):
        try:
            load(path, overrides)
        except UsageError as error:
            str(error).encode()


@pytest.mark.parametrize("deep", [["x"], []], ids=["tables", "lists"])
def test_no_depth_of_nesting_is_an_internal_error(deep: list[str]) -> None:
    for depth in [*range(100, 400, 20), *range(400, 1000, 3), 100_000]:
        value: Any = 1
        for _ in range(depth):
            value = {"x": value} if deep else [value]
        with pytest.raises(UsageError):
            build(Study, STUDY | {"steps": value}, "here")


# ---------------------------------------------------------------------- a saved experiment is the experiment


NUMBERS = st.floats(0, 1)
EXPERIMENTS = st.builds(
    Experiment,
    agent=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20),
    world=st.builds(
        World,
        id=st.from_regex(r"[A-Za-z]+-v[0-9]", fullmatch=True),
        kwargs=st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",))),
            st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=("Cs",)), max_size=5),
            max_size=3,
        ),
        copies=st.none() | st.integers(1, 65536),
    ),
    steps=st.integers(1, 10**12),
    seed=st.integers(0, 2**32 - 1),
    learner=st.builds(
        Learner,
        gamma=NUMBERS,
        learning_rate=st.floats(0, 1e3, exclude_min=True),
        intrinsic_weight=st.floats(0, 1e6) | st.dictionaries(st.integers(0, 10**12), st.floats(0, 1e6), min_size=1).map(
            lambda points: tuple(sorted(points.items()))
        ),
        net_arch=st.lists(st.integers(1, 65536), max_size=3).map(tuple),
    ),
    evaluation=st.builds(Evaluation, episodes=st.none() | st.integers(1, 100), deterministic=st.booleans()),
    plugins=st.lists(st.builds(PluginRef, path=st.just("/a/b.py"), sha256=st.just("0" * 64)), max_size=2).map(tuple),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(EXPERIMENTS)
def test_a_saved_experiment_read_again_is_the_same(tmp_path_factory: pytest.TempPathFactory, made: Experiment) -> None:
    path = write(tmp_path_factory.getbasetemp() / "config.json", json.dumps(to_dict(made)))
    again = load_experiment(path)
    assert again == made
    assert to_dict(again) == to_dict(made)
    assert [type(value) for value in again.world.kwargs.values()] == [type(v) for v in made.world.kwargs.values()]


# ---------------------------------------------------------------------- studies


def test_a_study_is_agents_x_worlds_x_seeds_in_order_and_once() -> None:
    data = {"agents": ["ppo+news", "random", "news+ppo"], "envs": ["B-v0", "A-v0", "B-v0"], "seeds": [3, 1, 3]}
    made = build(Study, STUDY | data, "here").experiments()
    assert [(one.agent, one.world.id, one.seed) for one in made] == [
        (agent, world, seed) for agent in ("ppo+news", "random") for world in ("B-v0", "A-v0") for seed in (3, 1)
    ]


def test_seeds_are_counted_from_zero() -> None:
    assert [one.seed for one in build(Study, STUDY, "here").experiments()] == [0, 1, 2, 3, 4]


def test_a_study_hands_all_its_settings_on() -> None:
    settings_: dict[str, Any] = {
        "world": {"copies": 4, "levels": 7, "eval_levels": 5, "kwargs": {"a": 1}},
        "learner": {"gamma": 0.5},
        "evaluation": {"points": 3},
        "checkpoint_rollouts": 2,
        "device": "cuda",
    }
    (made,) = build(Study, STUDY | settings_ | {"seeds": [9]}, "here").experiments()
    assert made == experiment(**settings_ | {"world": {"id": "A-v0", **settings_["world"]}, "seed": 9})


def test_written_out_defaults_are_no_second_agent() -> None:
    made = build(Study, STUDY | {"agents": ["ppo+wide", "ppo+wide:size=8", "ppo+wide:size=9"], "seeds": 1}, "here")
    assert [one.agent for one in made.experiments()] == ["ppo+wide", "ppo+wide:size=9"]


def test_an_unknown_agent_ends_a_study() -> None:
    with pytest.raises(UsageError, match="Did you mean news"):
        build(Study, STUDY | {"agents": ["ppo+newz"]}, "here").experiments()


def test_a_plugin_belongs_to_the_agents_that_use_it(tmp_path: Path) -> None:
    write(tmp_path / "mine.py", PLUGIN)
    text = 'agents = ["ppo", "ppo+mine"]\nenvs = ["A-v0"]\nsteps = 10\nseeds = 1\nplugins = ["mine.py"]'
    plain, with_plugin = load_study(write(tmp_path / "a.toml", text)).experiments()
    assert plain.plugins == ()
    assert [ref.path for ref in with_plugin.plugins] == [str(tmp_path / "mine.py")]
    assert digest(plain) == digest(experiment())


# ---------------------------------------------------------------------- digests


def test_a_digest_is_of_all_but_the_seed() -> None:
    one = digest(experiment())
    assert len(one) == 8
    assert int(one, 16) >= 0
    assert digest(experiment(seed=5)) == one
    changes: list[dict[str, Any]] = [
        {"steps": 11}, {"agent": "ppo+news"}, {"world": {"id": "B-v0"}}, {"world": {"id": "A-v0", "copies": 3}},
        {"world": {"id": "A-v0", "kwargs": {"a": 1}}}, {"learner": {"gamma": 0.9}}, {"evaluation": {"points": 3}},
        {"device": "cuda"}, {"checkpoint_rollouts": 3},
    ]  # fmt: skip
    assert len({one, *(digest(experiment(**change)) for change in changes)}) == len(changes) + 1


def test_two_spellings_share_a_digest() -> None:
    spellings = ["ppo+wide+news", "news+ppo+wide:size=8", "ppo+news+wide:size=8"]
    assert len({digest(experiment(agent=agent)) for agent in spellings}) == 1
    assert digest(experiment(learner={"gamma": 0.99})) == digest(experiment())


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_digest_does_not_change_between_processes(hash_seed: str) -> None:
    code = f"from sandbox.config import *; print(digest(build(Experiment, {EXPERIMENT!r}, 'here')))"
    project = Path(__file__).resolve().parents[2]
    env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == digest(experiment()), done.stderr


def test_a_plugin_counts_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for folder, extra in [("a", ""), ("b", ""), ("c", "# other\n")]:
        (tmp_path / folder).mkdir()
        path = write(tmp_path / folder / "mine.py", PLUGIN + extra)
        monkeypatch.setattr(registry, "_plugins", {})
        study = build(Study, STUDY | {"agents": ["ppo+mine"], "plugins": [str(path)], "seeds": 1}, "here")
        digests += [digest(one) for one in study.experiments()]
    assert digests[0] == digests[1] != digests[2]


def test_an_experiment_loads_its_plugins_and_refuses_a_changed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mine.py", PLUGIN)
    sha256 = registry.load_plugin(path).sha256
    monkeypatch.setattr(registry, "_plugins", {})
    made = experiment(agent="mine+ppo", plugins=[{"path": str(path), "sha256": sha256}])
    assert str(agent_of(made)) == "ppo+mine"
    write(path, PLUGIN + "#")
    with pytest.raises(CorruptFile):
        agent_of(made)
