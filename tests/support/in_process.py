"""An application in this process, without sockets: what it answers, and how much of a request it has read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import no_hooks
from antiphon.scheduling.queue import Limits
from antiphon.server.app import create_app, create_telemetry
from antiphon.settings import Settings
from tests.support.service import new_service

Body = Iterable[bytes | asyncio.Event]  # the client sends nothing until an event is set
MAX_WAIT_S = 60.0  # for an answer: a regression fails the test, it must not hang it


@dataclass(frozen=True)
class Answer:
    """An answer, and how many bytes of the request's body were read before it began."""

    status: int
    headers: dict[str, str]
    body: bytes
    bytes_read: int

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class InProcess:
    """Sends requests to `app`, one at a time or several on the same event loop."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app = app
        self.runner = runner

    def send(self, path: str, body: Body = (), *, method: str = "POST", **headers: str) -> Answer:
        """The answer to a request; `content_type="text/plain"` is a header."""
        return self.runner.run(self.answer(path, body, method=method, **headers))

    async def answer(self, path: str, body: Body = (), *, method: str = "POST", **headers: str) -> Answer:
        """The same, on the event loop of `runner`."""
        encoded = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": encoded if "host" in headers else [(b"host", b"localhost"), *encoded],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        pieces, ended = iter(body), False
        bytes_read = read_before = 0
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            nonlocal bytes_read, ended
            if ended:
                await asyncio.Event().wait()  # the client stays connected
            piece = next(pieces, b"")
            if isinstance(piece, asyncio.Event):
                await piece.wait()
                piece = next(pieces, b"")
            assert isinstance(piece, bytes)
            ended = not piece
            bytes_read += len(piece)
            return {"type": "http.request", "body": piece, "more_body": not ended}

        async def send(message: Any) -> None:
            nonlocal read_before
            read_before = read_before if messages else bytes_read
            messages.append(message)

        async with asyncio.timeout(MAX_WAIT_S):
            await self.app(scope, receive, send)
        start = messages[0]
        names = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], names, b"".join(each.get("body", b"") for each in messages), read_before)


@contextmanager
def in_process(*sessions: AnySession, **settings: Any) -> Iterator[InProcess]:
    """An application with these models and settings, closed at the end of the block."""
    chosen = Settings(**settings)
    telemetry = create_telemetry(chosen)
    limits = Limits(chosen.max_waiting_units, chosen.max_queued_requests, chosen.max_queued_seconds)
    service = new_service(*sessions, limits=limits, hooks=no_hooks if telemetry is None else telemetry.model)
    app = create_app(service, chosen, telemetry)
    app.state.server.open()
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(_enter(lifespan))
        try:
            yield InProcess(app, runner)
        finally:
            runner.run(_exit(lifespan))


async def _enter(lifespan: Any) -> None:
    await lifespan.__aenter__()


async def _exit(lifespan: Any) -> None:
    await lifespan.__aexit__(None, None, None)
