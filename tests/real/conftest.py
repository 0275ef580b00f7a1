"""Fixtures of the suite: each model, peer and transcript is made once, and the word errors are printed as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

import antiphon
from antiphon.export.export import export
from antiphon.local import Model
from antiphon.models.folder import inspect
from antiphon.repository.graph_pbtxt import GraphFile
from tests.real.models import RealModel, real_model
from tests.real.peers import FasterWhisper, Transformers
from tests.real.recordings import check_speech
from tests.real.word_errors import Table

TABLE = pytest.StashKey[Table]()
PeerOf = Callable[[str], Transformers]
ModelOf = Callable[..., Model]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stop with one line if the recordings are not there: a suite that is skipped proves nothing."""
    if any(Path(__file__).parent in item.path.parents for item in items):
        check_speech()
        config.stash[TABLE] = Table()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[TABLE].lines() if TABLE in config.stash else ():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """With other work on the machine, PyTorch's threads wait for each other: two take four times as long as one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    return pytestconfig.stash[TABLE]


@pytest.fixture(scope="session")
def real() -> Callable[[str], RealModel]:
    return cache(real_model)


@pytest.fixture(scope="session")
def transformers_of(real: Callable[[str], RealModel]) -> PeerOf:
    return cache(lambda name: Transformers(real(name).checkpoint))


@pytest.fixture(scope="session")
def faster_whisper_of(real: Callable[[str], RealModel]) -> Callable[[str], FasterWhisper]:
    return cache(lambda name: FasterWhisper(real(name).ctranslate2))


@pytest.fixture(scope="session")
def model_of() -> Iterator[ModelOf]:
    """Models by folder and the options of `antiphon.load`; closed at the end."""
    models: dict[object, Model] = {}

    def load(folder: Path, **options: str) -> Model:
        key = (folder, *options.items())
        if key not in models:
            models[key] = antiphon.load(folder, **options)  # type: ignore[arg-type]
        return models[key]

    yield load
    for model in models.values():
        model.close()


@pytest.fixture(scope="session")
def exported(real: Callable[[str], RealModel], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint's export: the folder layout that OVMS serves and the hub's `whisper-base-fp16-ov` has."""

    @cache
    def write(name: str) -> Path:
        folder = tmp_path_factory.mktemp("exported") / f"{name}-fp16-ov"
        export(inspect(real(name).checkpoint), folder, graph=GraphFile("speech2text"), weight_format="fp16")
        return folder

    return write
