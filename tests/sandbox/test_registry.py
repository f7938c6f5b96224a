"""Names, plugins and agents' names: over a small tree of fake parts, then over the real packages."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import layout, registry, values
from sandbox.errors import CorruptFile, UsageError
from sandbox.options import schema
from sandbox.spec import Part, canonical, parse_agent, validate

NEWS = '''"""News."""
from __future__ import annotations
from typing import Annotated, Literal
from pydantic import Field
from fakeparts.encoders.deep import Deep

class News:
    def __init__(
        self, context, *, lr: Annotated[float, Field(gt=0, le=1e20)] = 1e-3, k: int = 3, mode: Literal["a", "b"] = "a",
        note: str = "x", on: bool = True, marks: tuple[str, ...] = (),
    ) -> None: ...
'''
WIDE = '''"""Wide.

More."""
class Wide:
    def __init__(self, space, *, hidden: tuple[int, ...] = (8, 8)): ...
'''
MODULES = {
    "learners/ppo.py": '"""A learner."""\nclass PPO:\n    def __init__(self, env, **kwargs): ...\n',
    "encoders/wide.py": WIDE,
    "encoders/deep.py": '"""Deep."""\nclass Deep:\n    def __init__(self, space): ...\n',
    "encoders/_helper.py": "class Hidden: ...\n",
    "curiosity/news.py": NEWS,
    "curiosity/chance.py": "class Chance: ...\n",
    "objectives/foresee.py": "class Foresee: ...\n",
    "objectives/recall.py": "class Recall: ...\n",
    "supervised/bc.py": "class Bc:\n    def __init__(self, context, *, labels: int = 1000): ...\n",
    "supervised/state.py": "class State:\n    def __init__(self, context, *, labels: int = 500): ...\n",
    "reference/random.py": "class Random: ...\n",
    "reference/oracle.py": "class Oracle: ...\n",
}
PLUGIN = '''"""My own."""
class _Base:
    __module__, __qualname__ = "agents.{kind}", "{base}"

class Mine(_Base):
{body}'''


@pytest.fixture(scope="module", autouse=True)
def fake_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The names come from a tree of fake parts, except where a test asks for the real ones."""
    root = tmp_path_factory.mktemp("tree")
    for name, text in MODULES.items():
        path = root / "fakeparts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setattr(layout, "ROOT", root)
        patch.setattr(registry, "PACKAGES", {kind: f"fakeparts.{kind}" for kind in registry.PACKAGES})
        registry._entries.cache_clear()
        yield root
    registry._entries.cache_clear()


def plugin(
    folder: Path, name: str = "mine", kind: str = "curiosity", base: str = "IntrinsicReward", body: str = ""
) -> Path:
    path = folder / f"{name}.py"
    body = body or "    def __init__(self, context, *, k: int = 3): ...\n"
    path.write_text(PLUGIN.format(kind=kind, base=base, body=body))
    return path


# ---------------------------------------------------------------------- names


def test_names_are_public_files_and_are_found_without_import() -> None:
    for module in [name for name in sys.modules if name.startswith("fakeparts")]:
        del sys.modules[module]
    assert registry.names("encoders") == ["deep", "wide"]
    assert registry.kind_of("news") == "curiosity"
    assert registry.summary("encoders", "wide") == "Wide."
    assert registry.summary("curiosity", "chance") == ""
    assert not [name for name in sys.modules if name.startswith("fakeparts")]


def test_load_takes_the_class_that_the_file_defines_not_what_it_imports() -> None:
    assert registry.load("curiosity", "news").__name__ == "News"


@pytest.mark.parametrize(("text", "found"), [("x = 1\n", "none"), ("class A: ...\nclass B: ...\n", "A, B")])
def test_load_refuses_no_class_or_several(fake_tree: Path, text: str, found: str) -> None:
    path = fake_tree / "fakeparts" / "encoders" / f"bad_{found[0].lower()}.py"
    path.write_text(text)
    try:
        with pytest.raises(UsageError, match=f"exactly one public class; found: {found}"):
            registry.load("encoders", path.stem)
    finally:
        path.unlink()


