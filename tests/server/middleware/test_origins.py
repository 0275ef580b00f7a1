"""Host names and origins: 421 for a name that is not the server's, 403 for web pages of other origins."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from starlette.testclient import WebSocketDenialResponse

from antiphon.errors import ConfigError
from antiphon.server.middleware.origins import HostNames, allowed_origins, host_names, host_of
from antiphon.settings import Settings
from tests.server.middleware.conftest import LiveClient

EVIL = "https://evil.example"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Localhost:8000", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[FE80::1]", "fe80::1"),
        ("::1", "::1"),
        ("a.example.", "a.example"),
    ],
)
def test_host_of(host: str, name: str) -> None:
    assert host_of(host) == name


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000",
        "192.168.1.7",
        "[2001:db8::1]:8000",
        "localhost:8000",
        "speech.localhost",
        "antiphon:8000",  # another container of a compose project
        "antiphon.default.svc.cluster.local",
        "host.docker.internal:8000",
        socket.gethostname(),
        f"{socket.gethostname()}.local:8000",
        "",
    ],
)
def test_names_without_a_public_address_are_allowed(host: str) -> None:
    assert host_names(Settings()).allow(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example", "[::1].evil.example", "a.b.c"]
)
def test_other_names_are_not_allowed(host: str) -> None:
    assert not host_names(Settings()).allow(host)


def test_names_of_the_settings_are_allowed() -> None:
    names = HostNames(("Speech.Example.com", "*.lab.example"))
    for host, allowed in {
        "speech.example.com:443": True,
        "www.speech.example.com": False,
        "a.lab.example": True,
        "a.b.lab.example": True,
        "lab.example": False,
        "evillab.example": False,
    }.items():
        assert names.allow(host) is allowed, host
    assert HostNames(("*",)).allow("any.thing.example")
    assert host_names(Settings(rest_bind_address="speech.example.com")).allow("speech.example.com")
    with pytest.raises(ConfigError, match=r"^allowed_hosts: https://a.example is not a host name"):
        HostNames(("https://a.example",))


@pytest.mark.parametrize("origin", ["https://a.example/", "https://a.example/page", "a.example", "https://"])
def test_allowed_origin_that_no_browser_sends_is_an_error(origin: str) -> None:
    with pytest.raises(ConfigError, match=rf"^allowed_origins: {origin} is not an origin"):
        allowed_origins(Settings(allowed_origins=f"https://b.example:8443,{origin}"))
    assert allowed_origins(Settings(allowed_origins="*,null,http://localhost:3000")) == (
        "*",
        "null",
        "http://localhost:3000",
    )


def test_request_under_a_foreign_name_is_421(start_server: Any, server: Any) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/config/reload"), ("GET", "/openapi.json")):
        answer = server.client.request(method, path, headers={"host": "rebound.evil.example"})
        assert answer.status_code == 421
        assert answer.json()["error"]["code"] == "host_not_allowed"
        assert "--allowed_hosts" in answer.json()["error"]["message"]
    assert server.client.get("/v2/health/ready", headers={"host": "rebound.evil.example"}).status_code == 200
    long = server.client.get("/v1/models", headers={"host": "a." * 5_000})
    assert (long.status_code, len(long.content) < 500) == (421, True)
    named = start_server(allowed_hosts="speech.example.com, *.lab.example")
    assert named.client.get("/v1/models", headers={"host": "speech.example.com"}).status_code == 200


def test_posts_of_another_origin_are_403(start_server: Any, server: Any) -> None:
    body = {"model": "fake", "input": "hello"}
    for path in ("/v1/config/reload", "/v1/audio/speech", "/v1/audio/transcriptions"):
        for origin in (EVIL, "null", f"http://localhost:{server.port}", "http://127.0.0.1:1"):
            answer = server.client.post(path, json=body, headers={"origin": origin, "content-type": "text/plain"})
            assert answer.status_code == 403
            assert answer.json()["error"]["code"] == "origin_not_allowed"
    assert server.client.get("/v1/models", headers={"origin": EVIL}).status_code == 200  # unreadable without CORS
    assert server.client.post("/v1/config/reload", headers={"origin": server.url}).status_code == 200
    for allowed in (EVIL, "*"):
        open_to = start_server(allowed_origins=allowed)
        assert open_to.client.post("/v1/config/reload", headers={"origin": EVIL}).status_code == 200


def test_websockets_of_another_origin_or_name_are_refused(live_client: LiveClient) -> None:
    client = live_client()
    for headers, status in (({"origin": EVIL}, 403), ({"host": "evil.example"}, 421)):
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/live", headers=headers):
            pass
        assert refused.value.status_code == status
    with client.websocket_connect("/live", headers={"origin": "http://testserver"}) as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"
