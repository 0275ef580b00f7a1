"""The server's side of decoding in a helper: nothing that a helper sends is taken unchecked."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import numpy as np
import pytest

from antiphon.audio import decode_messages as messages
from antiphon.audio.decode_in_helper import HelperMisbehaved, decode_in_helper
from antiphon.errors import InvalidAudio, TooLarge
from antiphon.isolation.channel import Message


class ScriptedHelper:
    """Sends the messages it was made with."""

    def __init__(self, *script: tuple[bytes, bytes]) -> None:
        self.script = [Message(*each) for each in script]
        self.received: list[Message] = []

    def send(self, kind: bytes, payload: bytes) -> None:
        self.received.append(Message(kind, payload))

    def receive(self) -> Message:
        return self.script.pop(0)


def run(
    *script: tuple[bytes, bytes], file: bytes = b"x" * 3_000_000, max_seconds: float = 10.0, short: bool = False
) -> Any:
    helper: Any = ScriptedHelper(*script)
    return decode_in_helper(helper, io.BytesIO(file), max_seconds=max_seconds, short=short), helper


def floats(*values: float) -> bytes:
    return np.array(values, np.float32).tobytes()


def test_samples_are_collected() -> None:
    outcome, helper = run((messages.SAMPLES, floats(0.5, -8.0)), (messages.SAMPLES, floats(8.0)), (messages.DONE, b""))
    assert outcome.tolist() == [0.5, -8.0, 8.0]
    kind, payload = helper.received[0]
    assert kind == messages.TASK
    assert messages.TASK_HEADER.unpack_from(payload) == (3_000_000, 10.0, False)
    assert len(payload) == messages.TASK_HEADER.size + messages.HEAD_BYTES


def test_ranges_of_the_file_are_answered() -> None:
    data = np.random.default_rng(0).bytes(2_000_000)
    asked = [(messages.READ, messages.RANGE.pack(*each)) for each in ((0, 10), (1_500_000, 1_000), (1_999_990, 500))]
    _, helper = run(*asked, (messages.DONE, b""), file=data)
    assert [each.payload for each in helper.received[1:]] == [data[:10], data[1_500_000:1_501_000], data[1_999_990:]]


def test_empty_file_and_no_samples_are_errors() -> None:
    assert isinstance(run(file=b"")[0], InvalidAudio)
    assert isinstance(run((messages.DONE, b""))[0], InvalidAudio)


def test_long_is_an_outcome_of_the_short_class_only() -> None:
    assert run((messages.LONG, b""), short=True)[0] is None
    with pytest.raises(HelperMisbehaved):
        run((messages.LONG, b""))


def error(**changes: Any) -> tuple[bytes, bytes]:
    fields = {"error": "InvalidAudio", "message": "No.", "param": "file", "code": "invalid_audio", "unexpected": None}
    return messages.ERROR, json.dumps(fields | changes).encode()


def test_errors_are_returned(caplog: pytest.LogCaptureFixture) -> None:
    outcome, _ = run(error())
    assert (type(outcome), str(outcome), outcome.param, outcome.code) == (InvalidAudio, "No.", "file", "invalid_audio")
    outcome, _ = run(error(error="TooLarge", code="audio_too_long", message="x" * 10_000))
    assert isinstance(outcome, TooLarge)
    assert len(str(outcome)) == 500
    with caplog.at_level(logging.WARNING):
        run(error(unexpected="IndexError()" * 1_000))
    [record] = caplog.records
    assert "IndexError" in record.getMessage()
    assert len(record.getMessage()) < 600


@pytest.mark.parametrize(
    "message",
    [
        (b"?", b""),
        (messages.TASK, b""),
        (messages.SAMPLES, b"abc"),
        (messages.SAMPLES, floats(float("nan"))),
        (messages.SAMPLES, floats(float("inf"))),
        (messages.SAMPLES, floats(8.1)),
        (messages.SAMPLES, bytes(4 * 200_000)),  # more than the 10 seconds allowed
        (messages.SAMPLES, bytes(4 * (messages.MAX_BLOCK_SAMPLES + 1))),
        (messages.READ, b""),
        (messages.READ, messages.RANGE.pack(0, messages.MAX_RANGE_BYTES + 1)),
        (messages.READ, messages.RANGE.pack((1 << 64) - 1, 1)),
        (messages.ERROR, b"{"),
        (messages.ERROR, b"[]"),
        (messages.ERROR, b"{}"),
        error(error="SystemExit"),
        error(code="made_up"),
        error(code=["invalid_audio"]),
    ],
    ids=lambda message: repr(message)[:40],
)
def test_anything_else_is_misbehaviour(message: tuple[bytes, bytes]) -> None:
    with pytest.raises(HelperMisbehaved, match="The file made the decoder fail"):
        run(message, (messages.DONE, b""))
