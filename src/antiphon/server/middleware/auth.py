"""Requires an API key for every route but health, if keys are set."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import Unauthorized
from antiphon.server.api_keys import ApiKeys
from antiphon.server.middleware.paths import collapsed
from antiphon.server.routes.health import HEALTH_PATHS

KEY_NAME = "antiphon.api_key_name"  # in the scope of a request that came with a key
_KEY_HEADERS = (b"api-key", b"x-api-key")
_MISSING = "This server requires an API key: send 'Authorization: Bearer <key>' or 'x-api-key: <key>'."
_UNKNOWN = (
    "The API key is not one of this server's: send the key alone, without the name that it may have in the key file."
)


class RequireKey:
    """Raises `Unauthorized` for a request or a websocket without one of the keys, and puts the key's name into the scope.

    A key is a bearer token, or the value of `api-key` or `x-api-key`. GET and HEAD of the health routes need none.
    """

    def __init__(self, app: ASGIApp, *, keys: ApiKeys) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._keys.required and scope["type"] != "lifespan":
            tokens = sent_tokens(scope)
            name = self._keys.name_of(tokens)
            if name is not None:
                scope = {**scope, KEY_NAME: name}
            elif not is_health(scope):
                raise Unauthorized(_UNKNOWN if tokens else _MISSING)
        await self.app(scope, receive, send)


def is_health(scope: Scope) -> bool:
    """Whether this is a read of a health route, whatever slashes its path has."""
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and collapsed(scope["path"]) in HEALTH_PATHS


def sent_tokens(scope: Scope) -> list[bytes]:
    """The keys that a request carries: at most one for each header, the first of its name."""
    first: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        first.setdefault(name.lower(), value)
    tokens = [first[name].strip() for name in _KEY_HEADERS if name in first]
    scheme, _, token = first.get(b"authorization", b"").partition(b" ")
    return [*tokens, token.strip()] if scheme.lower() == b"bearer" else tokens
