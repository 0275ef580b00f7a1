"""Errors as HTTP answers: OpenAI's body, and no internal text in a 500."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from antiphon.testing.fake import FakeSession, FakeVoice
from tests.support.http_helpers import error_of
from tests.support.in_process import Answer, InProcess, in_process
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


LONG = "x" * 60_000
FORM = "multipart/form-data; boundary=b"


def form_with(name: str, value: str) -> bytes:
    field = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nno audio\r\n--b--\r\n'
    return (field + file).encode()


@pytest.fixture(scope="module")
def app() -> Iterator[InProcess]:
    with in_process(FakeSession("fake"), FakeVoice()) as served:
        yield served


def check_short(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses, answer.body[:1_000]
    assert answer.error["message"]
    assert "x" * 101 not in answer.error["message"]
    assert len(answer.body) < 1_500
    assert all(len(value) < 200 for value in answer.headers.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", LONG),
        ("language", LONG),
        ("response_format", LONG),
        ("temperature", LONG),
        ("temperature", "9" * 60_000),
        ("stream", LONG),
        ("timestamp_granularities[]", LONG),
        ("condition_on_previous_text", LONG),
        ("chunking_strategy", LONG),
        ("chunking_strategy", json.dumps({"type": LONG})),
        ("chunking_strategy", json.dumps({"type": "server_vad", LONG: 1})),
        ("chunking_strategy", json.dumps({"type": "server_vad", "threshold": LONG})),
        ("chunking_strategy", json.dumps({"type": "server_vad", "threshold": [LONG] * 2})),
        ("chunking_strategy[type]", LONG),
    ],
    ids=lambda value: value[:40],
)
def test_value_of_a_form_is_cut_in_the_error(app: InProcess, name: str, value: str) -> None:
    check_short(app.send("/v1/audio/transcriptions", [form_with(name, value)], content_type=FORM), 400, 404)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", LONG),
        ("voice", LONG),
        ("voice", {"id": LONG}),
        ("voice", {LONG: LONG}),
        ("voice", [LONG]),
        ("language", LONG),
        ("response_format", LONG),
        ("stream_format", LONG),
        ("speed", LONG),
        ("seed", LONG),
        ("seed", 10**4_000),
        ("seed", -(10**4_000)),
        ("input", [LONG]),
        (LONG, LONG),
    ],
    ids=lambda value: str(value)[:40],
)
def test_value_of_a_speech_request_is_cut_in_the_error(app: InProcess, name: str, value: Any) -> None:
    body = json.dumps({"input": "" if name == LONG else "Hello.", name: value}).encode()
    check_short(app.send("/v1/audio/speech", [body]), 400, 404)


def test_header_path_and_method_are_cut_in_the_error(app: InProcess) -> None:
    for name in ("x_request_timeout", "x_antiphon_priority"):
        check_short(app.send("/v1/audio/speech", [b'{"input": "Hello."}'], **{name: LONG}), 400)
    check_short(app.send("/v1/audio/speech", [b'{"input": ""}'], x_request_id=LONG), 400)
    check_short(app.send("/v1/audio/speech", [b'{"input": "Hello."}'], host=f"{LONG}.example"), 400, 403, 421)
    check_short(app.send("/v1/audio/speech", [b'{"input": "Hello."}'], origin=f"http://{LONG}"), 403)
    check_short(app.send(f"/{LONG}", method="GET"), 404)
    check_short(app.send(f"/v1/models/{LONG}", method="GET"), 404)
    check_short(app.send("/v1/audio/speech", method=LONG.upper()), 405)
