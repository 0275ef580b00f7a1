"""The shape of the code, kept by failing tests: short files, short functions, one-way imports, a docstring a module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "antiphon"
LONGEST_FILE = 400
LONGEST_FUNCTION = 60

FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), name) for name, path in FILES.items()}


def functions() -> Iterator[tuple[str, int]]:
    """Every function's qualified name and how many lines it has, signature and docstring included."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                assert child.end_lineno is not None
                yield f"{name}.{child.name}", child.end_lineno - child.lineno + 1
                yield from walk(child, f"{name}.{child.name}")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{name}.{child.name}")
            else:
                yield from walk(child, name)

    for name, tree in TREES.items():
        yield from walk(tree, name.removesuffix(".py"))


def test_there_is_something_to_check() -> None:
    assert "__init__.py" in FILES
    assert len(list(functions())) > 20


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_long(name: str) -> None:
    assert len(FILES[name].read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize(("name", "lines"), [pytest.param(*one, id=one[0]) for one in functions()])
def test_no_function_is_long(name: str, lines: int) -> None:
    assert lines <= LONGEST_FUNCTION


@pytest.mark.parametrize("name", [name for name, tree in TREES.items() if tree.body])
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(TREES[name])


def test_imports_follow_the_layers() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    found = subprocess.run(
        [sys.executable, "-c", command, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
