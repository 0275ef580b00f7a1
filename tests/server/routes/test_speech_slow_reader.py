"""Callers of the speech route who do not read the answer hold a bounded amount of audio, for a limited time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from antiphon.server.connections import ConnectionLimits
from antiphon.synthesis.stream import MAX_STREAM_S
from antiphon.testing.fake import FakeVoice
from tests.support.http_helpers import wait_until

SECONDS = 0.2  # of audio per character: 19,900 characters are more than an hour
TEXT = "A sentence of 50 characters, which are 10 seconds. " * 390
CALLERS = 12
MAX_BUFFERED_S = 60.0  # in the buffers of the kernel, at 48 kB/s


@contextmanager
def deaf_caller(server: Any, **headers: str) -> Iterator[None]:
    """A caller who sends a request and reads nothing."""
    body = json.dumps({"input": TEXT, "response_format": "pcm"}).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["POST /v1/audio/speech HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines, "", ""])
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(head.encode() + body)
        yield


def status(server: Any) -> int:
    return int(server.client.post("/v1/audio/speech", json={"input": "Hi."}).status_code)


def test_callers_who_do_not_read_hold_a_bounded_amount_and_are_disconnected(start_server: Any) -> None:
    voice = FakeVoice(slots=4, seconds=SECONDS)
    limits = ConnectionLimits(write_pause_s=1.0)
    server = start_server(voice, max_queued_requests=CALLERS, max_waiting=10**6, limits=limits)
    with ExitStack() as stack:
        for _ in range(CALLERS):
            stack.enter_context(deaf_caller(server))
        wait_until(lambda: status(server) == 429)
        wait_until(lambda: status(server) == 200)  # a place is free again
        wait_until(lambda: not server.models.loads()[0].waiting)
    seconds = sum(len(unit.text) for unit in voice.joined) * SECONDS
    in_flight = voice.slots * 10.0 * CALLERS  # at worst, each caller had all slots when its stream was full
    assert seconds < CALLERS * (MAX_STREAM_S + MAX_BUFFERED_S) + in_flight
    assert seconds < CALLERS * len(TEXT) * SECONDS / 10


def test_caller_who_does_not_read_is_disconnected_at_the_deadline(start_server: Any) -> None:
    server = start_server(FakeVoice(seconds=SECONDS), max_queued_requests=1, max_waiting=10**6)
    with deaf_caller(server, x_request_timeout="0.5"):
        wait_until(lambda: status(server) == 429)
        wait_until(lambda: status(server) == 200)


def test_caller_who_reads_late_gets_the_whole_text(start_server: Any) -> None:
    text = "A sentence of 50 characters, which are 10 seconds. " * 20
    server = start_server(FakeVoice(seconds=SECONDS))
    body = {"input": text, "response_format": "pcm"}
    with server.client.stream("POST", "/v1/audio/speech", json=body) as response:
        wait_until(lambda: not server.models.loads()[0].in_flight)
        data = response.read()
    assert len(data) / 48_000 == pytest.approx(len(text.replace(". ", ".")) * SECONDS + 19 * 0.2, abs=0.1)