def test_an_alias_and_a_private_helper_are_no_second_class(fake_tree: Path) -> None:
    path = fake_tree / "fakeparts" / "encoders" / "alias.py"
    path.write_text("class _Helper: ...\nclass A: ...\nB = A\n")
    try:
        assert registry.load("encoders", "alias").__name__ == "A"
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: registry.load("encoders", "wid"), "Did you mean wide.*deep, wide"),
        (lambda: registry.summary("encoders", "_helper"), "unknown name"),
        (lambda: registry.names("curiousity"), "Did you mean curiosity"),
        (lambda: registry.kind_of("newz"), "Did you mean news"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_worlds_come_from_the_literal_ids(fake_tree: Path) -> None:
    envs = fake_tree / "envs"
    (envs / "grid").mkdir(parents=True)
    (envs / "__init__.py").write_text('IDS = ("Not-v0",)')
    (envs / "one.py").write_text('"""One."""\nraise ImportError\nIDS: tuple[str, ...] = ("B-v0", "A-v0")\n')
    (envs / "grid" / "__init__.py").write_text('"""Grid."""\nIDS = {"C-v0": 3}\n')
    (envs / "helper.py").write_text("x = 1\n")
    assert registry.worlds() == [("A-v0", "One."), ("B-v0", "One."), ("C-v0", "Grid.")]


def test_an_installed_package_adds_names_and_a_name_taken_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text('"""Theirs."""\nclass Theirs: ...\n')
    (tmp_path / "broken.py").write_text("1 / 0\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    entries = "borrowed = theirs\nexact = theirs:Theirs\nbroken = broken\nnews = theirs\nfar = away.module\n"
    (info / "entry_points.txt").write_text(f"[dark_energy_sandbox.objectives]\n{entries}")
    monkeypatch.syspath_prepend(tmp_path)
    registry._entries.cache_clear()
    try:
        assert {"borrowed", "exact", "foresee"} <= set(registry.names("objectives"))
        assert registry.summary("objectives", "borrowed") == "Theirs."
        assert registry.summary("objectives", "far") == "from theirs"
        assert "theirs" not in sys.modules
        assert registry.load("objectives", "borrowed") is registry.load("objectives", "exact")
        with pytest.raises(UsageError, match=r"broken.*ZeroDivisionError"):
            registry.load("objectives", "broken")
        with pytest.raises(UsageError, match="taken more than once"):
            registry.kind_of("news")
    finally:
        registry._entries.cache_clear()
        sys.modules.pop("theirs", None)


# ---------------------------------------------------------------------- plugins


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("curiosity", "IntrinsicReward"),
        ("objectives", "Objective"),
        ("encoders", "Encoder"),
        ("supervised", "Supervised"),
    ],
)
def test_a_plugin_is_known_by_its_stem_and_its_base(tmp_path: Path, kind: str, base: str) -> None:
    path = plugin(tmp_path, kind=kind, base=base)
    loaded = registry.load_plugin(path)
    assert (loaded.kind, loaded.name, loaded.path) == (kind, "mine", path)
    assert registry.kind_of("mine") == kind
    assert "mine" in registry.names(kind)
    assert registry.load(kind, "mine").__name__ == "Mine"
    assert registry.summary(kind, "mine") == "My own."
    assert registry.load_plugin(str(path)) == loaded


def test_a_plugin_of_the_real_base_is_found(tmp_path: Path) -> None:
    path = tmp_path / "own_bonus.py"
    path.write_text("from agents.curiosity import IntrinsicReward\nclass Own(IntrinsicReward): ...\n")
    assert registry.load_plugin(path).kind == "curiosity"


def test_a_changed_plugin_is_refused(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    loaded = registry.load_plugin(path)
    registry.check_plugin(path, loaded.sha256)
    path.write_bytes(path.read_bytes() + b"#")
    with pytest.raises(CorruptFile, match="changed since the run was made"):
        registry.check_plugin(path, loaded.sha256)
    with pytest.raises(UsageError, match="changed while in use"):
        registry.load_plugin(path)
    path.unlink()
    with pytest.raises(UsageError, match="not found"):
        registry.check_plugin(path, loaded.sha256)


def test_the_bytes_that_run_are_the_bytes_that_were_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same size and time stamp: Python's cache of compiled files would run the old text under the new hash."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = plugin(tmp_path, body="    number = 1\n")
    stamp = path.stat().st_mtime_ns
    registry.load_plugin(path)
    monkeypatch.setattr(registry, "_plugins", {})
    path.write_text(path.read_text().replace("number = 1", "number = 2"))
    os.utime(path, ns=(stamp, stamp))
    registry.load_plugin(path)
    assert registry.load("curiosity", "mine").number == 2  # type: ignore[attr-defined]
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wrong", "x = 1\n\n1 / 0\n", r"wrong.py, line 3: ZeroDivisionError"),
        ("wrong", "x = 1\ndef f(:\n", r"wrong.py, line 2: SyntaxError"),
        ("wrong", "import sys\nsys.exit(0)\n", r"line 2: SystemExit"),
        ("wrong", "import no_such_module_anywhere\n", r"line 1: ModuleNotFoundError"),
        ("wrong", "x = 1\n", "exactly one public class; found: none"),
        ("wrong", "class A: ...\n", "A must be a subclass of one of agents.curiosity.IntrinsicReward"),
        ("news", "class A: ...\n", "the name 'news' is taken by"),
        ("Bad-Name", "class A: ...\n", "file is its name"),
        ("wrong", "x = '\0'\n", "wrong.py"),
    ],
)
def test_a_plugin_that_is_not_right_says_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        registry.load_plugin(path)
    assert "wrong" not in registry.all_names()


