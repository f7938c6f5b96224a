"""Names: a file's name is its name, a constructor's keyword-only arguments are its options.

Listing reads folders and source text only; a part is imported when it is built or when its options are checked.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from sandbox.errors import CorruptFile, UsageError, did_you_mean

if TYPE_CHECKING:  # what help and lists do not need is imported where it is used
    from importlib.metadata import EntryPoint

    from pydantic import BaseModel, ValidationError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "learners": "agents.learners",
    "encoders": "agents.encoders",
    "curiosity": "agents.curiosity",
    "objectives": "agents.objectives",
    "supervised": "agents.supervised",
    "reference": "agents.reference",
}
PLUGIN_BASES = {
    ("agents.curiosity", "IntrinsicReward"): "curiosity",
    ("agents.objectives", "Objective"): "objectives",
    ("agents.encoders", "Encoder"): "encoders",
    ("agents.supervised", "Supervised"): "supervised",
}
NAME = re.compile(r"[a-z_][a-z0-9_]*")
DEEPEST = 1000  # dots on a line: tomllib takes time quadratic in the depth of a dotted key


# ---------------------------------------------------------------------- where names come from


@dataclass(frozen=True)
class Plugin:
    """A user's own part: one file, trusted as of `sha256` (hex of its bytes)."""

    path: Path
    sha256: str
    kind: str
    name: str


_plugins: dict[str, tuple[Plugin, type]] = {}  # by name: what this process has loaded


def names(kind: str) -> list[str]:
    """Sorted names of a kind: files of its package, entry points of installed packages, loaded plugins. No import.

    Raises:
        UsageError: no such kind.
    """
    plugins = [plugin.name for plugin, _ in _plugins.values() if plugin.kind == kind]
    return sorted({*_files(kind), *_entries(kind), *plugins})


def kind_of(name: str) -> str:
    """The one kind that has this name.

    Raises:
        UsageError: no kind has it, or it is taken twice.
    """
    homes = _homes(name)
    if not homes:
        raise UsageError(f"unknown part {short(name)}." + choices(name, all_names()))
    if len(homes) > 1:
        listed = ", ".join(f"{where} ({kind})" for kind, where in homes)
        raise UsageError(f"the name {name!r} is taken more than once: {listed}. Names must be unique across kinds.")
    return homes[0][0]


def all_names() -> list[str]:
    """Sorted names of every kind."""
    return sorted({name for kind in PACKAGES for name in names(kind)})


def load(kind: str, name: str) -> type:
    """The one public class that the part's file defines. Imports it.

    Raises:
        UsageError: no such kind or name; the file defines no public class, or several.
    """
    if name in _plugins and _plugins[name][0].kind == kind:
        return _plugins[name][1]
    if name in _files(kind):
        return _only_class(importlib.import_module(f"{PACKAGES[kind]}.{name}"))
    if name in _entries(kind):
        return _load_entry(_entries(kind)[name])
    raise UsageError(f"unknown name {short(name)} in {kind}." + choices(name, names(kind)))


def summary(kind: str, name: str) -> str:
    """First line of the part's module docstring, or "" where it cannot be read. No import."""
    if name in _plugins and _plugins[name][0].kind == kind:
        return _first_line(_plugins[name][0].path)
    if name in _files(kind):
        return _first_line(_files(kind)[name])
    if name in _entries(kind):
        return _entry_summary(_entries(kind)[name])
    raise UsageError(f"unknown name {short(name)} in {kind}." + choices(name, names(kind)))


def worlds() -> list[tuple[str, str]]:
    """(id, summary) of every world of ours, from the literal `IDS` in each file or sub-package of `envs`. No import."""
    folder = ROOT / "envs"
    sources = [*folder.glob("*.py"), *folder.glob("*/__init__.py")]
    public = [path for path in sources if not path.relative_to(folder).parts[0].startswith("_")]
    return sorted((world, _first_line(path)) for path in public for world in literal(path, "IDS", ()))


def _files(kind: str) -> dict[str, Path]:
    if kind not in PACKAGES:
        raise UsageError(f"unknown kind {short(kind)}." + choices(kind, PACKAGES))
    folder = ROOT.joinpath(*PACKAGES[kind].split("."))
    return {path.stem: path for path in folder.glob("*.py") if not path.name.startswith("_")}


