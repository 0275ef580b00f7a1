"""The body of a speech request: errors give the field, its value and the valid values."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.errors import InvalidParameter
from antiphon.server.requests.speech import SpeechRequest, json_fields
from antiphon.server.requests.validation import validated

FORMATS = "mp3, opus, aac, flac, wav, pcm"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("input", 5, "input is 5: it must be a valid string."),
        ("input", ["a"], "input is ['a']: it must be a valid string."),
        ("model", 5, "model is 5: it must be a valid string."),
        ("voice", 5, "voice is 5: it must be a valid string."),
        ("voice", {"id": 5}, "voice is {'id': 5}: it must be a valid string."),
        ("voice", {"name": "x"}, "voice is an object without an 'id'."),
        ("speed", "fast", "speed is 'fast': it must be a valid number."),
        ("speed", {}, "speed is {}: it must be a valid number."),
        ("speed", 9, "speed must be from 0.25 to 4, not 9."),
        ("speed", float("nan"), "speed must be from 0.25 to 4, not nan."),
        ("seed", -1, "seed must be at least 0, not -1."),
        ("seed", 1.5, "seed is 1.5: it must be a valid integer, got a number with a fractional part."),
        ("seed", "x" * 1000, f"seed is '{'x' * 100}…': it must be a valid integer."),
        ("language", [], "language is []: it must be a valid string."),
        ("response_format", 1, f"response_format 1 is not available; use one of: {FORMATS}."),
        ("response_format", "midi", f"response_format 'midi' is not available; use one of: {FORMATS}."),
        ("stream_format", True, "stream_format True is not available; use one of: audio, sse."),
        ("stream_format", "ws", "stream_format 'ws' is not available; use one of: audio, sse."),
    ],
)
def test_invalid_field_is_refused_by_name(field: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        validated(SpeechRequest, {"input": "Hello.", field: value})
    assert str(caught.value) == message
    assert caught.value.param == field


def test_missing_input_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"^input is missing\.$") as caught:
        validated(SpeechRequest, {})
    assert (caught.value.param, caught.value.code) == ("input", "missing_field")


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"{", b"\xff", b"[" * 100_000, b'{"seed": ' + b"1" * 5_000 + b"}"])
def test_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidParameter) as caught:
        json_fields(body)
    assert caught.value.code == "invalid_json"
