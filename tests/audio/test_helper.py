"""The helper's side of decoding: its view of the server's file, and its answers."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from antiphon.audio import decode_messages as messages
from antiphon.audio import helper
from antiphon.audio.decode import decode
from antiphon.isolation.channel import Message
from tests.support.sounds import make_audio


class ServerChannel:
    """Answers requests for ranges like the server, and keeps all else."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []
        self.sent: list[Message] = []

    def send(self, kind: bytes, payload: bytes | memoryview = b"") -> None:
        if kind == messages.READ:
            self.ranges.append(messages.RANGE.unpack(payload))
        else:
            self.sent.append(Message(kind, bytes(payload)))

    def receive(self) -> Message:
        start, length = self.ranges[-1]
        return Message(messages.DATA, self.data[start : start + length])


def open_file(data: bytes, head: int) -> tuple[helper._ServerFile, ServerChannel]:
    channel: Any = ServerChannel(data)
    return helper._ServerFile(channel, len(data), data[:head]), channel


@pytest.mark.parametrize("head", [0, 1, 1_000, 1 << 18, 1 << 20])
def test_reads_and_seeks_give_what_a_file_gives(head: int) -> None:
    random = np.random.default_rng(head)
    data = random.bytes(3_000_000)
    file, _ = open_file(data, head)
    expected = io.BytesIO(data)
    for _ in range(300):
        offset, whence = int(random.integers(3_100_000)), int(random.integers(3))
        offset = {0: offset, 1: offset // 100, 2: -offset if offset < len(data) else 5}[whence]
        assert file.seek(offset, whence) == expected.seek(offset, whence)
        size = int(random.integers(-1, 700_000))
        assert file.read(size) == expected.read(size)
        assert file.tell() == expected.tell()


def test_sequential_reading_requests_each_byte_once() -> None:
    data = bytes(2_000_000)
    file, channel = open_file(data, 300_000)
    while file.read(4_096):
        pass
    assert sum(length for _, length in channel.ranges) == 2_000_000 - (1 << 18)
    assert max(length for _, length in channel.ranges) <= messages.MAX_RANGE_BYTES


def test_file_that_became_shorter_ends_the_helper() -> None:
    file, channel = open_file(bytes(1_000_000), 10)
    channel.data = b""
    with pytest.raises(EOFError):
        file.read(100)


def answers(data: bytes, *, max_seconds: float = 100.0, short: bool = False) -> list[Message]:
    file, channel = open_file(data, 1 << 20)
    checkpoint = helper._short_checkpoint() if short else lambda _seconds: None
    server: Any = channel
    channel.sent.append(Message(*helper._decode(server, file, max_seconds, checkpoint)))
    return channel.sent


def test_samples_are_sent_in_blocks_and_then_the_end() -> None:
    data = make_audio(20.0, rate=44_100)
    *blocks, last = answers(data)
    assert len(blocks) > 1
    assert {block.kind for block in blocks} == {messages.SAMPLES}
    assert last == (messages.DONE, b"")
    samples = np.frombuffer(b"".join(block.payload for block in blocks), np.float32)
    np.testing.assert_array_equal(samples, decode(data)[:])


def test_short_task_ends_after_a_minute_of_audio_and_a_long_one_does_not() -> None:
    data = make_audio(61.0, codec="pcm_mulaw", rate=8_000)
    assert answers(data, short=True)[-1] == (messages.LONG, b"")
    assert answers(data)[-1] == (messages.DONE, b"")
    assert answers(make_audio(59.0, codec="pcm_mulaw", rate=8_000), short=True)[-1] == (messages.DONE, b"")


def test_errors_are_described() -> None:
    for data, limit, kind, code in (
        (b"not audio", 10.0, "InvalidAudio", "invalid_audio"),
        (make_audio(2.0), 1.0, "TooLarge", "audio_too_long"),
    ):
        [answer] = answers(data, max_seconds=limit)
        fields = json.loads(answer.payload)
        assert answer.kind == messages.ERROR
        assert (fields["error"], fields["param"], fields["code"]) == (kind, "file", code)
        assert fields["message"]
        assert fields["unexpected"] is None


def test_unexpected_error_is_named_for_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PyAV's demuxer raises IndexError for some damaged mpegts."""

    def broken(*_: object) -> int:
        raise IndexError("list index out of range")

    monkeypatch.setattr("antiphon.audio.decode_blocks._audio_track", broken)
    [answer] = answers(make_audio(1.0))
    fields = json.loads(answer.payload)
    assert (fields["error"], fields["code"]) == ("InvalidAudio", "invalid_audio")
    assert "IndexError" in fields["unexpected"]
    assert "IndexError" not in fields["message"]
    assert "IndexError" in caplog.text


def test_time_to_open_a_file_is_limited_until_the_first_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    monkeypatch.setattr(helper, "limit_time", limits.append)
    checkpoint = helper._long_checkpoint(99.0)
    for seconds in (0.0, 0.0, 0.02, 0.04):
        checkpoint(seconds)
    assert limits == [99.0]
