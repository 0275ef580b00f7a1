"""The application as a whole: CORS and its OpenAPI description."""

from __future__ import annotations

import json
from typing import Any

import pytest

PATH = "/v1/audio/transcriptions"


def test_cors_is_off_by_default(server: Any) -> None:
    headers = {"origin": "https://a.example", "access-control-request-method": "POST"}
    for response in (server.client.options(PATH, headers=headers), server.client.get("/v1/models", headers=headers)):
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_cors_preflight_and_answers_allow_browsers(start_server: Any) -> None:
    server = start_server(allowed_origins="*")
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


def test_cors_allows_only_the_origins_of_the_settings(start_server: Any) -> None:
    def allowed(server: Any, origin: str) -> str | None:
        return server.client.get("/v1/models", headers={"origin": origin}).headers.get("access-control-allow-origin")

    assert allowed(start_server(allowed_origins="*"), "https://a.example") == "*"
    server = start_server(allowed_origins="https://a.example, https://b.example", allow_credentials=True)
    assert allowed(server, "https://b.example") == "https://b.example"
    assert allowed(server, "https://c.example") is None


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_there_is_no_page_with_scripts_of_other_hosts(server: Any, path: str) -> None:
    assert server.client.get(path).status_code == 404


def test_openapi_lists_the_routes_and_their_fields(server: Any) -> None:
    description = server.client.get("/openapi.json").json()
    assert {"/v1/audio/transcriptions", "/v3/audio/translations", "/v1/models", "/health", "/v1/config"} <= set(
        description["paths"]
    )
    operation = description["paths"]["/v1/audio/transcriptions"]["post"]
    assert "file" in operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    speech = description["paths"]["/v1/audio/speech"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "$ref" not in json.dumps([operation["requestBody"], speech])  # it would lead nowhere
    assert "content" not in description["paths"]["/v2/health/live"]["get"]["responses"]["200"]  # its answer is empty
    for path in ("/v1/models", "/v3/models/{model_id}", "/v3/audio/voices", "/v1/config/reload"):
        (operation,) = description["paths"][path].values()
        assert "503" in operation["responses"]
    assert "eSpeak NG and the genai backend take no seed" in speech["properties"]["seed"]["description"]
