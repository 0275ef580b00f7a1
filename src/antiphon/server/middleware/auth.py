"""Requires the API key, if one is set."""

from __future__ import annotations

import hmac
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import ConfigError, Unauthorized


def read_key(path: Path) -> str:
    """The first line of a key file, as OVMS reads it. ConfigError if there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}.", setting="api_key_file") from error
    key = lines[0].rstrip() if lines else ""
    if not key:
        raise ConfigError(f"the first line of {path} is empty; write the key there.", setting="api_key_file")
    return key


class RequireKey:
    """Raises `Unauthorized` for a POST or a websocket without the bearer token `key`; None lets every request pass.

    GET requests (lists, health, metrics) need no key, as in OVMS: clients read them without one.
    """

    def __init__(self, app: ASGIApp, *, key: str | None) -> None:
        self.app = app
        self._key = key.encode() if key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._key is not None and (scope["type"] == "websocket" or scope.get("method") == "POST"):
            scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._key):
                raise Unauthorized("This server requires an API key: send 'Authorization: Bearer <key>'.")
        await self.app(scope, receive, send)
