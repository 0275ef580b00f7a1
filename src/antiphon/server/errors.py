"""Errors as HTTP answers: one table from error class to status, one body (OpenAI's), one place that sends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import (
    Cancelled,
    DeadlineMissed,
    EngineFailed,
    HostNotAllowed,
    InvalidAudio,
    InvalidParameter,
    ModelNotFound,
    OriginNotAllowed,
    Overloaded,
    RequestError,
    TooLarge,
    Unauthorized,
    Unavailable,
    shortened,
)
from antiphon.server.middleware.request_id import request_id_of
from antiphon.server.schemas import ErrorDetail, ErrorReply
from antiphon.validation_messages import requirement

logger = logging.getLogger(__name__)

INTERNAL_ERROR = 500
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that has left; only the access log shows it
POLICY_VIOLATION = 1008  # websocket close code; before the handshake is accepted, ASGI servers answer it with 403

_DRAIN_TIMEOUT_S = 30.0  # for the rest of an upload, which is read and dropped


@dataclass(frozen=True, slots=True)
class Row:
    """The HTTP answer for one class of error. `code` applies if the error itself has none."""

    status: int
    type: str
    code: str | None = None


TABLE: tuple[tuple[type[Exception], Row], ...] = (  # the first match applies
    (ModelNotFound, Row(404, "invalid_request_error", "model_not_found")),
    (Unauthorized, Row(401, "invalid_request_error", "invalid_api_key")),
    (OriginNotAllowed, Row(403, "invalid_request_error", "origin_not_allowed")),
    (HostNotAllowed, Row(421, "invalid_request_error", "host_not_allowed")),
    (TooLarge, Row(413, "invalid_request_error", "too_large")),
    (InvalidAudio, Row(400, "invalid_request_error", "invalid_audio")),
    (InvalidParameter, Row(400, "invalid_request_error", "invalid_value")),
    (RequestError, Row(400, "invalid_request_error")),
    (Overloaded, Row(429, "rate_limit_error", "overloaded")),
    (Unavailable, Row(503, "server_error", "unavailable")),
    # Not 408: browsers and proxies may repeat such a request unasked. The OpenAI SDKs retry either status.
    (DeadlineMissed, Row(504, "server_error", "deadline_exceeded")),
    (Cancelled, Row(CLIENT_CLOSED_REQUEST, "server_error", "cancelled")),
    (ClientDisconnect, Row(CLIENT_CLOSED_REQUEST, "server_error", "cancelled")),
    (EngineFailed, Row(INTERNAL_ERROR, "server_error", "engine_failed")),
    (Exception, Row(INTERNAL_ERROR, "server_error", "internal_error")),
)


class AnswerErrors:
    """Middleware that answers every error raised inside it, unless the answer has begun: then the error goes on.

    `Overloaded` and `Unavailable` are answered before the rest of the body is read. A websocket is refused before it is
    accepted: with the same answer where the ASGI server can send one, else with 403.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        unread = scope["type"] == "http"

        async def watched_receive() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, watched_receive, watched_send)
        except Exception as error:
            if started or scope["type"] == "lifespan":
                raise
            response = error_response(error, request_id_of(scope))
            if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            elif unread and isinstance(error, (Overloaded, Unavailable)):
                await _send_before_body(response, receive, send)
            else:
                await response(scope, receive, send)


async def _send_before_body(response: Response, receive: Receive, send: Send) -> None:
    """Send `response`, then read and drop the rest of the upload, and only then end.

    Many clients read no answer before they have sent the whole body, and lose one that comes with a closed connection.
    """
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_TIMEOUT_S):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def error_response(error: Exception, request_id: str) -> Response:
    """The answer to the request of that id, which ended in `error`."""
    headers = {}
    if isinstance(error, (Overloaded, Unavailable)):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_body(error, request_id).model_dump(), _row_of(error).status, headers)


def error_body(error: Exception, request_id: str) -> ErrorReply:
    """The body of that answer. The text of an internal error (500) goes to the log only, under the request's id."""
    row = _row_of(error)
    message = str(error)
    if row.status == INTERNAL_ERROR:
        # The engine has logged what made it fail.
        logger.error(
            "request %s failed: %s", request_id, error, exc_info=None if isinstance(error, EngineFailed) else error
        )
        message = f"Internal server error; the server's log has the cause under request id {request_id}."
    param = error.param if isinstance(error, (RequestError, Overloaded, DeadlineMissed)) else None
    code = error.code if isinstance(error, RequestError) else None
    return ErrorReply(error=ErrorDetail(message=message, type=row.type, param=param, code=code or row.code))


def _row_of(error: Exception) -> Row:
    return next(row for kind, row in TABLE if isinstance(error, kind))


def install_error_handlers(app: FastAPI) -> None:
    """Give the framework's own errors the same body. All others are left to `AnswerErrors`."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message, code = str(error.detail), "bad_request"
    if error.status_code == 404:
        message, code = f"There is nothing at {shortened(request.url.path)}.", "not_found"
    elif error.status_code == 405:
        message, code = (
            f"{shortened(request.url.path)} does not support {shortened(request.method)}.",
            "method_not_allowed",
        )
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    body = ErrorReply(error=ErrorDetail(message=message, type=kind, param=None, code=code))
    return JSONResponse(body.model_dump(), error.status_code, error.headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = error.errors()[0]
    field = str(wrong["loc"][-1]) if wrong["loc"] else None
    invalid = InvalidParameter(f"{field}: {requirement(wrong)}.", param=field)
    return error_response(invalid, request_id_of(request.scope))
