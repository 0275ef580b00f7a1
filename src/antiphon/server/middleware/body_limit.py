"""Limits the size of request bodies and websocket messages."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import TooLarge

_MESSAGE_TOO_BIG = 1009  # websocket close code


class BodyLimit:
    """Raises `TooLarge` for a body of more than `max_bytes`: unread if its length is declared, otherwise while it is read.

    A websocket is closed at the first message of more than `max_bytes`.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            length = Headers(scope=scope).get("content-length", "")
            if length.isdecimal() and int(length) > self._max_bytes:
                raise self._too_large()
            receive = self._limit_body(receive)
        elif scope["type"] == "websocket":
            receive = self._limit_messages(receive, send)
        await self.app(scope, receive, send)

    def _limit_body(self, receive: Receive) -> Receive:
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._too_large()
            return message

        return limited_receive

    def _limit_messages(self, receive: Receive, send: Send) -> Receive:
        async def limited_receive() -> Message:
            message = await receive()
            content = message.get("bytes") or (message.get("text") or "").encode()
            if len(content) <= self._max_bytes:
                return message
            await send({"type": "websocket.close", "code": _MESSAGE_TOO_BIG, "reason": str(self._too_large())})
            return {"type": "websocket.disconnect", "code": _MESSAGE_TOO_BIG}

        return limited_receive

    def _too_large(self) -> TooLarge:
        message = f"The request is larger than the {self._max_bytes} bytes this server accepts."
        return TooLarge(message, param="file", code="request_too_large")
