"""Connections that are too many or too slow, and requests that are not HTTP. The limits are short, so that tests are quick."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from antiphon.server.connections import ConnectionLimits
from antiphon.testing.fake import FakeSession, FakeVoice
from tests.support.http_helpers import Hold, wait_until
from tests.support.sounds import make_audio

SHORT = 0.3
LIMITS = ConnectionLimits(head_s=SHORT, body_pause_s=SHORT, body_bytes_per_s=1000.0, write_pause_s=SHORT)
HEAD = b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def connected(server: Any) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        yield connection


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of an answer after which the server closes the connection."""
    data = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def read_to_end(connection: socket.socket) -> None:
    """Return once the server has closed the connection. TimeoutError if it does not."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass


def drip(connection: socket.socket, piece: bytes, stop: threading.Event) -> None:
    """Send a piece every 20 ms until the connection is closed."""
    try:
        while not stop.wait(0.02):
            connection.sendall(piece)
    except OSError:
        return


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b""),
        (b"POST /v1/aud", b""),
        (HEAD, b""),
        (HEAD, b"X-Drip: 1\r\n"),
        (HEAD + b"\r\n", b""),
        (HEAD + b"\r\n", b"x"),
    ],
    ids=["nothing", "half a request line", "half a head", "dripping head", "no body", "dripping body"],
)
def test_slow_client_is_disconnected(start_server: Any, start: bytes, piece: bytes) -> None:
    server = start_server(FakeVoice(), limits=LIMITS)
    stop = threading.Event()
    with connected(server) as connection:
        connection.sendall(start)
        dripping = threading.Thread(target=drip, args=(connection, piece, stop))
        dripping.start()
        try:
            read_to_end(connection)
        finally:
            stop.set()
            dripping.join()
    assert server.client.get("/v2/health/live").status_code == 200


def test_connection_that_is_idle_after_an_answer_is_kept(start_server: Any) -> None:
    server = start_server(limits=LIMITS)
    with connected(server) as connection:
        connection.sendall(LIVE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(2 * SHORT)
        connection.sendall(LIVE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(LIVE[:10])
        read_to_end(connection)


def test_second_head_that_never_ends_is_disconnected_after_the_first_answer(start_server: Any) -> None:
    server = start_server(limits=LIMITS)
    with connected(server) as connection:
        connection.sendall(LIVE + LIVE[:10])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        read_to_end(connection)


def test_upload_that_is_slow_but_fast_enough_is_answered(start_server: Any) -> None:
    server = start_server(FakeVoice(), limits=replace(LIMITS, body_pause_s=1.0))
    body = json.dumps({"input": "A sentence."}).encode()

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), 2):
            time.sleep(0.02)
            yield body[at : at + 2]
        yield b" " * 2000

    assert server.client.post("/v1/audio/speech", content=pieces()).status_code == 200


def test_request_may_be_processed_for_longer_than_it_may_take_to_arrive(start_server: Any) -> None:
    hold = Hold()
    server = start_server(FakeSession(before_step=hold), limits=LIMITS)
    threading.Timer(3 * SHORT, hold.go_on.set).start()
    files = {"file": ("a.wav", make_audio(0.5))}
    assert server.client.post("/v1/audio/transcriptions", files=files).status_code == 200


def test_rest_of_a_refused_upload_that_stops_coming_ends_the_connection(start_server: Any) -> None:
    """A 404 is sent before the body; the connection then waits for the rest of the body."""
    server = start_server(limits=LIMITS)
    with connected(server) as connection:
        connection.sendall(HEAD.replace(b"/v1/audio/speech", b"/nothing") + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        read_to_end(connection)


def test_client_that_does_not_read_its_answers_is_disconnected(start_server: Any) -> None:
    server = start_server(limits=LIMITS)
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


@pytest.fixture
def crowded(start_server: Any) -> Iterator[Any]:
    """A server with all of its four connections in use, which has two more for health checks."""
    server = start_server(FakeVoice(), limits=ConnectionLimits(connections=4, health_connections=2))
    with ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(connected(server))
            connection.sendall(LIVE)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        yield server


def test_connection_beyond_the_limit_gets_503_and_is_closed(crowded: Any) -> None:
    with connected(crowded) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = answer(connection)
    assert status == 503
    assert (headers["retry-after"], headers["connection"]) == ("1", "close")
    assert json.loads(body)["error"]["code"] == "unavailable"
    assert "All 4 connections" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/health"])
def test_health_is_200_beyond_the_limit_even_with_many_idle_connections(crowded: Any, path: str) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connected(crowded))
        response = crowded.client.get(path)
        assert response.status_code == 200
        assert response.headers["connection"] == "close"


def test_connection_that_was_beyond_the_limit_is_served_once_there_is_room(start_server: Any) -> None:
    server = start_server(limits=ConnectionLimits(connections=1, health_connections=2))
    with connected(server) as first, connected(server) as second:
        first.sendall(LIVE)
        assert first.recv(65536).startswith(b"HTTP/1.1 200")
        first.close()

        def is_served() -> bool:
            with connected(server) as third:
                third.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
                return third.recv(65536).startswith(b"HTTP/1.1 200")

        wait_until(is_served)
        second.sendall(LIVE)
        assert second.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"not http\r\n\r\n",
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_ambiguous_request_is_400_and_closes_the_connection(server: Any, request_bytes: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(request_bytes + LIVE)
        status, headers, body = answer(connection)
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["error"]["code"] == "invalid_http"


def test_ambiguous_head_request_is_400_without_a_body(server: Any) -> None:
    with connected(server) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
        status, _, body = answer(connection)
    assert (status, body) == (400, b"")


def test_invalid_request_after_a_head_request_is_400_with_a_body(server: Any) -> None:
    with connected(server) as connection:
        connection.sendall(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\nnot http\r\n\r\n")
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    assert data.startswith(b"HTTP/1.1 404")
    assert b"invalid_http" in data.partition(b"HTTP/1.1 400")[2]


def test_invalid_body_after_the_answer_has_begun_is_disconnected_without_a_traceback(
    start_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(limits=LIMITS)
    with connected(server) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        connection.sendall(b"junk\r\n")
        read_to_end(connection)
    assert [record for record in caplog.records if record.exc_info] == []


def test_upgrade_is_answered_as_http_without_advice_in_the_log(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert server.client.get("/v2/health/live", headers=headers).status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
