"""SECURITY.md: each promise names tests that exist and that scripts/test runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
OTHER_SCRIPTS = ("tests/oracle/", "tests/real/")


class Promise(NamedTuple):
    """One row of the tables: what is promised, and the tests in the form `tests/path.py::test_name`."""

    text: str
    tests: tuple[str, ...]


def promises(page: str) -> list[Promise]:
    """The rows of all tables under "What is promised"."""
    section = page.partition("\n## What is promised\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [
        Promise(text, tuple(re.findall(r"`([^`]+)`", "".join(tests)))) for text, *tests in rows if text != "promise"
    ]


def functions(path: Path) -> set[str]:
    """The functions of a module that pytest would find, without importing it."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def problems(promise: Promise) -> list[str]:
    """What is wrong with a row; nothing if each of its tests exists."""
    found = [] if promise.tests else [f"{promise.text}: no test"]
    for test in promise.tests:
        file, _, name = test.partition("::")
        if not re.fullmatch(r"tests/(\w+/)*test_\w+\.py", file) or file.startswith(OTHER_SCRIPTS):
            found.append(f"{test}: not a file of tests that scripts/test runs")
        elif not (ROOT / file).is_file():
            found.append(f"{test}: no such file")
        elif not name.startswith("test_") or name not in functions(ROOT / file):
            found.append(f"{test}: no such test")
    return found


PROMISES = promises((ROOT / "SECURITY.md").read_text())


def test_every_section_has_promises() -> None:
    section = (ROOT / "SECURITY.md").read_text().partition("\n## What is promised\n")[2].partition("\n## ")[0]
    assert section.count("\n### ") > 1
    assert all(promises(f"\n## What is promised\n{part}") for part in section.split("\n### ")[1:])
    assert len(set(PROMISES)) == len(PROMISES)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text)
def test_promise_names_tests_that_exist(promise: Promise) -> None:
    assert problems(promise) == []


@pytest.mark.parametrize(
    ("tests", "problem"),
    [
        ("", "no test"),
        ("none yet", "no test"),
        ("`tests/test_security.py`", "no such test"),
        ("`tests/test_security.py::test_that_was_renamed`", "no such test"),
        ("`tests/test_security.py::problems`", "no such test"),
        ("`tests/test_that_was_removed.py::test_a`", "no such file"),
        ("`tests/support/fuzzing.py::test_a`", "not a file of tests"),
        ("`src/antiphon/errors.py::test_a`", "not a file of tests"),
        ("`tests/oracle/test_a.py::test_a`", "not a file of tests"),
        (
            "`tests/test_security.py::test_promise_names_tests_that_exist`, `tests/test_security.py::test_gone`",
            "test_gone: no such test",
        ),
    ],
)
def test_promise_without_an_existing_test_is_found(tests: str, problem: str) -> None:
    page = f"\n## What is promised\n\n| promise | tests |\n|---|---|\n| A promise | {tests} |\n\n## Else\n\n| a | b |\n"
    [promise] = promises(page)
    [found] = problems(promise)
    assert problem in found
