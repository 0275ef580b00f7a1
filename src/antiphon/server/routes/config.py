"""GET config and POST config/reload: the configured models and their states, as OVMS reports them."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from starlette.responses import JSONResponse

from antiphon.errors import ConfigError
from antiphon.server.schemas import ErrorDetail, ErrorReply, ModelStatus, VersionError, VersionStatus
from antiphon.server.state import ServerState, server_state
from antiphon.types.models import ModelState

logger = logging.getLogger(__name__)

State = Annotated[ServerState, Depends(server_state)]
# Without the reason, which names folders and files.
RELOAD_FAILED = "Reloading config file failed. Check server logs for more info."
NOT_WORKING = "Loading the model failed, or its worker stopped. Check server logs for more info."


async def get_config(state: State) -> dict[str, ModelStatus]:
    """Every configured model by name with its state, including those that could not be loaded."""
    return _statuses(state)


async def reload_config(state: State) -> Response:
    """Read the configuration again: 201 if that changed which models are served, otherwise 200, with the new list."""
    try:
        outcome = await asyncio.to_thread(state.reload)
    except ConfigError as error:
        logger.error("The served models stay as they are: %s", error)
        return _reload_failed("The configuration cannot be read.")
    if outcome.failed:
        for name, reason in outcome.failed.items():
            logger.error("Reloading failed for %s: %s", name, reason)
        return _reload_failed(f"Not loaded: {', '.join(outcome.failed)}.")
    statuses = {name: status.model_dump() for name, status in _statuses(state).items()}
    return JSONResponse(statuses, 201 if outcome.changed else 200)


def _statuses(state: ServerState) -> dict[str, ModelStatus]:
    return {model.name: _status(model) for model in state.states()}


def _status(model: ModelState) -> ModelStatus:
    status = VersionError(error_code="OK", error_message="OK")
    if model.error is not None:
        status = VersionError(error_code="FAILED_PRECONDITION", error_message=NOT_WORKING)
    return ModelStatus(model_version_status=[VersionStatus(state=model.state, status=status)])


def _reload_failed(what: str) -> Response:
    message = f"{RELOAD_FAILED} {what}"
    detail = ErrorDetail(message=message, type="invalid_request_error", param=None, code="reload_failed")
    return JSONResponse(ErrorReply(error=detail).model_dump(), 400)


def routes() -> APIRouter:
    """The router of these routes."""
    router = APIRouter(tags=["server"])
    router.add_api_route("/v1/config", get_config)
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
    return router
