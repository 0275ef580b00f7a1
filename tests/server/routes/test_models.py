"""Lists and health, while loading, when ready and while draining."""

from __future__ import annotations

from functools import partial
from typing import Any

import openai
import pytest

from antiphon.errors import ConfigError
from antiphon.model_server import ModelSource
from antiphon.model_spec import ModelSpec
from antiphon.testing.fake import FakeSession
from tests.support.http_helpers import error_of
from tests.support.sounds import make_audio


@pytest.mark.parametrize("path", ["/v1/models", "/v3/models", "/v1/models/", "//v3//models"])
def test_the_list_of_models(server: Any, path: str) -> None:
    body = server.client.get(f"{server.url}{path}").json()
    assert body["object"] == "list"
    assert [card["id"] for card in body["data"]] == ["fake", "fake-voice"]
    card = body["data"][0]
    assert set(card) == {"id", "object", "created", "owned_by"}
    assert (card["object"], card["owned_by"]) == ("model", "antiphon")
    assert isinstance(card["created"], int)


def test_the_sdk_lists_and_gets_models(server: Any) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["fake", "fake-voice"]
        assert client.models.retrieve("fake").id == "fake"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("nobody/at-all")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("path", ["openai/whisper-tiny", "openai%2Fwhisper-tiny"])
def test_a_slash_in_a_name(start_server: Any, path: str) -> None:
    server = start_server(FakeSession("openai/whisper-tiny"))
    for prefix in ("/v1", "/v3"):
        assert server.client.get(f"{prefix}/models/{path}").json()["id"] == "openai/whisper-tiny"


def test_health(server: Any) -> None:
    assert server.client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/health"):
        response = server.client.get(path)
        assert response.json() == {"status": "ready"}
        assert response.text != "OK"  # the Home Assistant bridge would take this for another server


@pytest.mark.parametrize("path", ["/readyz", "/v1/readyz", "/v2/audio/voices", "/test", "/"])
def test_what_probing_clients_must_not_find(server: Any, path: str) -> None:
    response = server.client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_the_voices(server: Any, version: str) -> None:
    voices = [{"id": "plain", "name": "plain"}, {"id": "loud", "name": "loud"}]
    assert server.client.get(f"/{version}/audio/voices").json() == {"voices": voices}
    assert server.client.get(f"/{version}/audio/models").json() == {"models": [{"id": "fake-voice"}]}
    cards = {card["id"]: card for card in server.client.get(f"/{version}/models").json()["data"]}
    assert cards["fake-voice"]["voices"] == voices
    assert "voices" not in cards["fake"]
    assert server.client.get(f"/{version}/models/tts-1").json() == cards["fake-voice"]


def test_a_wrong_method(server: Any) -> None:
    response = server.client.get("/v1/audio/transcriptions")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.json()["error"]["code"] == "method_not_allowed"


def test_loading_then_ready_then_draining(start_server: Any) -> None:
    server = start_server(FakeSession("some-model"), loaded=False)
    client = server.client
    files = {"file": ("a.wav", make_audio(0.5))}

    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/health").json() == {"status": "loading"}
    refusals = [client.post("/v1/audio/transcriptions", files=files)]
    # Whoever waits for a model by these must not go on too early.
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


def test_the_configuration_as_ovms_tells_it(server: Any) -> None:
    def status(state: str) -> dict[str, Any]:
        ok = {"error_code": "OK", "error_message": "OK"}
        return {"model_version_status": [{"version": "1", "state": state, "status": ok}]}

    expected = {"fake": status("AVAILABLE"), "fake-voice": status("AVAILABLE")}
    assert server.client.get("/v1/config").json() == expected
    reloaded = server.client.post("/v1/config/reload")
    assert (reloaded.status_code, reloaded.json()) == (200, expected)


def test_the_configuration_while_loading(start_server: Any) -> None:
    source = ModelSource(lambda: [ModelSpec("some-model", "/models/some-model")], lambda _spec: FakeSession())
    server = start_server(source=source, loaded=False)
    [model] = server.client.get("/v1/config").json()["some-model"]["model_version_status"]
    assert model["state"] == "LOADING"
    assert server.client.post("/v1/config/reload").status_code == 503


def test_reloading_tells_what_came_of_it(start_server: Any) -> None:
    wanted = [ModelSpec("a", "/models/a")]

    def load(each: ModelSpec) -> FakeSession:
        if each.name == "broken":
            raise ConfigError("broken/config.json: not there; fetch it.")
        return FakeSession(each.name)

    def read() -> list[ModelSpec]:
        if not wanted:
            raise ConfigError("config.json: not valid JSON.")
        return wanted

    server = start_server(source=ModelSource(read, load))
    reload = partial(server.client.post, "/v1/config/reload")
    assert reload().status_code == 201
    assert reload().status_code == 200
    wanted.append(ModelSpec("broken", "/models/broken"))
    error = error_of(reload(), 400, param=None)
    assert error["code"] == "reload_failed"
    assert error["message"] == (
        "Reloading config file failed. Check server logs for more info. broken: broken/config.json: not there; fetch it."
    )
    [status] = server.client.get("/v1/config").json()["broken"]["model_version_status"]
    assert status["state"] == "LOADING"
    assert status["status"] == {
        "error_code": "FAILED_PRECONDITION",
        "error_message": "broken/config.json: not there; fetch it.",
    }
    assert [card["id"] for card in server.client.get("/v1/models").json()["data"]] == ["a"]
    wanted.clear()
    assert "config.json: not valid JSON." in error_of(reload(), 400, param=None)["message"]


def test_the_key_of_the_environment(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    server = start_server()
    assert server.client.post("/v1/config/reload").status_code == 401
    assert server.client.post("/v1/config/reload", headers={"authorization": "Bearer secret"}).status_code == 200
    assert server.client.get("/v1/config").status_code == 200


def test_origins_may_be_named(start_server: Any) -> None:
    def allowed(server: Any, origin: str) -> str | None:
        return server.client.get("/v1/models", headers={"origin": origin}).headers.get("access-control-allow-origin")

    assert allowed(start_server(), "https://a.example") == "*"
    server = start_server(allowed_origins="https://a.example, https://b.example", allow_credentials=True)
    assert allowed(server, "https://b.example") == "https://b.example"
    assert allowed(server, "https://c.example") is None


def test_the_description_lists_the_routes(server: Any) -> None:
    description = server.client.get("/openapi.json").json()
    assert {"/v1/audio/transcriptions", "/v3/audio/translations", "/v1/models", "/health", "/v1/config"} <= set(
        description["paths"]
    )
    operation = description["paths"]["/v1/audio/transcriptions"]["post"]
    assert "file" in operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    spoken = description["paths"]["/v1/audio/speech"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "content" not in description["paths"]["/v2/health/live"]["get"]["responses"]["200"]  # it is an empty answer
    for path in ("/v1/models", "/v3/models/{model_id}", "/v3/audio/voices", "/v1/config/reload"):
        (operation,) = description["paths"][path].values()
        assert "503" in operation["responses"]
    assert "eSpeak NG and the genai backend take no seed" in spoken["properties"]["seed"]["description"]
