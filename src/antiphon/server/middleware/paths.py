"""Removes empty path segments: clients join a base address and a path with too many slashes."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class CollapseSlashes:
    """Turns `//v1//models/` into `/v1/models`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            path = collapsed(scope["path"])
            if path != scope["path"]:
                scope = {**scope, "path": path, "raw_path": path.encode()}
        await self.app(scope, receive, send)


def collapsed(path: str) -> str:
    """A path without its empty segments."""
    return "/" + "/".join(part for part in path.split("/") if part)
