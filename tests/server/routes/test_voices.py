"""GET audio/voices and audio/models."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_voices_are_listed_by_both_prefixes(server: Any, version: str) -> None:
    voices = [{"id": "plain", "name": "plain"}, {"id": "loud", "name": "loud"}]
    assert server.client.get(f"/{version}/audio/voices").json() == {"voices": voices}
    assert server.client.get(f"/{version}/audio/models").json() == {"models": [{"id": "fake-voice"}]}
    cards = {card["id"]: card for card in server.client.get(f"/{version}/models").json()["data"]}
    assert cards["fake-voice"]["voices"] == voices
    assert "voices" not in cards["fake"]
    assert server.client.get(f"/{version}/models/tts-1").json() == cards["fake-voice"]
