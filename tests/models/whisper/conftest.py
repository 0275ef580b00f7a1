"""The tiny checkpoint, and sessions of it, for every test of the family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from antiphon.models.whisper.session import WhisperSession
from antiphon.types.events import Event
from tests.support.sessions import load_session
from tests.support.tiny_whisper import write_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def session(tiny_folder: Path) -> WhisperSession:
    loaded = load_session(str(tiny_folder), precision="f32", slots=4)
    assert isinstance(loaded, WhisperSession)
    return loaded


@pytest.fixture
def empty_session(session: WhisperSession) -> WhisperSession:
    """The shared session, checked to hold nothing from the test before."""
    assert session.step() == []
    return session


def finished(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if type(event).__name__ == "WindowFinished"]
