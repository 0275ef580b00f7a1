"""One factory for every oracle test: a shape in, its checkpoint loaded by transformers and by us out.

What the oracles themselves warn of is let through by its text; every other warning stays an error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.oracle.reference import Twin, make_twin
from tests.support.whisper_checkpoint import Shape

MakeTwin = Callable[[Shape], Twin]

# openai-whisper opens its vocabulary and never closes it.
THEIRS = ["ignore:unclosed file .*tiktoken:ResourceWarning"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Here and not in pyproject.toml: the filters hold for the tests of this folder only."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for line in THEIRS:
                item.add_marker(pytest.mark.filterwarnings(line))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small lose more to a second thread than they gain, most of all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def twin_of(tmp_path_factory: pytest.TempPathFactory) -> MakeTwin:
    """Each shape is written and compiled once a run."""
    made: dict[str, Twin] = {}

    def make(shape: Shape) -> Twin:
        if shape.name not in made:
            made[shape.name] = make_twin(tmp_path_factory.mktemp(shape.name), shape)
        assert made[shape.name].shape == shape, f"two shapes are called {shape.name}"
        return made[shape.name]

    return make
