"""numba's `njit(cache=True)` with a cache that knows every compiled file of this package.

numba keeps compiled code until the file of the function itself changes. A function that calls one of another file would
go on with the old callee after an update, silently. So this package's code is cached under a digest of all its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_HERE = Path(__file__).parent
_CONFIG: Any = numba.config  # numba fills it as it is imported


def _digest() -> str:
    """Of the package's sources, by name and content."""
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(_HERE.rglob("*.py")):
        total.update(str(path.relative_to(_HERE)).encode() + path.read_bytes())
    return total.hexdigest()


_FOLDER = str(Path(_CONFIG.CACHE_DIR or _HERE / "__pycache__") / f"numba-{_digest()}")


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` as a decorator; where the folder cannot be written, numba chooses another."""

    def decorate(function: Callable[..., Any]) -> Any:
        chosen, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, _FOLDER
        try:
            return numba.njit(**options)(function)
        finally:
            _CONFIG.CACHE_DIR = chosen

    return decorate
