"""Health while loading, when ready, with a dead worker and while draining."""

from __future__ import annotations

from typing import Any

from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event
from tests.support.http_helpers import error_of
from tests.support.sounds import make_audio


def test_health_is_200_when_ready(server: Any) -> None:
    assert server.client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/health"):
        response = server.client.get(path)
        assert response.json() == {"status": "ready"}
        assert response.text != "OK"  # the Home Assistant bridge would take this for a different server


def test_requests_are_503_while_loading_and_while_draining(start_server: Any) -> None:
    server = start_server(FakeSession("some-model"), loaded=False)
    client = server.client
    files = {"file": ("a.wav", make_audio(0.5))}

    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/health").json() == {"status": "loading"}
    refusals = [client.post("/v1/audio/transcriptions", files=files)]
    # Clients wait for a model by polling these: 200 would be too early.
    for path in ("models", "models/some-model", "audio/voices", "audio/models"):
        refusals += [client.get(f"/{version}/{path}") for version in ("v1", "v3")]
    for refused in refusals:
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "unavailable"
        assert refused.json()["error"]["message"] == "The server is loading; try again shortly."

    server.app.state.server.open()
    assert client.get("/v2/health/ready").status_code == 200
    assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["some-model"]
    assert client.post("/v1/audio/transcriptions", files=files).status_code == 200

    server.app.state.server.drain()
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/health").json() == {"status": "draining"}
    assert client.get("/v3/models/some-model").status_code == 200
    assert client.post("/v1/audio/transcriptions", files=files).status_code == 503


class Dying(FakeSession):
    """Ends its worker thread in the first step."""

    def step(self) -> list[Event]:
        raise SystemExit


def test_dead_worker_makes_the_server_not_ready_503(start_server: Any) -> None:
    server = start_server(Dying("some-model"), FakeSession("other"))
    client, files = server.client, {"file": ("a.wav", make_audio(0.5))}
    assert client.post("/v1/audio/transcriptions", files=files).status_code == 500
    for path in ("/v2/health/ready", "/health"):
        response = client.get(path)
        assert (response.status_code, response.json()) == (503, {"status": "unhealthy"})
    assert client.get("/v2/health/live").status_code == 200
    refused = client.post("/v1/audio/transcriptions", files=files)
    assert error_of(refused, 503, param=None)["code"] == "unavailable"
    assert refused.headers["retry-after"] == "5"
    other = client.post("/v1/audio/transcriptions", files=files, data={"model": "other"})
    assert other.status_code == 200
    server.app.state.server.drain()
    assert client.get("/health").json() == {"status": "draining"}
