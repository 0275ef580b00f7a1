"""GET models, as OpenAI's SDK and plain clients read them."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from antiphon.testing.fake import FakeSession


@pytest.mark.parametrize("path", ["/v1/models", "/v3/models", "/v1/models/", "//v3//models"])
def test_models_are_listed_on_every_spelling_of_the_path(server: Any, path: str) -> None:
    body = server.client.get(f"{server.url}{path}").json()
    assert body["object"] == "list"
    assert [card["id"] for card in body["data"]] == ["fake", "fake-voice"]
    card = body["data"][0]
    assert set(card) == {"id", "object", "created", "owned_by"}
    assert (card["object"], card["owned_by"]) == ("model", "antiphon")
    assert isinstance(card["created"], int)


def test_sdk_lists_and_gets_models_and_unknown_model_is_404(server: Any) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["fake", "fake-voice"]
        assert client.models.retrieve("fake").id == "fake"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("unknown/model")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("path", ["openai/whisper-tiny", "openai%2Fwhisper-tiny"])
def test_model_name_may_contain_a_slash(start_server: Any, path: str) -> None:
    server = start_server(FakeSession("openai/whisper-tiny"))
    for prefix in ("/v1", "/v3"):
        assert server.client.get(f"{prefix}/models/{path}").json()["id"] == "openai/whisper-tiny"
