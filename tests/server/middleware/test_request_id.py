"""Request ids and nosniff: on every answer; ids in every log line about a failure too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.middleware.conftest import LiveClient

PATH = "/v1/audio/transcriptions"


def test_every_answer_has_a_request_id_and_nosniff(server: Any) -> None:
    for method, path in [
        ("GET", "/v1/models"),
        ("GET", "/nowhere"),
        ("PUT", "/v1/models"),
        ("POST", PATH),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("POST", "/v1/audio/speech"),
        ("OPTIONS", PATH),
    ]:
        response = server.client.request(method, path)
        assert response.headers["x-request-id"].startswith("req_")
        assert response.headers["x-content-type-options"] == "nosniff"


def test_usable_request_id_is_kept_and_another_is_replaced(server: Any) -> None:
    for sent, kept in [("abc-123", True), ("x" * 200, False), ("with space", False), ("", False)]:
        response = server.client.get("/v1/models", headers={"x-request-id": sent})
        assert (response.headers["x-request-id"] == sent) is kept


@pytest.mark.parametrize(("sent", "kept"), [("abc-123", True), ("with space", False)])
def test_accepted_websocket_has_a_request_id(live_client: LiveClient, sent: str, kept: bool) -> None:
    with live_client().websocket_connect("/live", headers={"x-request-id": sent}) as websocket:
        headers = dict(websocket.extra_headers or [])
        assert (headers[b"x-request-id"] == sent.encode()) is kept
