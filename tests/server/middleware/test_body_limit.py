"""The size limit: 413 for a body, a close with 1009 for a websocket message."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from tests.server.middleware.conftest import LiveClient
from tests.support.sounds import make_audio

WAV = make_audio(0.5)
PATH = "/v1/audio/transcriptions"


def test_declared_length_above_the_limit_is_413_without_reading(start_server: Any) -> None:
    server = start_server(max_upload_bytes=50_000)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    check_too_large(connection)


def test_chunked_body_above_the_limit_is_413_before_its_end(start_server: Any) -> None:
    server = start_server(max_upload_bytes=50_000)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(60_000)
    connection.send(b"%x\r\n%s\r\n" % (len(part), part))  # and never the end
    check_too_large(connection)
    assert server.client.post(PATH, files={"file": WAV}).status_code == 200


def check_too_large(connection: http.client.HTTPConnection) -> None:
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["code"] == "request_too_large"
    connection.close()


@pytest.mark.parametrize("message", ["x" * 11, b"x" * 11, "é" * 6])
def test_websocket_message_above_the_limit_closes_the_connection(live_client: LiveClient, message: str | bytes) -> None:
    with live_client(max_upload_bytes=10).websocket_connect("/live") as websocket:
        for _ in range(3):  # the limit is one message's, not the connection's
            websocket.send_text("x" * 10)
            assert websocket.receive_text() == "x" * 10
        websocket.send_text(message) if isinstance(message, str) else websocket.send_bytes(message)
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()
    assert closed.value.code == 1009
