"""The three packages stand beside each other, and the user's folder shadows none of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox import layout

PROJECT = Path(__file__).resolve().parents[2]


def run_python(code: str, cwd: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONSAFEPATH": "1"}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_importing_names_and_configuration_is_light() -> None:
    code = """
        import sys, sandbox.layout as layout, sandbox.registry as registry, sandbox.config
        [registry.summary(kind, name) for kind in registry.PACKAGES for name in registry.names(kind)]
        registry.worlds(), layout.check_layout()
        print({"torch", "numba", "gymnasium", "stable_baselines3", "agents", "envs"} & set(sys.modules))
    """
    done = run_python(textwrap.dedent(code), PROJECT, PROJECT)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize("package", ["envs", "agents"])
@pytest.mark.parametrize("form", ["{}/__init__.py", "{}.py"])
def test_a_shadowed_package_is_reported_with_both_places(tmp_path: Path, package: str, form: str) -> None:
    other = tmp_path / form.format(package)
    other.parent.mkdir(exist_ok=True)
    other.write_text("")
    code = "import sandbox.layout as r\ntry: r.check_layout()\nexcept r.UsageError as e: print(e.exit_code, e)"
    done = run_python(code, PROJECT, tmp_path, PROJECT)
    assert done.stdout.startswith("2 "), done.stderr
    assert str(tmp_path / package) in done.stdout
    assert str(PROJECT / package) in done.stdout


@pytest.mark.parametrize("front", [[], [""], ["", ""], ["here"]])
def test_the_current_folder_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, front: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*(str(tmp_path) if entry == "here" else entry for entry in front), "/lib"])
    layout.prepare_path()
    layout.prepare_path()
    assert sys.path == ["/lib", str(layout.ROOT), str(tmp_path)]


def test_the_project_itself_may_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/lib"])
    layout.prepare_path()
    assert sys.path == ["", "/lib"]
