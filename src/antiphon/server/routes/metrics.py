"""GET /metrics, for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse, Response

from antiphon.server.schemas import ErrorDetail, ErrorReply
from antiphon.server.state import ServerState, server_state
from antiphon.telemetry import CONTENT_TYPE


async def metrics(state: Annotated[ServerState, Depends(server_state)]) -> Response:
    """The server's metrics in Prometheus's text format."""
    if state.telemetry is None:
        message = "Metrics are off; the setting metrics_enable turns them on."
        detail = ErrorDetail(message=message, type="invalid_request_error", param=None, code="not_found")
        return JSONResponse(ErrorReply(error=detail).model_dump(), 404)
    return Response(state.telemetry.render(state.loads()), media_type=CONTENT_TYPE)


def routes() -> APIRouter:
    """The router with the route above."""
    router = APIRouter(tags=["server"])
    router.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 404: {"model": ErrorReply}},
    )
    return router
