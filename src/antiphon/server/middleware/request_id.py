"""The headers of every answer: the request's id, which the log lines about it carry too, and nosniff."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "x-request-id"
_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SCOPE_KEY = "antiphon.request_id"
_ANSWER_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class RequestId:
    """Sets `x-request-id` on every answer: the one the client sent if it is usable, otherwise a new one.

    `x-content-type-options: nosniff` keeps browsers from running an answer, which may repeat what was sent, as a script.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = sent if _USABLE_ID.fullmatch(sent) else f"req_{uuid.uuid4().hex}"

        async def send_with_id(message: Message) -> None:
            if message["type"] in _ANSWER_STARTS:
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        await self.app({**scope, _SCOPE_KEY: request_id}, receive, send_with_id)


def request_id_of(scope: Scope) -> str:
    """The id of the request, as its answer carries it."""
    return str(scope[_SCOPE_KEY])
