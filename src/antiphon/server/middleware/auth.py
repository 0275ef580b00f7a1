"""What every request passes before a route sees it: an identity, one spelling of its path, the key, the size limit.

Plain ASGI, so that bodies stream through. It must not know routes, models or audio.
"""

from __future__ import annotations

import hmac
import re
import uuid
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import ConfigError, TooLarge, Unauthorized
from antiphon.server.errors import reply

REQUEST_ID = "x-request-id"
_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def read_key(path: Path) -> str:
    """The first line of a key file, as OVMS reads it. ConfigError if there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api_key_file: cannot read {path}: {error}.") from error
    key = lines[0].rstrip() if lines else ""
    if not key:
        raise ConfigError(f"--api_key_file: the first line of {path} is empty; write the key there.")
    return key


class RequestId:
    """Gives every reply, whatever became of the request, an `x-request-id`: the caller's own if usable."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(REQUEST_ID, "")
        identity = sent if _USABLE_ID.fullmatch(sent) else f"req_{uuid.uuid4().hex}"

        async def send_with_identity(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = identity
            await send(message)

        await self.app(scope, receive, send_with_identity)


class Gate:
    """Folds the path, checks the key, bounds the body, and answers for what no handler caught."""

    def __init__(self, app: ASGIApp, *, key: str | None, max_bytes: int) -> None:
        self.app = app
        self._key = key.encode() if key is not None else None
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check(scope)
            await self.app(_folded(scope), self._bounded(receive), watched_send)
        except Exception as error:
            if started:
                raise
            await reply(error)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        # Lists and health stay open, as OVMS has them: clients read them without a key.
        if self._key is not None and scope["method"] == "POST":
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key):
                raise Unauthorized("This server wants an API key: send 'Authorization: Bearer <key>'.")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0

        async def bounded_receive() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_bytes:
                raise self._too_large()
            return message

        return bounded_receive

    def _too_large(self) -> TooLarge:
        message = f"The request is larger than the {self._max_bytes} bytes this server takes."
        return TooLarge(message, param="file", code="request_too_large")


def _folded(scope: Scope) -> Scope:
    """Clients join base and path with too many slashes; one of them is meant."""
    path = "/" + "/".join(part for part in scope["path"].split("/") if part)
    return scope if path == scope["path"] else {**scope, "path": path, "raw_path": path.encode()}