@pytest.mark.parametrize("option", ["k: int", "k=1", "k: Nowhere = 1", "k: int = 'a'", "k: object.__class__ = 3"])
def test_a_plugin_whose_options_are_no_schema_is_refused(tmp_path: Path, option: str) -> None:
    body = f"    def __init__(self, context, *, {option}): ...\n"
    path = plugin(tmp_path, body=body)
    path.write_text("from __future__ import annotations\n" + path.read_text())
    with pytest.raises(UsageError, match="the options of Mine"):
        registry.load_plugin(path)
    assert "mine" not in registry.all_names()


@pytest.mark.parametrize("path", ["none.py", ".", "a\0b.py"])
def test_a_plugin_that_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError):
        registry.load_plugin(f"{tmp_path}/{path}")


def test_two_plugins_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    registry.load_plugin(plugin(tmp_path))
    with pytest.raises(UsageError, match="taken by"):
        registry.load_plugin(plugin(tmp_path / "b"))


# ---------------------------------------------------------------------- agents


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ppo", "ppo"),
        ("random", "random"),
        ("bc", "bc"),
        ("bc:labels=1000", "bc"),
        ("bc:labels=1_000", "bc"),
        ("bc:labels=50", "bc:labels=50"),
        ("wide+bc", "bc+wide"),
        ("ppo+news", "ppo+news"),
        ("foresee+news+wide+ppo", "ppo+wide+news+foresee"),
        ("state", "ppo+state"),
        ("state:labels=7", "ppo+state:labels=7"),
        ("ppo+foresee+chance+deep", "ppo+deep+chance+foresee"),
        ("ppo+state+chance+deep", "ppo+deep+chance+state"),
        ("bc:labels=50+ppo", "ppo+bc:labels=50"),
        ("bc+chance+ppo+news:k=4", "ppo+chance+news:k=4+bc"),
        ("foresee+news+bc:labels=50+wide", "bc:labels=50+wide+news+foresee"),
        ("ppo+news:lr=1e-3,k=3,mode=a", "ppo+news"),
        ("ppo+news:mode=b,k=4", "ppo+news:k=4,mode=b"),
        ("ppo+news:lr=1", "ppo+news:lr=1.0"),
        ("ppo+news:lr=1,k=4", "ppo+news:k=4,lr=1.0"),
        ("ppo+news:lr=1e+4+foresee", "ppo+news:lr=10000.0+foresee"),
        ("ppo+news:lr=1e+16", "ppo+news:lr=1e+16"),
        ("ppo+wide:hidden=[16,32]+news", "ppo+wide:hidden=[16,32]+news"),
        ("ppo+wide:hidden=[ 8, 8 ]", "ppo+wide"),
        ('ppo+news:note="a"', "ppo+news:note=a"),
        ("ppo+news:note=", 'ppo+news:note=""'),
        ("ppo+news+foresee+chance", "ppo+chance+news+foresee"),
        ("ppo+news.chance", "ppo+chance.news"),
        ("ppo+news.chance:news.k=4,news.lr=1e-3+chance", "ppo+chance+chance.news:news.k=4"),
        ("ppo+news:k=4+chance", "ppo+chance+news:k=4"),
        ('ppo+news:on=false,note="true"', 'ppo+news:note="true",on=false'),
    ],
)
def test_canonical_name(text: str, name: str) -> None:
    assert canonical(parse_agent(text)) == str(parse_agent(text)) == name


