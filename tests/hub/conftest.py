"""A fake hub on loopback, and a folder for the models pulled from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.hub import client as hub_module
from tests.support.fake_hub import Hub, serve_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub that HF_ENDPOINT names."""
    with serve_hub() as running:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(hub_module, "RETRY_DELAYS_S", (0, 0))
        yield running


@pytest.fixture
def lines() -> list[str]:
    """What a pull reported."""
    return []


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"
