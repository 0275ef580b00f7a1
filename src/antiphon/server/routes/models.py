"""GET models: the lists that OpenAI's and Open WebUI's clients read."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from antiphon.server.routes.voices import voice_cards
from antiphon.server.schemas import ErrorReply, ModelCard, ModelList, SpeechModel, SpeechModelList
from antiphon.server.state import ServerState, server_state
from antiphon.types.results import ModelInfo

State = Annotated[ServerState, Depends(server_state)]


async def list_models(state: State) -> ModelList:
    """The models served."""
    return ModelList(data=[_card(state, info) for info in state.models])


async def get_model(model_id: str, state: State) -> ModelCard:
    """One model, by its name or an alias."""
    return _card(state, state.model(model_id))


async def list_speech_models(state: State) -> SpeechModelList:
    """The speech models, in the shape that Open WebUI reads."""
    return SpeechModelList(models=[SpeechModel(id=info.name) for info in state.models if "speak" in info.tasks])


def _card(state: ServerState, info: ModelInfo) -> ModelCard:
    return ModelCard(id=info.name, created=state.opened, voices=voice_cards(info) or None)


def routes() -> APIRouter:
    """The router of these routes under /v1 and /v3."""
    router = APIRouter(tags=["server"])
    unavailable: dict[int | str, dict[str, Any]] = {503: {"model": ErrorReply}}
    not_found = unavailable | {404: {"model": ErrorReply}}
    for prefix in ("/v1", "/v3"):
        router.add_api_route(f"{prefix}/models", list_models, responses=unavailable, response_model_exclude_none=True)
        router.add_api_route(
            f"{prefix}/models/{{model_id:path}}", get_model, responses=not_found, response_model_exclude_none=True
        )
        router.add_api_route(f"{prefix}/audio/models", list_speech_models, responses=unavailable)
    return router
