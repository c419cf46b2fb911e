"""Imports point downward: the layers of docs/architecture.md, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "janusjit"

#: what each layer may import, besides itself
ALLOWED = {
    "foundation": set(),
    "ir": {"foundation"},
    "ops": {"foundation", "ir"},
    "transform": {"foundation", "ir", "ops"},
    "profiler": {"foundation", "ir", "ops"},
    "analysis": {"foundation", "ir", "ops", "transform", "profiler"},
    "backend": {"foundation", "ir", "ops", "transform"},
    "runtime": {"foundation", "ir", "ops", "transform", "profiler", "analysis", "backend"},
    "report": {"foundation", "ir", "ops", "transform", "profiler", "analysis", "backend", "runtime"},
}
ALLOWED["face"] = {*ALLOWED["report"], "report"}
FOUNDATION = {"collection", "config", "errors", "pacing", "spans", "version"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "digits_mlp.py")


def layer(parts: tuple[str, ...]) -> str:
    """Return the layer of a module, given its dotted name after ``janusjit``."""
    if parts and parts[0] in FOUNDATION:
        return "foundation"
    return parts[0] if parts and parts[0] in ALLOWED else "face"


def imports(tree: ast.AST) -> list[tuple[ast.stmt, str]]:
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [(node, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def parts_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).with_suffix("").parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(parts_of(path)))
def test_imports_point_downward(path: Path) -> None:
    own = layer(parts_of(path))
    for node, name in imports(ast.parse(path.read_text())):
        if name == "janusjit" or not name.startswith("janusjit."):
            continue
        other = layer(tuple(name.split(".")[1:]))
        assert other == own or other in ALLOWED[own], f"{path.name}:{node.lineno}: {own} imports {name} of {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(parts_of(path)))
def test_own_modules_are_imported_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node, name in imports(function):
                assert not name.startswith("janusjit"), f"{path.name}:{node.lineno} imports {name} within a function"


def test_the_rules_are_about_something() -> None:
    layers = {layer(parts_of(path)) for path in FILES}
    assert layers >= set(ALLOWED) - {"profiler"}
    assert "backend" not in ALLOWED["analysis"]
    assert "analysis" not in ALLOWED["backend"]
