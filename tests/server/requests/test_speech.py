"""The body of a speech request: what is wrong with a field is told with its name, its value and what is right."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.errors import InvalidParameter
from antiphon.server.requests.speech import read_fields, read_object


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("input", 5, "input is 5: it must be a valid string."),
        ("input", ["a"], "input is ['a']: it must be a valid string."),
        ("model", 5, "model is 5: it must be a valid string."),
        ("voice", 5, "voice is 5: it must be a valid string, or it must be a valid dictionary."),
        ("voice", {"id": 5}, "voice is {'id': 5}: it must be a valid string."),
        ("voice", {"name": "x"}, "voice is an object without an 'id'."),
        ("speed", "fast", "speed is 'fast': it must be a valid number."),
        ("speed", {}, "speed is {}: it must be a valid number."),
        ("seed", 1.5, "seed is 1.5: it must be a valid integer, got a number with a fractional part."),
        ("seed", "x" * 1000, "seed is 'xxxxxxxxxxxx...xxxxxxxxxxxxx': it must be a valid integer."),
        ("language", [], "language is []: it must be a valid string."),
        ("response_format", 1, "response_format is 1: it must be a valid string."),
        ("response_format", "midi", "response_format 'midi' is not available; use one of: mp3, "),
        ("stream_format", True, "stream_format is True: it must be a valid string."),
        ("stream_format", "ws", "stream_format 'ws' is not available; use one of: audio, sse."),
    ],
)
def test_a_field_that_cannot_be_used(field: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        read_fields({"input": "Hello.", field: value}, "wav")
    assert str(caught.value).startswith(told)
    assert caught.value.param == field


def test_a_field_that_is_missing() -> None:
    with pytest.raises(InvalidParameter, match=r"^input is missing\.$") as caught:
        read_fields({}, "wav")
    assert (caught.value.param, caught.value.code) == ("input", "missing_field")


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"{", b"\xff", b"[" * 100_000, b'{"seed": ' + b"1" * 5_000 + b"}"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(InvalidParameter) as caught:
        read_object(body)
    assert caught.value.code == "invalid_json"
