"""A clean environment for every test, and the tests in `oracle/` and `real/` only with `-m oracle` and `-m real`.

Fixtures import the package themselves, after the environment is clean.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from antiphon.local import Model
    from tests.support.espeak_voice import Voice

TESTS = Path(__file__).parent
MARKED = ("oracle", "real")  # folders whose tests have the marker of the same name
KEPT = "ANTIPHON_SPEECH"  # not a setting of the package: where tests/real/ finds recordings
LEAKS = ("ANTIPHON_", "API_KEY", "HF_", "HUGGING", "OPENAI_", "OVMS_", "TRANSFORMERS_")
CACHE = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--schedules", type=int, default=10_000, help="the number of random schedules that the scheduler is tested with"
    )
    parser.addoption(
        "--fuzz-seconds", type=float, default=2.0, help="how long each test in tests/fuzz sends random input"
    )
    parser.addoption("--plot", help="a file for the plot of the memory in tests/fuzz/test_mixed_load.py")
    parser.addoption("--fuzz-seed", type=int, help="the seed of the random input; by default a new one")


def pytest_configure(config: pytest.Config) -> None:
    """Remove the developer's own settings and keys before any module reads them; forbid the hub, and hide pulled models."""
    if config.option.fuzz_seed is None:
        config.option.fuzz_seed = secrets.randbits(32)
    for name in [name for name in os.environ if name.startswith(LEAKS) and name != KEPT]:
        del os.environ[name]
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["XDG_CACHE_HOME"] = config.stash[CACHE] = tempfile.mkdtemp(prefix="antiphon-tests-")
    os.environ["XDG_STATE_HOME"] = config.stash[CACHE]  # where a generated API key is kept


def pytest_report_header(config: pytest.Config) -> str:
    """The seed with which a failure in tests/fuzz can be repeated."""
    return f"fuzz seed: {config.option.fuzz_seed}"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[CACHE], ignore_errors=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests that `-m` leaves out are not imported: some need PyTorch, which may not be installed."""
    name, selected = collection_path.name, config.option.markexpr.split(" and ")
    if collection_path.parent != TESTS or name in selected:
        return None
    return f"not {name}" in selected or selected[0] in MARKED or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in a folder with a marker."""
    for item in items:
        for marker in MARKED:
            if TESTS / marker in item.path.parents:
                item.add_marker(marker)


@pytest.fixture(scope="module")
def voice() -> Voice:
    """eSpeak NG, the voice that starter-asr was trained on."""
    from tests.support.espeak_voice import Voice

    return Voice()


@pytest.fixture(scope="module")
def starter() -> Iterator[Model]:
    """starter-asr in f32: only there does a batch give exactly what single runs give."""
    import antiphon
    from tests.support.starters import STARTER_ASR

    with antiphon.load(STARTER_ASR, precision="f32") as model:
        yield model
