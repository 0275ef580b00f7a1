"""The API key: 401 without it, for every request and every websocket but health."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.testclient import WebSocketDenialResponse

from antiphon.errors import ConfigError
from antiphon.server.api_keys import KeyFile
from antiphon.server.app import create_app
from antiphon.server.middleware.auth import KEY_NAME, RequireKey
from antiphon.server.routes.health import HEALTH_PATHS
from antiphon.settings import Settings
from tests.server.middleware.conftest import LiveClient
from tests.support.service import new_service
from tests.support.sounds import make_audio

WAV = make_audio(0.5)
PATH = "/v1/audio/transcriptions"


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Bearer null", "Bearer undefined", "Basic eA==", "ü"])
def test_authorization_is_ignored_if_no_key_is_set(server: Any, value: str | None) -> None:
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
    path.write_text("open sesame  \n\n# the next is for the bridge\nbridge: zwölf: Brücken\n", "utf-8")
    return path


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer null", "Bearer open", "Basic open sesame", "Bearer ü", "open sesame"]
)
def test_post_with_a_missing_or_wrong_key_is_401(start_server: Any, key_file: Path, value: str | None) -> None:
    server = start_server(api_key_file=key_file)
    headers = {} if value is None else {"authorization": value.encode("latin-1")}
    response = server.client.post(PATH, files={"file": WAV}, headers=headers)
    assert response.status_code == 401
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert response.headers["x-request-id"]


def test_missing_and_unknown_key_are_401_with_different_messages(start_server: Any, key_file: Path) -> None:
    client = start_server(api_key_file=key_file).client

    def message(**headers: str) -> str:
        return str(client.get("/v1/models", headers=headers).json()["error"]["message"])

    assert message().startswith("This server requires an API key: send 'Authorization: Bearer <key>'")
    assert message(authorization="open sesame") == message()
    assert message(authorization="Bearer bridge: key").startswith(
        "The API key is not one of this server's: send the key alone"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "bearer open sesame"),
        ("Authorization", "Bearer  zwölf: Brücken"),
        ("api-key", "open sesame"),
        ("x-api-key", "zwölf: Brücken"),
    ],
)
def test_any_key_in_any_header_is_accepted(start_server: Any, key_file: Path, name: str, value: str) -> None:
    server = start_server(api_key_file=key_file)
    assert server.client.post(PATH, files={"file": WAV}, headers={name: value.encode()}).status_code == 200
    assert server.client.get("/v1/models", headers={name: value.encode()}).status_code == 200
    assert server.client.get("/v1/models", headers={name: value[:-1].encode()}).status_code == 401
    with_placeholder = {name: value.encode(), "authorization": "Bearer unused"} if "key" in name else {}
    assert not with_placeholder or server.client.get("/v1/models", headers=with_placeholder).status_code == 200


def test_every_route_but_health_is_401_without_the_key(start_server: Any, key_file: Path) -> None:
    server = start_server(api_key_file=key_file, metrics_enable=True)
    paths = server.app.openapi()["paths"]
    routes = [(method, path) for path, methods in paths.items() for method in methods]
    assert len(routes) >= 20
    assert ("get", "/metrics") in routes
    others = [("get", "/openapi.json"), ("get", "/nothing"), ("options", PATH), ("put", "/health")]
    for method, path in [*routes, *others]:
        expected = 200 if path in HEALTH_PATHS and method == "get" else 401
        answer = server.client.request(method, path.replace("{model_id}", "fake"))
        assert answer.status_code == expected, (method, path)
    assert server.client.get(f"{server.url}//v2//health/live/").status_code == 200
    assert server.client.head("/health").status_code != 401


def test_openai_client_reports_a_wrong_key(start_server: Any, key_file: Path) -> None:
    server = start_server(api_key_file=key_file)
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.audio.transcriptions.create(model="fake", file=("a.wav", WAV))


def test_name_of_the_key_is_in_the_scope(key_file: Path) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    guard: Any = RequireKey(app, keys=KeyFile(key_file))
    for path, key in (("/v1/models", "zwölf: Brücken"), ("/v1/models", "open sesame"), ("/health", "wrong")):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"x-api-key", key.encode())]}
        asyncio.run(guard(scope, None, None))
    assert [scope.get(KEY_NAME) for scope in scopes] == ["bridge", "line-1", None]


@pytest.mark.parametrize("content", [None, b"", b"\n", b"# only a comment\n", b"\xff\xfe"])
def test_key_file_without_a_key_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="api_key_file"):
        create_app(new_service(), Settings(api_key_file=path))


def test_key_of_the_environment_is_required_or_401(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    server = start_server()
    assert server.client.post("/v1/config/reload").status_code == 401
    assert server.client.post("/v1/config/reload", headers={"authorization": "Bearer secret"}).status_code == 200
    assert server.client.get("/v1/config").status_code == 401
    monkeypatch.setenv("ANTIPHON_API_KEY", "ours")
    server = start_server()
    for key, status in (("secret", 401), ("ours", 200)):
        assert server.client.get("/v1/config", headers={"api-key": key}).status_code == status


@pytest.mark.parametrize("value", [None, "Bearer open", "open sesame"])
def test_websocket_with_a_missing_or_wrong_key_is_401(
    live_client: LiveClient, key_file: Path, value: str | None
) -> None:
    headers = {} if value is None else {"authorization": value}
    client = live_client(api_key_file=key_file)
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/live", headers=headers):
        pass
    assert refused.value.status_code == 401
    assert refused.value.json()["error"]["code"] == "invalid_api_key"
    assert refused.value.headers["x-request-id"]


def test_websocket_with_the_key_is_accepted(live_client: LiveClient, key_file: Path) -> None:
    headers = {"authorization": "Bearer open sesame"}
    with live_client(api_key_file=key_file).websocket_connect("/live", headers=headers) as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"


def test_websocket_without_the_key_is_closed_before_it_is_accepted(live_client: LiveClient, key_file: Path) -> None:
    """On an ASGI server that cannot send an HTTP answer to a websocket: it turns the close into 403."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/live", "raw_path": b"/live", "headers": [], "query_string": b""}
    asyncio.run(live_client(api_key_file=key_file).app(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