def test_parts_have_kinds_and_options() -> None:
    spec = parse_agent("ppo+news:k=4,lr=1+wide")
    assert spec.base == Part("learners", "ppo")
    assert spec.parts == (Part("encoders", "wide"), Part("curiosity", "news", {"k": 4, "lr": 1}))
    assert spec.get("curiosity") == spec.parts[1]
    assert spec.get("objectives") is None
    hash(spec)


def test_sums_and_products_are_taken_apart() -> None:
    spec = parse_agent("ppo+news.chance:news.k=4+news:lr=1")
    product, alone = spec.all("curiosity")
    assert product.factors == (Part("curiosity", "chance"), Part("curiosity", "news", {"k": 4}))
    assert alone.factors == (alone,)
    assert [part.name for part in spec.elements] == ["ppo", "chance", "news", "news"]


def test_validated_options_are_what_the_constructor_takes() -> None:
    spec = validate(parse_agent("ppo+wide:hidden=[4]+news:lr=1,k=3"))
    assert [part.options for part in spec.parts] == [{"hidden": (4,)}, {"lr": 1.0}]
    assert validate(spec) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 to 1000 printable"),
        ("p" * 1001, "1 to 1000 printable"),
        ("ppo\n", "printable"),
        ("ppo+nws", "unknown part \"nws\".*Did you mean news.*Known:.*wide"),
        ("ppo+my_bonus", r"Known:.*wide\. One of your own is named by --plugin FILE"),
        ("PPO", "no part's name"),
        ("ppo+", "no part's name"),
        ("news", "exactly one base.*found: none"),
        ("ppo+random", "exactly one base.*found: ppo and random"),
        ("bc+bc", "exactly one base.*found: bc and bc"),
        ("ppo+bc+state", "at most one part of supervised; found: bc, state"),
        ("ppo+bc+foresee", "bc and foresee do not go together beside ppo"),
        ("random+bc", "random does not go together with bc"),
        ("bc+state", "bc does not go together with state"),
        ("state+news", "exactly one base"),
        ("ppo+state+foresee", "do not go together"),
        ("ppo+news.chance.news", "a factor is named twice"),
        ("ppo+news.bc", "a dot multiplies bonuses, and bc is none"),
        ("ppo+news.", "is no part's name"),
        ("ppo+news.chance:size=3", "names its factor, such as news.size="),
        ("ppo+news.chance:other.size=3", "names its factor"),
        ("ppo+news:news.size=3", "not of the form key=value"),
        ("ppo+news+news", "a bonus is named twice"),
        ("ppo+wide+deep", "at most one part of encoders"),
        ("ppo+foresee+recall", "at most one part of objectives"),
        ("bc+news", "news beside bc says where an objective's experience comes from.*bc.news.inverse:mode=frozen"),
        ("random+wide", "random does not go together with wide: it takes no other part"),
        ("oracle+news", "takes no other part"),
        ("ppo+news:", "an option is missing"),
        ("ppo+news:k", "not of the form key=value"),
        ("ppo+news:k=1,k=2", "the option k is given twice"),
        ("ppo+news:=1", "not of the form"),
    ],
)  # fmt: skip
def test_an_agent_that_is_not_right_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_agent(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ppo+news.chance:news.kk=1", r"news:kk: unknown key. Did you mean k"),
        ("ppo+news:kk=1", r"news:kk: unknown key. Did you mean k\? Known here: lr, k, mode"),
        ("ppo+news:k=1.5", "news:k: is 1.5, should be a valid integer"),
        ("ppo+news:k=true", "news:k: is true"),
        ("ppo+news:k='3'", 'news:k: is "3"'),
        ("ppo+news:lr=0", "news:lr: is 0, should be greater than 0"),
        ("ppo+news:lr=nan", "should be a finite number"),
        ("ppo+news:lr=inf", "should be a finite number"),
        ("ppo+news:mode=c", "should be 'a' or 'b'"),
        ("ppo+wide:hidden=[1,x]", "hidden: is"),
        ("ppo+deep:x=1", "Known here: no key"),
        ("ppo:lr=1", "under `learner`"),
    ],
)
def test_options_are_checked_by_validate_alone(text: str, message: str) -> None:
    spec = parse_agent(text)
    with pytest.raises(UsageError, match=message):
        validate(spec)


def test_parsing_imports_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("imported")

    monkeypatch.setattr(registry.importlib, "import_module", refuse)
    assert str(parse_agent("ppo+news+wide")) == "ppo+wide+news"
    parse_agent("ppo+news:k=4")


