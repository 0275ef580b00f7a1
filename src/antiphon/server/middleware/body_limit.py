"""Limits the size of request bodies and websocket messages."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import TooLarge
from antiphon.server.middleware.metrics import task_of

# The most that JSON makes of one character: two escapes of six bytes, such as \ud83d\ude00.
BYTES_PER_CHARACTER = 12
BYTES_OF_OTHER_FIELDS = 64 * 1024
_MESSAGE_TOO_BIG = 1009  # websocket close code


class BodyLimit:
    """Raises `TooLarge` for a body of more than `max_bytes`: unread if its length is declared, otherwise while it is read.

    A speech request, which is parsed as a whole, may have as many bytes as JSON needs for `max_characters` of input.
    A websocket is closed at the first message of more than `max_bytes`.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_characters: int) -> None:
        self.app = app
        self._max_bytes = max_bytes
        self._max_speech_bytes = min(max_bytes, BYTES_PER_CHARACTER * max_characters + BYTES_OF_OTHER_FIELDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            speech = task_of(scope) == "speech"
            limit, param = (self._max_speech_bytes, "input") if speech else (self._max_bytes, "file")
            length = Headers(scope=scope).get("content-length", "")
            if length.isdecimal() and int(length) > limit:
                raise _too_large(limit, param)
            receive = _limit_body(receive, limit, param)
        elif scope["type"] == "websocket":
            receive = self._limit_messages(receive, send)
        await self.app(scope, receive, send)

    def _limit_messages(self, receive: Receive, send: Send) -> Receive:
        async def limited_receive() -> Message:
            message = await receive()
            content = message.get("bytes") or (message.get("text") or "").encode()
            if len(content) <= self._max_bytes:
                return message
            await send(
                {"type": "websocket.close", "code": _MESSAGE_TOO_BIG, "reason": str(_too_large(self._max_bytes, None))}
            )
            return {"type": "websocket.disconnect", "code": _MESSAGE_TOO_BIG}

        return limited_receive


def _limit_body(receive: Receive, max_bytes: int, param: str) -> Receive:
    received = 0

    async def limited_receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise _too_large(max_bytes, param)
        return message

    return limited_receive


def _too_large(max_bytes: int, param: str | None) -> TooLarge:
    setting = "max_input_characters" if param == "input" else "max_upload_bytes"
    message = f"The request is larger than the {max_bytes} bytes this server accepts ({setting})."
    return TooLarge(message, param=param, code="request_too_large")
