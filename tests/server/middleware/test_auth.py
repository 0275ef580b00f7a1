"""What every request meets first: its id, the key, the size limit, CORS."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from antiphon.errors import ConfigError
from antiphon.server.app import create_app
from antiphon.settings import Settings
from tests.support.service import new_service
from tests.support.sounds import make_audio

WAV = make_audio(0.5)
PATH = "/v1/audio/transcriptions"


def test_every_reply_carries_an_id(server: Any) -> None:
    for method, path in [
        ("GET", "/v1/models"),
        ("GET", "/nowhere"),
        ("PUT", "/v1/models"),
        ("POST", PATH),
        ("GET", "/health"),
    ]:
        response = server.client.request(method, path)
        assert response.headers["x-request-id"].startswith("req_")


def test_a_usable_id_is_kept_and_another_is_replaced(server: Any) -> None:
    for sent, kept in [("abc-123", True), ("x" * 200, False), ("with space", False), ("", False)]:
        response = server.client.get("/v1/models", headers={"x-request-id": sent})
        assert (response.headers["x-request-id"] == sent) is kept


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Bearer null", "Bearer undefined", "Basic eA==", "ü"])
def test_without_a_key_any_authorization_is_ignored(server: Any, value: str | None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {} if value is None else {"Authorization": value}
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    headers["Content-Type"] = "multipart/form-data; boundary=x"
    connection.request("POST", PATH, head + WAV + b"\r\n--x--\r\n", headers)
    response = connection.getresponse()
    assert response.status == 200
    response.read()
    connection.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("open sesame  \nsecond line\n")
    return path


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer null", "Bearer open", "Basic open sesame", "Bearer ü", "open sesame"]
)
def test_with_a_key_a_post_without_it_is_refused(start_server: Any, key_file: Path, value: str | None) -> None:
    server = start_server(api_key_file=key_file)
    headers = {} if value is None else {"authorization": value.encode("latin-1")}
    response = server.client.post(PATH, files={"file": WAV}, headers=headers)
    assert response.status_code == 401
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert response.headers["x-request-id"]


def test_with_a_key_a_post_with_it_and_all_lists_are_served(start_server: Any, key_file: Path) -> None:
    server = start_server(api_key_file=key_file)
    headers = {"authorization": "bearer open sesame"}
    assert server.client.post(PATH, files={"file": WAV}, headers=headers).status_code == 200
    for path in ("/v1/models", "/v3/models/fake", "/health", "/v2/health/ready", "/v2/health/live"):
        assert server.client.get(path).status_code == 200
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.audio.transcriptions.create(model="fake", file=("a.wav", WAV))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_key_file_that_holds_no_key_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="api_key_file"):
        create_app(new_service(), Settings(api_key_file=path))


def test_a_body_that_announces_too_much_is_refused_unread(start_server: Any) -> None:
    server = start_server(max_upload_bytes=50_000)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    check_too_large(connection)


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_much(start_server: Any) -> None:
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


def test_browsers_may_call(server: Any) -> None:
    response = server.client.options(
        PATH,
        headers={
            "origin": "app://obsidian.md",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,x-stainless-os,x-stainless-retry-count",
        },
    )
    assert response.status_code == 200
    allowed = response.headers["access-control-allow-headers"]
    assert "authorization" in allowed
    assert "x-stainless-os" in allowed
    for path in ("/v1/models", "/nowhere"):
        response = server.client.get(path, headers={"origin": "app://obsidian.md"})
        assert response.headers["access-control-allow-origin"] == "*"
        assert "x-request-id" in response.headers["access-control-expose-headers"]


def test_what_no_handler_caught_is_a_500_in_the_same_shape(start_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = start_server()

    async def broken() -> None:
        raise RuntimeError("a secret detail")

    server.app.add_api_route("/broken", broken)
    response = httpx.get(f"{server.url}/broken", headers={"origin": "http://x"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text
    assert response.headers["x-request-id"]
    assert response.headers["access-control-allow-origin"] == "*"
    assert "a secret detail" in caplog.text
