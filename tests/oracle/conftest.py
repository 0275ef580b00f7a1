"""The factory of the oracle tests: for a shape, its checkpoint loaded by transformers and by Antiphon.

Warnings of the oracles themselves are ignored by their text; every other warning is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.oracle.reference import Comparison, make_comparison
from tests.support.whisper_checkpoint import Shape

MakeComparison = Callable[[Shape], Comparison]

# openai-whisper does not close its vocabulary file.
THEIRS = ["ignore:unclosed file .*tiktoken:ResourceWarning"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Here and not in pyproject.toml: the filters are for the tests of this folder only."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for line in THEIRS:
                item.add_marker(pytest.mark.filterwarnings(line))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """A second thread slows down models this small, most of all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def comparison_of(tmp_path_factory: pytest.TempPathFactory) -> MakeComparison:
    """Each shape is written and compiled once per run."""
    made: dict[str, Comparison] = {}

    def make(shape: Shape) -> Comparison:
        if shape.name not in made:
            made[shape.name] = make_comparison(tmp_path_factory.mktemp(shape.name), shape)
        assert made[shape.name].shape == shape, f"two shapes are called {shape.name}"
        return made[shape.name]

    return make
