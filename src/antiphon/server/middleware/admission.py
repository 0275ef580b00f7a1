"""Load shedding: refuses a request before its body is read, while the queue is full or no model works."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import Overloaded, Unavailable
from antiphon.server.middleware.metrics import count_unadmitted, task_of
from antiphon.server.state import state_of
from antiphon.types.options import ModelTask

_TASKS: dict[str, ModelTask] = {"transcriptions": "transcribe", "translations": "translate", "speech": "speak"}


class LoadShedding:
    """Raises `Overloaded` when no model of the request's task has room, and `Unavailable` when none works. A websocket counts
    as a transcription.

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
            except (Overloaded, Unavailable):
                count_unadmitted(Request(scope), None, _TASKS[name], streamed=False)
                raise
        await self.app(scope, receive, send)


def _check_room(scope: Scope, task: ModelTask) -> None:
    state = state_of(HTTPConnection(scope))
    if state.state == "ready":
        state.service.models.check_room(task)
