"""Compiled code is cached under the content of all files that it may call into."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

CALLER = """from envs.callee import one
from envs.compiled import njit

@njit(cache=True)
def two():
    return 2 * one()
"""
CALLEE = """from envs.compiled import njit

@njit(cache=True)
def one():
    return {value}
"""


def test_a_change_in_the_file_of_a_callee_is_seen(tmp_path: Path) -> None:
    import envs.compiled

    package = tmp_path / "envs"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(envs.compiled.__file__, package / "compiled.py")
    (package / "caller.py").write_text(CALLER)
    found = []
    for value in (1, 1, 70):  # of another length: Python itself tells sources apart by second and size
        (package / "callee.py").write_text(CALLEE.format(value=value))
        ask = [sys.executable, "-c", "from envs.caller import two; print(two())"]
        found.append(subprocess.run(ask, cwd=tmp_path, env={}, capture_output=True, text=True, check=True).stdout)
    assert found == ["2\n", "2\n", "140\n"]
    assert len(list((package / "__pycache__").glob("numba-*"))) == 2  # the second run found the first one's code
