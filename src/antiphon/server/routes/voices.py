"""GET audio/voices: the voices of the speech models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from antiphon.server.schemas import ErrorReply, VoiceCard, VoiceList
from antiphon.server.state import ServerState, server_state
from antiphon.types.results import ModelInfo


async def list_voices(state: Annotated[ServerState, Depends(server_state)]) -> VoiceList:
    """The voices of all speech models; the default voice of each model comes first."""
    return VoiceList(voices=[voice for info in state.models for voice in voice_cards(info)])


def voice_cards(info: ModelInfo) -> list[VoiceCard]:
    """The voices of one model; none if it does not speak."""
    return [VoiceCard(id=voice, name=voice) for voice in info.voices]


def routes() -> APIRouter:
    """The router of this route under /v1 and /v3."""
    router = APIRouter(tags=["server"])
    for prefix in ("/v1", "/v3"):
        router.add_api_route(f"{prefix}/audio/voices", list_voices, responses={503: {"model": ErrorReply}})
    return router
