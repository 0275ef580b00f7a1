"""What is served and whether it is up: the model lists, the health routes, and OVMS's two about its configuration.

It asks the door; it must not load anything itself or know audio.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from starlette.responses import JSONResponse

from antiphon.errors import ConfigError
from antiphon.model_server import ModelState
from antiphon.server.schemas import (
    ErrorDetail,
    ErrorReply,
    HealthReply,
    ModelCard,
    ModelList,
    ModelStatus,
    SpeechModel,
    SpeechModelList,
    VersionError,
    VersionStatus,
    VoiceCard,
    VoiceList,
)
from antiphon.server.state import ServerState, server_state
from antiphon.types.results import ModelInfo

logger = logging.getLogger(__name__)

State = Annotated[ServerState, Depends(server_state)]
RELOAD_FAILED = "Reloading config file failed. Check server logs for more info."


async def list_models(door: State) -> ModelList:
    """The models served here."""
    return ModelList(data=[_card(door, info) for info in door.models])


async def get_model(model_id: str, door: State) -> ModelCard:
    """One model, by its name or an alias of it."""
    return _card(door, door.model(model_id))


async def list_voices(door: State) -> VoiceList:
    """The voices of the models that speak, the default one first."""
    return VoiceList(voices=[voice for info in door.models for voice in _voices(info)])


async def list_speech_models(door: State) -> SpeechModelList:
    """The models that speak, in the shape Open WebUI asks for."""
    return SpeechModelList(models=[SpeechModel(id=info.name) for info in door.models if "speak" in info.tasks])


def _card(door: ServerState, info: ModelInfo) -> ModelCard:
    return ModelCard(id=info.name, created=door.opened, voices=_voices(info) or None)


def _voices(info: ModelInfo) -> list[VoiceCard]:
    return [VoiceCard(id=voice, name=voice) for voice in info.voices]


async def live() -> Response:
    """200 as long as the process answers."""
    return Response()


async def ready(door: State, response: Response) -> HealthReply:
    """200 once the model is loaded, 503 before that and while draining."""
    # Never the bare word OK: the Home Assistant bridge would take this server for another one.
    response.status_code = 200 if door.state == "ready" else 503
    return HealthReply(status=door.state)


async def get_config(door: State) -> dict[str, ModelStatus]:
    """Every model by name and where it stands, those that could not be loaded included, as OVMS tells it."""
    return {each.name: _status(each) for each in door.states()}


async def reload_config(door: State) -> Response:
    """Read the configuration again now: 201 if that changed what is served, 200 if not, with the list as of then."""
    try:
        outcome = await asyncio.to_thread(door.reload)
    except ConfigError as error:
        logger.error("What is served stays as it is: %s", error)
        return _reload_failed(str(error))
    if outcome.failed:
        return _reload_failed(" ".join(f"{name}: {error}" for name, error in outcome.failed.items()))
    states = {each.name: _status(each).model_dump() for each in door.states()}
    return JSONResponse(states, 201 if outcome.changed else 200)


def _status(model: ModelState) -> ModelStatus:
    status = VersionError(error_code="OK", error_message="OK")
    if model.error is not None:
        status = VersionError(error_code="FAILED_PRECONDITION", error_message=model.error)
    return ModelStatus(model_version_status=[VersionStatus(state=model.state, status=status)])


def _reload_failed(reason: str) -> Response:
    detail = ErrorDetail(
        message=f"{RELOAD_FAILED} {reason}", type="invalid_request_error", param=None, code="reload_failed"
    )
    return JSONResponse(ErrorReply(error=detail).model_dump(), 400)


def routes() -> APIRouter:
    """The router with all of the above."""
    router = APIRouter(tags=["server"])
    for prefix in ("/v1", "/v3"):
        listed: dict[str, Any] = {"methods": ["GET"], "responses": {503: {"model": ErrorReply}}}
        cards = listed | {"response_model_exclude_none": True}
        card = cards | {"responses": {status: {"model": ErrorReply} for status in (404, 503)}}
        router.add_api_route(f"{prefix}/models", list_models, **cards)
        router.add_api_route(f"{prefix}/models/{{model_id:path}}", get_model, **card)
        router.add_api_route(f"{prefix}/audio/voices", list_voices, **listed)
        router.add_api_route(f"{prefix}/audio/models", list_speech_models, **listed)
    router.add_api_route("/v1/config", get_config, methods=["GET"])
    router.add_api_route(
        "/v1/config/reload",
        reload_config,
        methods=["POST"],
        response_model=dict[str, ModelStatus],
        responses={
            201: {"model": dict[str, ModelStatus]},
            **{status: {"model": ErrorReply} for status in (400, 401, 503)},
        },
    )
    router.add_api_route("/v2/health/live", live, methods=["GET"], response_class=Response)
    for path in ("/v2/health/ready", "/health"):
        router.add_api_route(path, ready, methods=["GET"], responses={503: {"model": HealthReply}})
    return router
