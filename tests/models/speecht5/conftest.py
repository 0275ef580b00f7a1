"""The tiny checkpoint, and sessions of it, for every test of the family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.models.folder import inspect
from antiphon.models.speecht5.load import load
from antiphon.models.speecht5.session import SpeechT5Session
from antiphon.runtime.openvino import open_device
from tests.support.tiny_speecht5 import write_tiny

Open = Callable[..., SpeechT5Session]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny-speecht5")


@pytest.fixture(scope="session")
def open_tiny() -> Open:
    """Load a folder in f32, whatever the machine."""

    def opened(folder: Path, **options: Any) -> SpeechT5Session:
        given = {"weight_format": "auto", "slots": 4, "report": lambda line: None} | options
        (session,) = load(inspect(folder), name="tiny", runtime=open_device("CPU", "f32"), **given)
        return session

    return opened


@pytest.fixture(scope="session")
def session(tiny_folder: Path, open_tiny: Open) -> SpeechT5Session:
    return open_tiny(tiny_folder)


@pytest.fixture
def empty_session(session: SpeechT5Session) -> SpeechT5Session:
    """The shared session, checked to hold nothing from the test before."""
    assert session.step() == []
    return session
