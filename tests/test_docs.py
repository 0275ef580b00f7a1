"""The documents are correct: trees match the disk, links have targets, commands parse, marked examples run."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import wave
from pathlib import Path
from typing import NamedTuple

import pytest

import antiphon
from antiphon.settings import Settings

ROOT = Path(__file__).parents[1]
NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}
PAGES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part in NOT_OURS for part in path.relative_to(ROOT).parts)
]


class Block(NamedTuple):
    """A fenced piece of a page: its language, its text, and whether "<!-- runs -->" stands above it."""

    language: str
    text: str
    runs: bool


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    fence = re.compile(r"^(<!-- runs -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(language, text, bool(mark)) for mark, language, text in fence.findall(page.read_text())]


def folders(parent: Path) -> set[str]:
    """The folders with something in them that is ours."""
    return {
        path.name
        for path in parent.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and path.name not in NOT_OURS
        and any(file.is_file() and NOT_OURS.isdisjoint(file.relative_to(ROOT).parts) for file in path.rglob("*"))
    }


def written(language: str) -> list[object]:
    return [
        pytest.param(block, id=f"{name(page)}-{index}")
        for page in PAGES
        for index, block in enumerate(blocks(page))
        if block.language == language
    ]


def test_layers_of_the_architecture_page_match_the_disk() -> None:
    layers = next(block.text for block in blocks(ROOT / "docs" / "architecture.md") if block.language == "")
    named = set(re.findall(r"^(\w+) ", layers, re.MULTILINE))
    package = ROOT / "src" / "antiphon"
    assert {name for name in named if not (package / f"{name}.py").is_file()} == folders(package)


def test_settings_page_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "settings_page.py"))["render"]()
    assert (ROOT / "docs" / "settings.md").read_text() == made, "run scripts/docs --write"


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_explained(field: str) -> None:
    assert Settings.model_fields[field].description
    assert f"| `--{field}` | `ANTIPHON_{field.upper()}` |" in (ROOT / "docs" / "settings.md").read_text()


def test_changelog_begins_with_this_version() -> None:
    [newest, *_] = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == antiphon.__version__


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_have_targets(page: Path) -> None:
    outside = ("http://", "https://", "#")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not target.startswith(outside)]
    missing = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_scripts_exist(page: Path) -> None:
    named = set(re.findall(r"\bscripts/(\w+)\b(?!\.)", page.read_text()))
    assert not [script for script in named if not os.access(ROOT / "scripts" / script, os.X_OK)]


def test_files_named_in_the_architecture_exist() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text()))
    assert not [path for path in sorted(named) if not any((ROOT / "src" / "antiphon").rglob(path))]


def test_every_script_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "scripts" / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "scripts").iterdir() if path.suffix == ""}


@pytest.mark.parametrize("block", written("bash"))
def test_shell_examples_parse(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, capture_output=True)


@pytest.mark.parametrize("block", written("python"))
def test_python_examples_parse(block: Block) -> None:
    compile(block.text, "example", "exec")


@pytest.mark.parametrize(
    "script", [*sorted((ROOT / "scripts").glob("[!R]*")), ROOT / ".ci" / "run"], ids=lambda p: p.name
)
def test_scripts_parse_and_stop_at_the_first_error(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True, capture_output=True)
    assert "set -euo pipefail\n" in script.read_text()


@pytest.mark.parametrize(
    "block", [one for page in PAGES for one in blocks(page) if one.runs], ids=lambda one: one.language
)
def test_marked_examples_run(block: Block, tmp_path: Path) -> None:
    """In a folder with a second of silence called talk.wav and a link to tests/; only the exit code is checked."""
    with wave.open(str(tmp_path / "talk.wav"), "wb") as talk:
        talk.setnchannels(1)
        talk.setsampwidth(2)
        talk.setframerate(16_000)
        talk.writeframes(bytes(32_000))
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    command = [sys.executable, "-"] if block.language == "python" else ["bash", "-euo", "pipefail"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    ran = subprocess.run(command, input=block.text, text=True, cwd=tmp_path, env=environment, capture_output=True)
    assert ran.returncode == 0, ran.stderr
