"""Where the packages lie: `envs` and `agents` beside `sandbox`, the user's folder last on the path."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from sandbox.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent


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