@functools.cache
def _entries(kind: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=f"dark_energy_sandbox.{kind}")}


def _homes(name: str) -> list[tuple[str, str]]:
    """(kind, where) of every part with this name."""
    homes = [(kind, str(_files(kind)[name])) for kind in PACKAGES if name in _files(kind)]
    homes += [(kind, f"entry point {_entries(kind)[name].value}") for kind in PACKAGES if name in _entries(kind)]
    return homes + [(plugin.kind, str(plugin.path)) for plugin, _ in _plugins.values() if plugin.name == name]


def _only_class(module: ModuleType) -> type:
    own = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    own = list(dict.fromkeys(own))  # an alias is not a second class
    if len(own) != 1:
        found = ", ".join(sorted(cls.__name__ for cls in own)) or "none"
        raise UsageError(
            f"{module.__file__}: a part's file defines exactly one public class; found: {found}. "
            "Begin the names of helpers with an underscore."
        )
    return own[0]


def _load_entry(entry: EntryPoint) -> type:
    where = f"entry point {entry.name} = {entry.value} ({entry.group})"
    try:
        found = entry.load()
    except Exception as error:  # another package's code: anything can happen in it
        raise UsageError(f"{where}: cannot be loaded: {type(error).__name__}: {error}") from error
    if isinstance(found, ModuleType):
        return _only_class(found)
    if isinstance(found, type):
        return found
    raise UsageError(f"{where}: expected a module with one public class, or a class; got {type(found).__name__}")


def _entry_summary(entry: EntryPoint) -> str:
    if entry.dist is None:
        return ""
    stem = str(entry.dist.locate_file(entry.module.replace(".", "/")))
    found = [path for path in (Path(f"{stem}.py"), Path(stem, "__init__.py")) if path.is_file()]
    return _first_line(found[0]) if found else f"from {entry.dist.name}"


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return docstring.partition("\n")[0].strip()


