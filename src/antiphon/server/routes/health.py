"""GET health: whether the process answers, and whether its models are loaded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from antiphon.server.schemas import HealthReply
from antiphon.server.state import ServerState, server_state

_READY_PATHS = ("/v2/health/ready", "/health")
HEALTH_PATHS = frozenset(("/v2/health/live", *_READY_PATHS))


async def live() -> Response:
    """200 as long as the process answers."""
    return Response()


async def ready(state: Annotated[ServerState, Depends(server_state)], response: Response) -> HealthReply:
    """200 once the models are loaded; 503 before that, while a worker of a model is dead or stuck, and while draining."""
    # Never the bare word OK: the Home Assistant bridge would take this server for a different one.
    health = state.health
    response.status_code = 200 if health == "ready" else 503
    return HealthReply(status=health)


def routes() -> APIRouter:
    """The router of these routes."""
    router = APIRouter(tags=["server"])
    router.add_api_route("/v2/health/live", live, response_class=Response)
    for path in _READY_PATHS:
        router.add_api_route(path, ready, responses={503: {"model": HealthReply}})
    return router
