"""The size limit: 413 for a body, a close with 1009 for a websocket message."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from antiphon.server.routes import speech
from antiphon.testing.fake import FakeVoice
from tests.server.middleware.conftest import LiveClient
from tests.support.http_helpers import error_of
from tests.support.sounds import make_audio

WAV = make_audio(0.5)
PATH = "/v1/audio/transcriptions"


def test_declared_length_above_the_limit_is_413_without_reading(start_server: Any) -> None:
    server = start_server(max_upload_bytes=50_000)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    check_too_large(connection)


def test_chunked_body_above_the_limit_is_413_before_its_end(start_server: Any) -> None:
    server = start_server(max_upload_bytes=50_000)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(60_000)
    connection.send(b"%x\r\n%s\r\n" % (len(part), part))  # and never the end
    check_too_large(connection)
    assert server.client.post(PATH, files={"file": WAV}).status_code == 200


def check_too_large(connection: http.client.HTTPConnection, param: str = "file") -> None:
    response = connection.getresponse()
    assert response.status == 413
    error = json.loads(response.read())["error"]
    assert (error["code"], error["param"]) == ("request_too_large", param)
    connection.close()


LARGE_JSON = {
    "nested lists": '{"input": "a", "x": [' + "[], " * 250_000 + "[]]}",
    "names": '{"input": "a", ' + "".join(f'"{number}": 0, ' for number in range(100_000)) + '"x": 0}',
    "short strings": '{"input": "a", "x": [' + '"a", ' * 200_000 + '""]}',
    "spaces": '{"input": "a"}' + " " * 1_000_000,
}


@pytest.mark.parametrize("body", LARGE_JSON.values(), ids=LARGE_JSON.keys())
@pytest.mark.parametrize("path", ["/v1/audio/speech", "//v3//audio/speech/"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
def test_speech_body_above_what_its_input_needs_is_413_without_parsing(
    server: Any, monkeypatch: pytest.MonkeyPatch, body: str, path: str, chunked: bool
) -> None:
    def fail(_body: bytes) -> Any:
        raise AssertionError("the body was parsed")

    monkeypatch.setattr(speech, "json_fields", fail)
    sent = body.encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(sent)))))
    connection.endheaders()
    if chunked:  # just above the limit, and never the end
        connection.send(b"%x\r\n%s\r\n" % (400_000, sent[:400_000]))
    check_too_large(connection, "input")


def test_longest_input_in_its_longest_spelling_is_accepted(start_server: Any) -> None:
    server = start_server(FakeVoice(seconds=0.0001), max_input_characters=1_000)
    body = '{"response_format": "wav", "input": "%s"}' % (r"\ud83d\ude00" * 1_000)
    assert server.client.post("/v1/audio/speech", content=body).status_code == 200
    refused = server.client.post("/v1/audio/speech", content=body + " " * 70_000)
    assert error_of(refused, 413, param="input")["message"].endswith(
        "77536 bytes this server accepts (max_input_characters)."
    )


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
