"""Load shedding: 429 or 503 before the upload is read; the client gets the answer, and the connection stays usable."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import WebSocketDenialResponse

from antiphon.errors import Overloaded
from antiphon.model_server import ModelServer
from antiphon.server import errors
from antiphon.testing.fake import FakeSession, FakeVoice
from antiphon.types.events import Event
from tests.server.middleware.conftest import LiveClient
from tests.support.http_helpers import Hold
from tests.support.prometheus_parse import value
from tests.support.sounds import make_audio

WAV = make_audio(0.5)
LONG = 3_000_000  # bytes; more than the kernel buffers of an upload that is not read


@contextmanager
def full(start_server: Any, **settings: Any) -> Iterator[Any]:
    """A server with room for one request, which is in progress."""
    hold = Hold()
    server = start_server(FakeSession("fake", before_step=hold), FakeVoice(), max_queued_requests=1, **settings)
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(server.client.post, "/v1/audio/transcriptions", files={"file": ("a.wav", WAV)})
            assert hold.reached.wait(60)
            yield server
        finally:
            hold.go_on.set()
        assert first.result().status_code == 200


def head(length: int, *more: str) -> bytes:
    lines = ("POST /v1/audio/transcriptions HTTP/1.1", "Host: x", f"Content-Length: {length}", *more)
    return "\r\n".join((*lines, "", "")).encode()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one answer; reads no further."""
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return status, headers, json.loads(file.read(int(headers["content-length"])))


def test_429_is_sent_before_the_upload_is_read(start_server: Any) -> None:
    with full(start_server) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(LONG) + bytes(1000))
        status, headers, body = read_answer(connection)
        assert status == 429
        assert headers["x-request-id"]
        assert int(headers["retry-after-ms"]) >= 500
        message = body["error"]["message"]
        assert "1 requests are not done, and max_queued_requests allows 1. Try again in " in message

        connection.sendall(bytes(LONG - 1000))  # the rest is dropped; then the connection can be used again
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200


def test_503_of_a_model_with_a_dead_worker_is_sent_before_the_upload_is_read(start_server: Any) -> None:
    class Dying(FakeSession):
        def step(self) -> list[Event]:
            raise SystemExit

    server = start_server(Dying("fake"), metrics_enable=True)
    assert server.client.post("/v1/audio/transcriptions", files={"file": ("a.wav", WAV)}).status_code == 500
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(LONG) + bytes(1000))
        status, headers, body = read_answer(connection)
        assert (status, headers["retry-after"]) == (503, "5")
        assert body["error"]["message"] == "The worker of fake died; the log has the details."
        connection.sendall(bytes(LONG - 1000))  # the rest is dropped; then the connection can be used again
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    metrics = server.client.get("/metrics").text
    assert value(metrics, "ovms_requests_rejected", name="fake") == 1
    assert value(metrics, "antiphon_model_healthy", name="fake") == 0


def test_429_reaches_a_client_that_asks_to_close_the_connection(start_server: Any) -> None:
    """A server that closes with an upload unread resets the connection, and the client's kernel drops what it holds."""
    with full(start_server) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(LONG, "Connection: close") + bytes(LONG))
        time.sleep(0.1)
        status, headers, _ = read_answer(connection)
        assert (status, headers["connection"]) == (429, "close")
        assert connection.recv(1) == b""


def test_429_instead_of_100_continue(start_server: Any) -> None:
    with full(start_server) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(LONG, "Expect: 100-continue"))
        assert read_answer(connection)[0] == 429


def test_429_waits_for_an_endless_upload_only_until_the_timeout(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_DRAIN_TIMEOUT_S", 0.1)
    with full(start_server) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(LONG, "Connection: close"))
        assert read_answer(connection)[0] == 429
        assert connection.recv(1) == b""


def test_upload_above_the_limit_after_a_429_is_not_logged(start_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    with (
        full(start_server, max_upload_bytes=50_000) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
    ):
        lines = ("POST /v1/audio/transcriptions HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "", "")
        connection.sendall("\r\n".join(lines).encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (90_000, bytes(90_000)))
        assert read_answer(connection)[0] == 429
        assert server.client.get("/v2/health/ready").status_code == 200
    assert "Exception in ASGI application" not in caplog.text


def test_429_is_counted_when_the_client_disconnects_after_it(
    start_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with full(start_server, metrics_enable=True) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
                connection.sendall(head(LONG) + bytes(1000))
                assert read_answer(connection)[0] == 429
        text = server.client.get("/metrics").text
        assert value(text, "antiphon_requests_total", status="429") == 3
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_401_comes_before_429_and_other_tasks_are_served(start_server: Any, tmp_path: Any) -> None:
    key = tmp_path / "key"
    key.write_text("sesame\n")
    hold = Hold()
    server = start_server(FakeSession("fake", before_step=hold), FakeVoice(), max_queued_requests=1, api_key_file=key)
    headers = {"authorization": "Bearer sesame"}
    files = {"file": ("a.wav", WAV)}
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(server.client.post, "/v1/audio/transcriptions", files=files, headers=headers)
            assert hold.reached.wait(60)
            assert server.client.post("/v1/audio/transcriptions", files=files).status_code == 401
            refused = server.client.post("//v3/audio//translations", files=files, headers=headers)
            assert refused.status_code == 429
            speech = server.client.post("/v1/audio/speech", json={"input": "Hello."}, headers=headers)
            assert speech.status_code == 200
        finally:
            hold.go_on.set()
        assert first.result().status_code == 200


def test_websocket_is_429_when_the_queue_is_full(live_client: LiveClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_room(_models: ModelServer, task: str) -> None:
        assert task == "transcribe"
        raise Overloaded("The queue is full.", retry_after=1.5)

    monkeypatch.setattr(ModelServer, "check_room", check_room)
    with pytest.raises(WebSocketDenialResponse) as refused, live_client().websocket_connect("/live"):
        pass
    assert (refused.value.status_code, refused.value.headers["retry-after-ms"]) == (429, "1500")