def literal(path: Path, name: str, default: Any) -> Any:
    """The value of a literal constant of a file, without importing it; `default` where it has none of that name."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if node.value is not None and name in [target.id for target in targets if isinstance(target, ast.Name)]:
            return ast.literal_eval(node.value)
    return default


# ---------------------------------------------------------------------- a user's own part


class _OneReading(importlib.machinery.SourceFileLoader):
    """Runs exactly the bytes that were hashed: neither a second reading nor a cached compilation."""

    def __init__(self, name: str, path: Path, source: bytes) -> None:
        super().__init__(name, str(path))
        self._source = source

    def get_data(self, path: Any) -> bytes:
        return self._source

    def path_stats(self, path: Any) -> Any:
        raise OSError("no time stamp: the cache of compiled files is not used")


def load_plugin(path: str | Path) -> Plugin:
    """Import a user's own part; from then on its name (the file's stem) is known like any other.

    Raises:
        UsageError: no such file, a stem that is no name, a name that is taken, an error in the file (with its line),
            not exactly one public class, one without any of the four bases, or options that are no schema.
    """
    path, source = _read_plugin(path)
    name, sha256 = path.stem, hashlib.sha256(source).hexdigest()
    if path.suffix != ".py" or not NAME.fullmatch(name):
        raise UsageError(f"{path}: a plugin's file is its name: lower-case letters, digits and _, then .py")
    if name in _plugins and _plugins[name][0].path == path:
        if _plugins[name][0].sha256 != sha256:
            raise UsageError(f"{path}: changed while in use. Start again to use the new version.")
        return _plugins[name][0]
    if homes := _homes(name):
        raise UsageError(f"{path}: the name {name!r} is taken by {homes[0][1]} ({homes[0][0]}). Rename the file.")
    cls = _only_class(_run_plugin(path, source))
    plugin = Plugin(path, sha256, _kind_of_class(cls, path), name)
    try:
        schema(cls).model_validate_json("{}")
    except Exception as error:  # a user's annotations: anything can stand there
        raise UsageError(f"{path}: the options of {cls.__name__}: {error}") from error
    _plugins[name] = (plugin, cls)
    return plugin


def check_plugin(path: str | Path, sha256: str) -> None:
    """Refuse a plugin that is not the one a run was made with.

    Raises:
        UsageError: no such file.
        CorruptFile: its SHA-256 is another.
    """
    path, source = _read_plugin(path)
    found = hashlib.sha256(source).hexdigest()
    if found != sha256:
        raise CorruptFile(
            f"{path}: changed since the run was made (SHA-256 {found[:12]}, the run has {sha256[:12]}). "
            "Restore the file, or start a new run."
        )


def _read_plugin(path: str | Path) -> tuple[Path, bytes]:
    try:
        path = Path(path).resolve()
        if not path.is_file():
            raise UsageError(f"{path}: a plugin must be a file; " + ("this is none" if path.exists() else "not found"))
        return path, path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(f"plugin {short(str(path))}: cannot be read: {error}") from error


def _run_plugin(path: Path, source: bytes) -> ModuleType:
    name = f"sandbox_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_OneReading(name, path, source))
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's code: anything can happen in it
        del sys.modules[spec.name]
        raise UsageError(f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _line_of(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    import traceback

    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _kind_of_class(cls: type, path: Path) -> str:
    kinds = [PLUGIN_BASES.get((base.__module__, base.__qualname__)) for base in cls.__mro__]
    for kind in kinds:
        if kind is not None:
            return kind
    bases = ", ".join(f"{module}.{name}" for module, name in PLUGIN_BASES)
    raise UsageError(f"{path}: {cls.__name__} must be a subclass of one of {bases}")


# ---------------------------------------------------------------------- a signature is a schema


def schema(cls: type) -> type[BaseModel]:
    """A pydantic model of the keyword-only arguments of a part's constructor: its options, bounds and defaults.

    Feed it through `model_validate_json`: there a whole number passes for a float, and nothing else is converted.

    Raises:
        TypeError: an argument without annotation or default, or `**kwargs` (an error in the part, not of its user).
    """
    from pydantic import ConfigDict, create_model

    init: Any = cls.__init__  # type: ignore[misc]
    fields: dict[str, Any] = {}
    if init is not object.__init__:
        hints = get_type_hints(init, include_extras=True)
        for parameter in inspect.signature(init).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                raise TypeError(f"{cls.__qualname__}: **{parameter.name} hides the part's options; write them out")
            if parameter.kind is parameter.KEYWORD_ONLY:
                fields[parameter.name] = _field(cls, parameter, hints)
    config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        frozen=True,
        arbitrary_types_allowed=False,
        protected_namespaces=(),
    )
    return create_model(cls.__name__, __config__=config, **fields)


def _field(cls: type, parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, Any]:
    where = f"{cls.__qualname__}: the option {parameter.name!r}"
    if parameter.name not in hints:
        raise TypeError(f"{where} has no annotation")
    if parameter.default is parameter.empty:
        raise TypeError(f"{where} has no default")
    if parameter.name.startswith("_"):
        raise TypeError(f"{where} begins with an underscore")
    return hints[parameter.name], parameter.default


def explain(error: ValidationError, data: Any, model: type[BaseModel], most: int = 20) -> list[str]:
    """What is wrong with `data`, a line for each dotted place: what was given and what is expected."""
    given: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_context=False):
        place, value = _place(item["loc"], data, missing=item["type"] == "missing")
        if item["type"] == "extra_forbidden":
            text = "unknown key." + _known_keys(place, model)
        elif item["type"] == "missing":
            text = "missing"
        elif item["type"] == "json_invalid":  # what `is_plain` accepts fails here only by its depth
            text = "nested too deeply"
        else:
            text = item["msg"].partition(" should ")[2] or item["msg"]
            given[_dotted(place)] = value
        problems.setdefault(_dotted(place), []).append(text)
    lines = [_problem(place, texts, given) for place, texts in problems.items()]
    return lines[:most] + ([f"... and {len(lines) - most} more"] if len(lines) > most else [])


def _problem(place: str, texts: list[str], given: dict[str, Any]) -> str:
    if place not in given:
        return f"{place}: {texts[0]}"
    first, *others = dict.fromkeys(texts)  # the branches of a union, each once
    expected = " or ".join([first, *(text.removeprefix("be ") for text in others)])
    return f"{place}: is {short(given[place])}, should {expected}"


def _place(loc: Sequence[int | str], data: Any, missing: bool) -> tuple[list[int | str], Any]:
    """The steps of `loc` that exist in `data` (pydantic adds the branches of a union), and the value there."""
    place: list[int | str] = []
    for step in loc:
        if (isinstance(data, dict) and step in data) or (isinstance(data, list) and step in range(len(data))):
            place.append(step)
            data = data[step]  # type: ignore[index]
    return [*place, loc[-1]] if missing else place, data


def _dotted(place: Sequence[int | str]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{show_key(step)}" for step in place)
    return "".join(steps).removeprefix(".") or "the whole"


def _known_keys(place: Sequence[int | str], model: type[BaseModel]) -> str:
    key, here = str(place[-1]), model
    for step in place[:-1]:
        here = here if isinstance(step, int) else _submodel(here.model_fields[step].annotation) or here
    elsewhere = {path.rpartition(".")[2]: path for path in _paths(model)}
    near = [] if key in elsewhere else get_close_matches(_clip(key), here.model_fields)
    near = near or [elsewhere[leaf] for leaf in get_close_matches(_clip(key), elsewhere, n=1)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{hint} Known here: {', '.join(here.model_fields) or 'no key'}."


def _paths(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, info in model.model_fields.items():
        yield prefix + name
        if below := _submodel(info.annotation):
            yield from _paths(below, f"{prefix}{name}.")


def _submodel(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    from pydantic import BaseModel

    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


# ---------------------------------------------------------------------- values as text


def parse_toml(text: str) -> dict[str, Any]:
    """`tomllib.loads`, with its every failure a ValueError.

    Raises:
        ValueError: not TOML (with the line), or nested too deeply.
    """
    import tomllib

    if any(line.count(".") > DEEPEST for line in text.splitlines()):
        raise ValueError(f"a line with more than {DEEPEST} dots")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_value(text: str) -> Any:
    """A value typed at the terminal: TOML (true, 3, 1e-4, [1, 2], "text"), else the text itself."""
    try:
        table = parse_toml(f"x = {text}")
        return table["x"] if list(table) == ["x"] and is_plain(table["x"]) else text
    except (ValueError, RecursionError):
        return text


def is_plain(value: Any) -> bool:
    """Can JSON hold this value: no date, no integer beyond 64 bits, no half of a character?"""
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    if isinstance(value, str):
        return not re.search("[\ud800-\udfff]", value)
    return value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def write_value(value: Any) -> str:
    """The text that `read_value` reads as `value`, free of the characters that separate an agent's parts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_quoted(item) if isinstance(item, str) else write_value(item) for item in value) + "]"
    if isinstance(value, str):
        bare = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", value) and read_value(value) is value
        return value if bare else _quoted(value)
    return repr(value)


