"""The request for which there is no room: it is answered before any of it is read, and before the framework sees it.

It asks the door whether a task has room; it must not know forms, queues or why there is none.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import Overloaded, TooLarge
from antiphon.server.errors import reply
from antiphon.server.middleware.metrics import count_unadmitted, task_of
from antiphon.server.state import state_of
from antiphon.types.options import ModelTask

_TASKS: dict[str, ModelTask] = {"transcriptions": "transcribe", "translations": "translate", "speech": "speak"}
_PATIENCE = 30.0  # seconds in which the rest of an upload is read and dropped


class LoadShedding:
    """Turns away at once what would be refused anyway. Plain ASGI, next to the application: the key is checked by then."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (name := task_of(scope)) is not None:
            request = Request(scope)
            state = state_of(request)
            try:
                if state.state == "ready":  # what is not ready has an answer of its own
                    state.service.models.check_room(_TASKS[name])
            except Overloaded as error:
                count_unadmitted(request, None, _TASKS[name], streamed=False)
                await answer_first(reply(error), receive, send)
                return
        await self.app(scope, receive, send)


async def answer_first(response: Response, receive: Receive, send: Send) -> None:
    """Send the whole of `response`, then read and drop what is still being sent, and only then end.

    Many clients read no answer before they have sent all, and lose one that comes with the end of the connection.
    """
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(TimeoutError, TooLarge):
        async with asyncio.timeout(_PATIENCE):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
