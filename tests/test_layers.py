"""Imports run one way (envs <- nothing, agents <- nothing but spaces, sandbox -> both), and nothing executes data."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"studies", "benchmarks", "tests"}  # which are not installed
FORBIDDEN = {
    "envs": {"torch", "stable_baselines3", "agents", "sandbox"} | OUTSIDE,
    "agents": {"envs", "sandbox"} | OUTSIDE,
    "sandbox": OUTSIDE,
}
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec"}


def imported(tree: ast.AST, package: str) -> set[str]:
    """First names of everything imported anywhere in the file; a relative import is of its own package."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(package if node.level else str(node.module).split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            names |= {str(a.value).split(".")[0] for a in node.args[:1] if isinstance(a, ast.Constant)}
    return names


def unsafe(tree: ast.AST) -> list[str]:
    """What could execute data, or hide an error: `line: what`."""
    found = [(0, name) for name in imported(tree, "") & UNSAFE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append((node.lineno, "bare except"))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in UNSAFE_CALLS or called in {f"builtins.{name}" for name in UNSAFE_CALLS}:
                found.append((node.lineno, called))
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    found.append((node.lineno, "allow_pickle"))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "th.load", "torch.jit.load"):
            found.append((node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.ImportFrom) and node.module == "torch" and any(a.name == "load" for a in node.names):
            found.append((node.lineno, "torch.load"))
    return [f"{line}: {what}" for line, what in found]


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package: str) -> None:
    assert len(files(package)) > 5
    wrong = {}
    for path in files(package):
        bad = imported(ast.parse(path.read_text(encoding="utf-8")), package) & FORBIDDEN[package]
        if bad:
            wrong[str(path.relative_to(ROOT))] = bad
    assert wrong == {}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_nothing_executes_data_or_swallows_every_error(package: str) -> None:
    found = {str(p.relative_to(ROOT)): unsafe(ast.parse(p.read_text(encoding="utf-8"))) for p in files(package)}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import cloudpickle.cloudpickle",
        "eval('1')",
        "exec(text)",
        "import torch\ntorch.load('x', weights_only=True)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "try:\n    pass\nexcept:\n    pass",
    ],
)
def test_the_check_itself_finds_what_is_unsafe(source: str) -> None:
    assert unsafe(ast.parse(source))


def test_the_check_itself_allows_what_is_safe() -> None:
    source = "policy.eval()\nnp.load(p, allow_pickle=False)\nfrom safetensors.torch import load_file"
    source += "\ntry:\n    pass\nexcept OSError:\n    pass"
    assert unsafe(ast.parse(source)) == []


def test_the_check_itself_sees_late_and_named_imports() -> None:
    source = "def f():\n    from torch.nn import Linear\n    importlib.import_module('agents.rollout')"
    assert imported(ast.parse(source), "envs") == {"torch", "agents"}