def _quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() or c in " _./-" else f"\\U{ord(c):08X}" for c in text) + '"'


def _clip(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def show_key(key: str) -> str:
    """A key as it may stand in a message: quoted and shortened where it is not a plain word."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) else short(key)


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return _clip(text if text.isprintable() else json.dumps(value, default=repr))


def choices(name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"{did_you_mean(_clip(name), known)} Known: {', '.join(known) or 'none'}."


# ---------------------------------------------------------------------- the layout


def check_layout() -> None:
    """`envs` and `agents` must be the folders beside `sandbox`: both names are common, and either could be shadowed.

    Raises:
        UsageError: another distribution or the user's folder comes first on the path.
    """
    for package in ("envs", "agents"):
        found, expected = _folder_of(package), ROOT / package
        if found != expected:
            raise UsageError(
                f"the package {package!r} was found at {found or 'no place'}, but the sandbox's own is {expected}. "
                "Rename the other one, uninstall it, or start from another folder."
            )


def _folder_of(package: str) -> Path | None:
    loaded = sys.modules.get(package)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(package)
    if spec is None:
        return None
    if spec.submodule_search_locations is None:  # a single file
        return Path(spec.origin).resolve() if spec.origin else None
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def prepare_path() -> None:
    """Let modules of the current folder be found, but last, so that they can shadow nothing.

    Raises:
        UsageError: the current folder no longer exists.
    """
    try:
        here = Path(os.getcwd()).resolve()
    except OSError as error:
        raise UsageError(f"the current folder cannot be read: {error}") from error
    while here != ROOT and sys.path and (not sys.path[0] or Path(sys.path[0]).resolve() == here):
        del sys.path[0]
    # Our own folder first: an editable install finds its packages only after everything on the path.
    for folder in (ROOT, here):
        if not any(Path(entry or ".").resolve() == folder for entry in sys.path):
            sys.path.append(str(folder))
