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
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sandbox import layout
from sandbox.errors import CorruptFile, UsageError
from sandbox.options import schema
from sandbox.values import choices, short

if TYPE_CHECKING:  # what help and lists do not need is imported where it is used
    from importlib.metadata import EntryPoint

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
        own = " One of your own is named by --plugin FILE (in a study's file: plugins)."
        raise UsageError(f"unknown part {short(name)}." + choices(name, all_names()) + own)
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
    folder = layout.ROOT / "envs"
    sources = [*folder.glob("*.py"), *folder.glob("*/__init__.py")]
    public = [path for path in sources if not path.relative_to(folder).parts[0].startswith("_")]
    return sorted((world, _first_line(path)) for path in public for world in literal(path, "IDS", ()))


def _files(kind: str) -> dict[str, Path]:
    if kind not in PACKAGES:
        raise UsageError(f"unknown kind {short(kind)}." + choices(kind, PACKAGES))
    folder = layout.ROOT.joinpath(*PACKAGES[kind].split("."))
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
