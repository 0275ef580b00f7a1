"""The shape of the code: short files and functions, one-way imports, module docstrings, tests that stand alone, plain names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "antiphon"
LONGEST_FILE = 400
LONGEST_FUNCTION = 60

FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), name) for name, path in FILES.items()}
SCRIPTS = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text(), str(path))
    for folder in ("tests", "bench", "docs", "deploy")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
# Names that were replaced by the terms of the field; they must not come back.
REPLACED = {
    "phantom",
    "phantoms",
    "turnstile",
    "door",
    "twin",
    "twins",
    "spoken",
    "wanted",
    "pace",
    "turns",
    "terms",
    "stitch",
    "mistakes",
}


def functions(tree: ast.AST, name: str) -> Iterator[tuple[str, int]]:
    """Every function's qualified name and number of lines, signature and docstring included."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            assert child.end_lineno is not None
            yield f"{name}.{child.name}", child.end_lineno - child.lineno + 1
            yield from functions(child, f"{name}.{child.name}")
        elif isinstance(child, ast.ClassDef):
            yield from functions(child, f"{name}.{child.name}")
        else:
            yield from functions(child, name)


def identifiers(tree: ast.AST) -> Iterator[str]:
    """The names that a module gives: to classes, functions, parameters, variables and attributes, and to its imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


FUNCTIONS = [found for name, tree in (TREES | SCRIPTS).items() for found in functions(tree, name.removesuffix(".py"))]


def test_files_and_functions_are_found() -> None:
    assert "__init__.py" in FILES
    assert "tests/test_layers.py" in SCRIPTS
    assert len(FUNCTIONS) > 20


def test_no_file_is_longer_than_400_lines() -> None:
    paths = [*FILES.values(), *(ROOT / name for name in SCRIPTS)]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    assert {name: lines for name, lines in FUNCTIONS if lines > LONGEST_FUNCTION} == {}


def test_every_module_has_a_docstring() -> None:
    assert [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)] == []


def test_tests_import_neither_bench_nor_training() -> None:
    top = {name: {module.partition(".")[0] for module in imports(tree)} for name, tree in SCRIPTS.items()}
    assert [name for name, found in top.items() if name.startswith("tests/") and found & {"bench", "training"}] == []
    assert [name for name, found in top.items() if name.startswith("bench/") and "tests" in found] == []


def test_replaced_names_are_not_used() -> None:
    found = {
        name: sorted({each for each in identifiers(tree) if words(each) & REPLACED}) for name, tree in TREES.items()
    }
    for name in FILES:
        if any(words(part) & REPLACED for part in Path(name).with_suffix("").parts):
            found[name].append("the file's own name")
    assert {name: names for name, names in found.items() if names} == {}


def test_imports_follow_the_layers() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    found = subprocess.run(
        [sys.executable, "-c", command, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
