"""What is served and whether it is up: the model lists and the health routes.

It asks the door; it must not start work or know audio.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from antiphon.api.door import Door, door_of
from antiphon.api.schemas import (
    HealthReply,
    ModelCard,
    ModelList,
    SpeechModel,
    SpeechModelList,
    VoiceCard,
    VoiceList,
)
from antiphon.types import ModelInfo

TheDoor = Annotated[Door, Depends(door_of)]


async def list_models(door: TheDoor) -> ModelList:
    """The models served here."""
    return ModelList(data=[_card(door, name) for name in door.names()])


async def get_model(model_id: str, door: TheDoor) -> ModelCard:
    """One model, by its name or an alias of it."""
    return _card(door, door.canonical(model_id))


async def list_voices(door: TheDoor) -> VoiceList:
    """The voices of the models that speak, the default one first."""
    return VoiceList(voices=[voice for info in door.models() for voice in _voices(info)])


async def list_speech_models(door: TheDoor) -> SpeechModelList:
    """The models that speak, in the shape Open WebUI asks for."""
    return SpeechModelList(models=[SpeechModel(id=info.name) for info in door.models() if "speak" in info.tasks])


def _card(door: Door, name: str) -> ModelCard:
    infos = {info.name: info for info in door.models()}
    voices = _voices(infos[name]) if name in infos else []
    return ModelCard(id=name, created=door.opened, voices=voices or None)


def _voices(info: ModelInfo) -> list[VoiceCard]:
    return [VoiceCard(id=voice, name=voice) for voice in info.voices]


async def live() -> Response:
    """200 as long as the process answers."""
    return Response()


async def ready(door: TheDoor, response: Response) -> HealthReply:
    """200 once the model is loaded, 503 before that and while draining."""
    # Never the bare word OK: the Home Assistant bridge would take this server for another one.
    response.status_code = 200 if door.state == "ready" else 503
    return HealthReply(status=door.state)


def routes() -> APIRouter:
    """The router with all of the above."""
    router = APIRouter(tags=["server"])
    for prefix in ("/v1", "/v3"):
        listed: dict[str, Any] = {"methods": ["GET"], "response_model_exclude_none": True}
        router.add_api_route(f"{prefix}/models", list_models, **listed)
        router.add_api_route(f"{prefix}/models/{{model_id:path}}", get_model, **listed)
        router.add_api_route(f"{prefix}/audio/voices", list_voices, methods=["GET"])
        router.add_api_route(f"{prefix}/audio/models", list_speech_models, methods=["GET"])
    router.add_api_route("/v2/health/live", live, methods=["GET"])
    for path in ("/v2/health/ready", "/health"):
        router.add_api_route(path, ready, methods=["GET"], responses={503: {"model": HealthReply}})
    return router