def test_a_plugin_is_part_of_an_agent(tmp_path: Path) -> None:
    registry.load_plugin(plugin(tmp_path))
    assert str(parse_agent("ppo+mine:k=3")) == "ppo+mine"
    assert str(parse_agent("ppo+mine:k=5")) == "ppo+mine:k=5"


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.floats(0, 1e20, exclude_min=True),
        "k": st.integers(-(2**63), 2**63 - 1),
        "mode": st.sampled_from("ab"),
        "note": st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
        | st.sampled_from(["1", "a+b", 'x"', ",k=2"]),
        "on": st.booleans(),
        "marks": st.lists(
            st.text(st.characters(exclude_categories=("Cs",)), max_size=4) | st.just("a,k=1+ppo"), max_size=3
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    OPTIONS,
    st.lists(st.integers(-9, 9), max_size=3),
    st.permutations(["base", "news", "wide", "foresee"]),
    st.randoms(),
)
def test_a_canonical_name_names_the_same_agent_in_any_order(
    options: dict[str, Any], hidden: list[int], order: list[str], random: Any
) -> None:
    items = [f"{key}={values.write_value(value)}" for key, value in options.items()]
    random.shuffle(items)
    texts = {
        "base": "ppo",
        "news": "news" + (":" + ",".join(items) if items else ""),
        "wide": f"wide:hidden={values.write_value(hidden)}",
        "foresee": "foresee",
    }
    spec = validate(parse_agent("+".join(texts[name] for name in order)))
    defaults = {"lr": 1e-3, "k": 3, "mode": "a", "note": "x", "on": True, "marks": []}
    news = spec.get("curiosity")
    assert news is not None
    built = defaults | {key: list(value) if isinstance(value, tuple) else value for key, value in news.options.items()}
    assert built == defaults | options
    assert all(built[key] != defaults[key] for key in news.options)
    assert validate(parse_agent(str(spec))) == spec
    assert str(parse_agent(str(spec))) == str(spec)


PIECES = st.sampled_from(
    ["ppo", "news", "state", "bc", "wide", ":", "=", ",", "+", ".", "k", "lr", "[", "]", "{", '"', "1e+4", "\\"]
)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30) | st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_an_agent_or_a_usage_error(text: str) -> None:
    try:
        spec = validate(parse_agent(text))
    except UsageError as error:
        str(error).encode()
        return
    assert validate(parse_agent(str(spec))) == spec


# ---------------------------------------------------------------------- the real parts

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROOT", PROJECT)
    monkeypatch.setattr(registry, "PACKAGES", {kind: f"agents.{kind}" for kind in registry.PACKAGES})


def test_real_names_are_unique_across_kinds(real: None) -> None:
    listed = [name for kind in registry.PACKAGES for name in registry.names(kind)]
    assert {"ppo", "bc", "dagger", "state", "random", "oracle"} <= set(listed)
    assert sorted(set(listed)) == sorted(listed)
    assert all(registry.NAME.fullmatch(name) for name in listed)


REAL = [
    (folder.name, path.stem)
    for folder in sorted((PROJECT / "agents").iterdir())
    for path in sorted(folder.glob("[a-z]*.py"))
]


@pytest.mark.parametrize(("kind", "name"), REAL)
def test_a_real_part_loads_and_has_a_summary(real: None, kind: str, name: str) -> None:
    assert isinstance(registry.load(kind, name), type)
    assert registry.summary(kind, name)


@pytest.mark.parametrize(("kind", "name"), [part for part in REAL if part[0] != "learners"])
def test_a_real_part_has_a_schema_whose_defaults_are_valid(real: None, kind: str, name: str) -> None:
    options = schema(registry.load(kind, name)).model_validate_json("{}").model_dump(mode="json")
    assert (
        schema(registry.load(kind, name)).model_validate_json(json.dumps(options)).model_dump(exclude_defaults=True)
        == {}
    )


def test_real_worlds_are_listed_once(real: None) -> None:
    ids = [world for world, summary in registry.worlds() if summary]
    assert "DeepSea-v0" in ids
    assert len(set(ids)) == len(ids) == len(registry.worlds())


def test_every_pair_of_real_parts_parses_or_is_refused(real: None) -> None:
    for a, b in itertools.product([name for _, name in REAL], repeat=2):
        try:
            assert str(parse_agent(f"{a}+{b}")) == str(parse_agent(f"{b}+{a}"))
        except UsageError:
            with pytest.raises(UsageError):
                parse_agent(f"{b}+{a}")
