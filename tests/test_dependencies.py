"""Dependencies: all imports are named, their lowest versions have no known holes, and their licences are listed."""

from __future__ import annotations

import ast
import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = {found.name: found for found in map(Requirement, PROJECT["dependencies"])}
OPTIONAL = {
    found.name
    for extra in ("espeak", "bench", "quantize")
    for found in map(Requirement, PROJECT["optional-dependencies"][extra])
}
MODULES = {"google": "protobuf"}  # a module that is not named like its package


def imported() -> set[str]:
    """The packages that the source imports, in the form of pyproject.toml."""
    names: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    others = names - set(sys.stdlib_module_names) - {"antiphon"}
    return {MODULES.get(name, name.replace("_", "-")) for name in others}


def test_every_imported_package_is_a_dependency() -> None:
    assert imported() <= set(REQUIRED) | OPTIONAL


@pytest.mark.parametrize(
    ("name", "vulnerable"),
    [
        ("filelock", "3.20.0"),  # CVE-2025-68146: a lock file replaced by a link
        ("h11", "0.14.0"),  # CVE-2025-43859: line ends of chunks, request smuggling
        ("protobuf", "6.31.0"),  # CVE-2025-4565: unbounded recursion
        ("python-multipart", "0.0.29"),  # unbounded headers of parts
        ("sentencepiece", "0.2.0"),  # CVE-2026-1260: invalid memory access by a model file
        ("starlette", "0.49.0"),  # CVE-2025-62727 and earlier: forms and ranges that take quadratic time
    ],
)
def test_versions_with_known_holes_are_excluded(name: str, vulnerable: str) -> None:
    assert not REQUIRED[name].specifier.contains(vulnerable)


def locked(name: str) -> dict[str, list[tuple[str, int]]]:
    """The packages of a lock: the version and the number of hashes of each, which differ by Python version for some."""
    found: dict[str, list[tuple[str, int]]] = {}
    for entry in re.split(r"\n(?=[a-z])", (ROOT / "locks" / f"{name}.txt").read_text()):
        if match := re.match(r"([\w.-]+)==(\S+)", entry):
            found.setdefault(match[1], []).append((match[2], entry.count("--hash=sha256:")))
    return found


@pytest.mark.parametrize("name", ["runtime", "espeak", "dev"])
def test_lock_fits_the_dependencies_and_has_hashes(name: str) -> None:
    """Run scripts/lock after a change of the dependencies."""
    extras = {"runtime": (), "espeak": ("espeak",), "dev": ("espeak", "bench", "dev")}[name]
    lines = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    packages = locked(name)
    for requirement in map(Requirement, lines):
        if requirement.name != PROJECT["name"]:
            assert packages[requirement.name]
            assert all(requirement.specifier.contains(version) for version, _ in packages[requirement.name])
    assert all(hashes for versions in packages.values() for _, hashes in versions)
    assert all(versions == locked("dev")[package] for package, versions in packages.items())
    assert "torch" not in packages


def test_lock_of_the_sbom_tool_has_hashes() -> None:
    packages = locked("sbom")
    assert "cyclonedx-bom" in packages
    assert all(hashes for versions in packages.values() for _, hashes in versions)


def test_licences_of_all_dependencies_are_listed() -> None:
    """Run scripts/docs --write after a change of the dependencies."""
    page = (ROOT / "THIRD_PARTY.md").read_text()
    rows = re.findall(r"^\| ([\w.-]+) \| (.+?) \|", page, re.MULTILINE)
    names = runpy.run_path(str(ROOT / "docs" / "third_party_page.py"))["dependencies"]()
    assert [name for name, _ in rows[1:]] == list(names)
    assert "unknown" not in {licence for _, licence in rows}
    assert "THIRD_PARTY.md" in PROJECT["license-files"]
