"""GET config and POST config/reload."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.model_server import ModelSource
from antiphon.model_spec import ModelSpec
from antiphon.server.routes.config import NOT_WORKING
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event
from tests.support.http_helpers import error_of
from tests.support.sounds import make_audio


def test_config_lists_models_as_ovms_does(server: Any) -> None:
    def status(state: str) -> dict[str, Any]:
        ok = {"error_code": "OK", "error_message": "OK"}
        return {"model_version_status": [{"version": "1", "state": state, "status": ok}]}

    expected = {"fake": status("AVAILABLE"), "fake-voice": status("AVAILABLE")}
    assert server.client.get("/v1/config").json() == expected
    reloaded = server.client.post("/v1/config/reload")
    assert (reloaded.status_code, reloaded.json()) == (200, expected)


def test_config_while_loading_and_reload_503(start_server: Any) -> None:
    source = ModelSource(lambda: [ModelSpec("some-model", "/models/some-model")], lambda _spec: (FakeSession(),))
    server = start_server(source=source, loaded=False)
    [model] = server.client.get("/v1/config").json()["some-model"]["model_version_status"]
    assert model["state"] == "LOADING"
    assert server.client.post("/v1/config/reload").status_code == 503


def test_reload_answers_201_200_or_400_and_the_log_has_the_reason(
    start_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [ModelSpec("a", "/models/a")]

    def load(spec: ModelSpec) -> tuple[FakeSession, ...]:
        if spec.name == "broken":
            raise ConfigError("broken/config.json: not there; fetch it.")
        return (FakeSession(spec.name),)

    def read() -> list[ModelSpec]:
        if not specs:
            raise ConfigError("config.json: not valid JSON.")
        return specs

    server = start_server(source=ModelSource(read, load))
    reload = partial(server.client.post, "/v1/config/reload")
    assert reload().status_code == 201
    assert reload().status_code == 200
    specs.append(ModelSpec("broken", "/models/broken"))
    error = error_of(reload(), 400, param=None)
    assert error["code"] == "reload_failed"
    assert error["message"] == "Reloading config file failed. Check server logs for more info. Not loaded: broken."
    assert "broken/config.json: not there; fetch it." in caplog.text
    [status] = server.client.get("/v1/config").json()["broken"]["model_version_status"]
    assert status["state"] == "LOADING"
    assert status["status"] == {
        "error_code": "FAILED_PRECONDITION",
        "error_message": NOT_WORKING,
    }
    assert [card["id"] for card in server.client.get("/v1/models").json()["data"]] == ["a"]
    specs.clear()
    assert error_of(reload(), 400, param=None)["message"].endswith(" The configuration cannot be read.")
    assert "config.json: not valid JSON." in caplog.text


def test_dead_worker_is_failed_precondition_until_reload_loads_the_model(start_server: Any) -> None:
    loads: list[FakeSession] = []

    class Dying(FakeSession):
        def step(self) -> list[Event]:
            raise SystemExit

    def load(spec: ModelSpec) -> tuple[FakeSession, ...]:
        loads.append(FakeSession(spec.name) if loads else Dying(spec.name))
        return (loads[-1],)

    def status() -> dict[str, Any]:
        [found] = client.get("/v1/config").json()["a"]["model_version_status"]
        return dict(found)

    client = start_server(source=ModelSource(lambda: [ModelSpec("a", "/models/a")], load)).client
    assert client.post("/v1/config/reload").status_code == 201
    files = {"file": ("a.wav", make_audio(0.5))}
    assert client.post("/v1/audio/transcriptions", files=files).status_code == 500
    assert status()["state"] == "LOADING"
    assert status()["status"] == {"error_code": "FAILED_PRECONDITION", "error_message": NOT_WORKING}
    assert client.post("/v1/audio/transcriptions", files=files).status_code == 503
    assert client.post("/v1/config/reload").status_code == 201
    assert status() == {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": "OK"}}
    assert client.get("/v2/health/ready").status_code == 200
    assert client.post("/v1/audio/transcriptions", files=files).status_code == 200
