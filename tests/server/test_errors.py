"""Errors as HTTP answers: OpenAI's body, and no internal text in a 500."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from antiphon.testing.fake import FakeSession, FakeVoice
from tests.support.http_helpers import error_of
from tests.support.sounds import make_audio

CAUSE = "/opt/models/secret/decoder.xml: Check 'false' failed at src/plugins/cpu/node.cpp:123"
ID = "my-request-1"


def check_hidden(error: dict[str, Any], log: str) -> None:
    """The message names the request and nothing else; the log has the request and the cause."""
    assert error["message"] == f"Internal server error; the server's log has the cause under request id {ID}."
    assert f"request {ID} failed: " in log
    assert CAUSE in log


def fail() -> None:
    raise RuntimeError(CAUSE)


def test_wrong_method_is_405(server: Any) -> None:
    response = server.client.get("/v1/audio/transcriptions")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/readyz", "/v1/readyz", "/v2/audio/voices", "/test", "/"])
def test_unknown_path_is_404(server: Any, path: str) -> None:
    response = server.client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_unexpected_exception_is_500_without_its_text(start_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = start_server(allowed_origins="*")

    async def broken() -> None:
        raise RuntimeError(CAUSE)

    server.app.add_api_route("/broken", broken)
    response = httpx.get(f"{server.url}/broken", headers={"origin": "http://x", "x-request-id": ID})
    error = error_of(response, 500, param=None)
    assert error["code"] == "internal_error"
    check_hidden(error, caplog.text)
    assert response.headers["x-request-id"] == ID
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("task", ["transcriptions", "translations", "speech"])
def test_exception_in_a_model_step_is_500_without_its_text(
    start_server: Any, caplog: pytest.LogCaptureFixture, task: str
) -> None:
    client = start_server(FakeSession("fake", before_step=fail), FakeVoice(before_step=fail)).client
    headers = {"x-request-id": ID}
    if task == "speech":
        response = client.post("/v1/audio/speech", json={"input": "Hello."}, headers=headers)
    else:
        response = client.post(f"/v1/audio/{task}", files={"file": ("a.wav", make_audio(0.5))}, headers=headers)
    error = error_of(response, 500, param=None)
    assert (error["type"], error["code"]) == ("server_error", "engine_failed")
    check_hidden(error, caplog.text)


def test_exception_after_the_first_byte_is_an_sse_error_without_its_text(
    start_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[int] = []

    def fail_in_second_step() -> None:
        steps.append(1)
        time.sleep(0.1)  # the first chunk is sent before the second step fails
        if len(steps) == 2:
            fail()

    server = start_server(FakeVoice(before_step=fail_in_second_step))
    fields = {"input": "It goes on.", "stream_format": "sse", "response_format": "pcm"}
    response = server.client.post("/v1/audio/speech", json=fields, headers={"x-request-id": ID})
    assert response.status_code == 200
    *chunks, last = [json.loads(line.removeprefix("data: ")) for line in response.text.strip().split("\n\n")]
    assert [chunk["type"] for chunk in chunks] == ["speech.audio.delta"]
    assert last["error"]["code"] == "engine_failed"
    check_hidden(last["error"], caplog.text)
