"""Every failure as an HTTP answer: one table from error class to status, and one body, OpenAI's.

It knows the error tree and the wire; it must not know why anything failed.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from antiphon.errors import (
    AntiphonError,
    Cancelled,
    DeadlineMissed,
    EngineFailed,
    InvalidAudio,
    InvalidParameter,
    ModelNotFound,
    Overloaded,
    RequestError,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from antiphon.server.schemas import ErrorDetail, ErrorReply
from antiphon.settings import right_of

logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # nginx's number; nobody is left to read it, only the log


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of error looks on the wire. `code` stands where the error brings none of its own."""

    status: int
    type: str
    code: str | None = None


TABLE: tuple[tuple[type[Exception], Row], ...] = (  # the first match counts
    (ModelNotFound, Row(404, "invalid_request_error", "model_not_found")),
    (Unauthorized, Row(401, "invalid_request_error", "invalid_api_key")),
    (TooLarge, Row(413, "invalid_request_error", "too_large")),
    (InvalidAudio, Row(400, "invalid_request_error", "invalid_audio")),
    (InvalidParameter, Row(400, "invalid_request_error", "invalid_value")),
    (RequestError, Row(400, "invalid_request_error")),
    (Overloaded, Row(429, "rate_limit_error", "overloaded")),
    (Unavailable, Row(503, "server_error", "unavailable")),
    # Not 408: browsers and proxies may send such a request again unasked. The OpenAI SDKs try either once more.
    (DeadlineMissed, Row(504, "server_error", "deadline_exceeded")),
    (Cancelled, Row(CLIENT_GONE, "server_error", "cancelled")),
    (ClientDisconnect, Row(CLIENT_GONE, "server_error", "cancelled")),
    (EngineFailed, Row(500, "server_error", "engine_failed")),
    (Exception, Row(500, "server_error", "internal_error")),
)


def reply(error: Exception) -> Response:
    """The answer to a request that ended in `error`."""
    row = _row_of(error)
    headers = {}
    if isinstance(error, (Overloaded, Unavailable)):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(body_of(error).model_dump(), row.status, headers)


def body_of(error: Exception) -> ErrorReply:
    """What is told of `error`. Errors nobody meant are logged, and their text stays inside."""
    row = _row_of(error)
    meant = isinstance(error, (AntiphonError, ClientDisconnect))
    if row.status >= 500 and not isinstance(error, (Unavailable, DeadlineMissed)):
        logger.error("a request failed: %s", error, exc_info=error)
    param = error.param if isinstance(error, (RequestError, Overloaded, DeadlineMissed)) else None
    code = error.code if isinstance(error, RequestError) else None
    message = str(error) if meant else "The server met an error of its own; its log says more."
    return ErrorReply(error=ErrorDetail(message=message, type=row.type, param=param, code=code or row.code))


def _row_of(error: Exception) -> Row:
    return next(row for kind, row in TABLE if isinstance(error, kind))


def install(app: FastAPI) -> None:
    """Make `app` answer every failure in this shape, the framework's own included."""
    app.add_exception_handler(AntiphonError, _on_error)
    app.add_exception_handler(ClientDisconnect, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


async def _on_error(_request: Request, error: Exception) -> Response:
    return reply(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        message = f"There is nothing at {request.url.path}."
        return _response(404, message, "invalid_request_error", None, "not_found", headers)
    if error.status_code == 405:
        message = f"{request.url.path} does not answer to {request.method}."
        return _response(405, message, "invalid_request_error", None, "method_not_allowed", headers)
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    return _response(error.status_code, str(error.detail), kind, None, "bad_request", headers)


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = error.errors()[0]
    field = str(wrong["loc"][-1]) if wrong["loc"] else None
    return _response(400, f"{field}: {right_of(wrong)}.", "invalid_request_error", field, "invalid_value", {})


def _response(
    status: int, message: str, kind: str, param: str | None, code: str | None, headers: dict[str, str]
) -> Response:
    body = ErrorReply(error=ErrorDetail(message=message, type=kind, param=param, code=code))
    return JSONResponse(body.model_dump(), status, headers)
