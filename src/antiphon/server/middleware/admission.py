"""Load shedding: refuses a request before its body is read, while the queue is full or no model works."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import Overloaded, TooLarge, Unavailable
from antiphon.server.errors import error_response
from antiphon.server.middleware.metrics import count_unadmitted, task_of
from antiphon.server.middleware.request_id import request_id_of
from antiphon.server.state import state_of
from antiphon.types.options import ModelTask

_TASKS: dict[str, ModelTask] = {"transcriptions": "transcribe", "translations": "translate", "speech": "speak"}
_DRAIN_TIMEOUT_S = 30.0  # for the rest of an upload, which is read and dropped


class LoadShedding:
    """Answers 429 when no model of the request's task has room, and 503 when none works. A websocket counts as a
    transcription.

    Runs after authentication. While the server is loading or draining, the routes answer instead.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            _check_room(scope, "transcribe")
        elif (name := task_of(scope)) is not None:
            try:
                _check_room(scope, _TASKS[name])
            except (Overloaded, Unavailable) as error:
                count_unadmitted(Request(scope), None, _TASKS[name], streamed=False)
                await _send_before_body(error_response(error, request_id_of(scope)), receive, send)
                return
        await self.app(scope, receive, send)


def _check_room(scope: Scope, task: ModelTask) -> None:
    state = state_of(HTTPConnection(scope))
    if state.state == "ready":
        state.service.models.check_room(task)


async def _send_before_body(response: Response, receive: Receive, send: Send) -> None:
    """Send `response`, then read and drop the rest of the upload, and only then end.

    Many clients read no answer before they have sent the whole body, and lose one that comes with a closed connection.
    """
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(TimeoutError, TooLarge):
        async with asyncio.timeout(_DRAIN_TIMEOUT_S):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
