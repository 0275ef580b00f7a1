"""A clean environment for every test, and the oracle tests only with `-m oracle`.

Fixtures import the package themselves, after the environment is clean.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from antiphon.local import Model
    from tests.support.espeak_voice import Voice

ORACLES = Path(__file__).parent / "oracle"
LEAKS = ("ANTIPHON_", "API_KEY", "HF_", "HUGGING", "OPENAI_", "OVMS_", "TRANSFORMERS_")
CACHE = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--schedules", type=int, default=10_000, help="the number of random schedules that the scheduler is tested with"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Remove the developer's own settings and keys before any module reads them; forbid the hub, and hide pulled models."""
    for name in [name for name in os.environ if name.startswith(LEAKS)]:
        del os.environ[name]
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["XDG_CACHE_HOME"] = config.stash[CACHE] = tempfile.mkdtemp(prefix="antiphon-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[CACHE], ignore_errors=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without `-m oracle` the oracle tests are not imported: they need PyTorch, which may not be installed."""
    if collection_path == ORACLES and config.option.markexpr == "not oracle":
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test under tests/oracle/."""
    for item in items:
        if ORACLES in item.path.parents:
            item.add_marker(pytest.mark.oracle)


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
