"""What is served and whether it is up: the model lists and the health routes.

It asks the door; it must not start work or know audio.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from antiphon.api.door import Door, door_of
from antiphon.api.schemas import HealthReply, ModelCard, ModelList

TheDoor = Annotated[Door, Depends(door_of)]


async def list_models(door: TheDoor) -> ModelList:
    """The models served here."""
    return ModelList(data=[ModelCard(id=name, created=door.opened) for name in door.names()])


async def get_model(model_id: str, door: TheDoor) -> ModelCard:
    """One model, by its name or an alias of it."""
    return ModelCard(id=door.canonical(model_id), created=door.opened)


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
        router.add_api_route(f"{prefix}/models", list_models, methods=["GET"])
        router.add_api_route(f"{prefix}/models/{{model_id:path}}", get_model, methods=["GET"])
    router.add_api_route("/v2/health/live", live, methods=["GET"])
    for path in ("/v2/health/ready", "/health"):
        router.add_api_route(path, ready, methods=["GET"], responses={503: {"model": HealthReply}})
    return router
