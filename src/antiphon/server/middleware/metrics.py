"""GET /metrics, and how requests come to be counted: one tally each, from the first byte to the last.

It knows statuses and models by name; it must not know audio, nor how a model works.
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import AntiphonError
from antiphon.server.schemas import ErrorDetail, ErrorReply
from antiphon.server.state import ServerState, server_state, state_of
from antiphon.telemetry import CONTENT_TYPE, Telemetry
from antiphon.types.options import ModelTask

TASKS = ("transcriptions", "translations", "speech")
TURNED_AWAY = (429, 503)  # nothing was done about these requests; whoever sent them may try again
_TALLY = "antiphon.tally"


class CountRequests:
    """Gives each request for text or speech a tally, and tells it of the answer as it goes out. Plain ASGI."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self.app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = task_of(scope)
        if task is None:
            await self.app(scope, receive, send)
            return
        tally = RequestCount(self._telemetry, task)

        async def counted_send(message: Message) -> None:
            tally.sends(message)  # before it goes: whoever has the whole answer finds it counted
            await send(message)

        try:
            await self.app({**scope, _TALLY: tally}, receive, counted_send)
        finally:
            tally.close()


class RequestCount:
    """What becomes of one request. Requests that name no model we have are counted by their status alone."""

    def __init__(self, telemetry: Telemetry, task: str) -> None:
        self._telemetry = telemetry
        self._task = task
        self._begun = self._read = time.perf_counter()
        self._model: str | None = None  # until it is known, and again after the end
        self._streamed = False
        self._status = 0
        self._sounded = False
        self._broken = False

    def asked(self, model: str, *, streamed: bool) -> None:
        """The request has been read, and is for this model."""
        self._read = time.perf_counter()
        self._model = model
        self._streamed = streamed
        self._record("ovms_current_requests")

    def broke(self) -> None:
        """The answer told of an error after it had begun as a success."""
        self._broken = True

    def sends(self, message: Message) -> None:
        """A piece of the answer is about to leave."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._telemetry.record("antiphon_requests_total", task=self._task, status=str(self._status))
            self._record("ovms_requests_rejected" if self._status in TURNED_AWAY else "ovms_requests_accepted")
        elif message["type"] == "http.response.body":
            if message.get("body"):
                self._piece()
            if not message.get("more_body", False):
                self._end(whole=True)

    def close(self) -> None:
        """Nothing more will come, however the request ended."""
        self._end(whole=False)

    def _end(self, *, whole: bool) -> None:
        if self._model is None:
            return
        self._record("ovms_current_requests", -1.0)
        if self._status not in TURNED_AWAY:
            self._record_outcome(whole)
        self._model = None

    def _record_outcome(self, whole: bool) -> None:
        if not self._status:  # the server itself ended before there was an answer
            self._record("ovms_requests_accepted")
        if not whole or self._broken or not self._is_fine():
            self._record("ovms_requests_fail")
            self._record("ovms_graph_error")
            return
        now = time.perf_counter()
        self._record("ovms_requests_success")
        self._record("ovms_request_time_us", now - self._begun)
        self._record("ovms_graph_processing_time_us", now - self._read)
        if not self._streamed:
            self._record("ovms_responses")

    def _piece(self) -> None:
        if self._model is None or not self._is_fine():
            return
        if self._streamed:
            self._record("ovms_responses")
        if self._task == "speech" and not self._sounded:
            self._record("antiphon_first_audio_seconds", time.perf_counter() - self._begun)
        self._sounded = True

    def _record(self, metric: str, value: float = 1.0) -> None:
        if self._model is not None:
            method = "Stream" if self._streamed else "Unary"
            self._telemetry.record(metric, value, name=self._model, method=method)

    def _is_fine(self) -> bool:
        return 200 <= self._status < 400


def asked(request: Request, model: str | None, task: ModelTask, *, streamed: bool) -> None:
    """A handler has read the request so far as to know which model it is for; count it there, if anybody counts."""
    tally: RequestCount | None = request.scope.get(_TALLY)
    if tally is None:
        return
    try:
        name = state_of(request).service.resolve(model, task).name
    except AntiphonError:
        return  # what comes to nothing is no model's; the handler says so in its turn
    tally.asked(name, streamed=streamed)


def broke(request: Request) -> None:
    """A handler had to end a streamed answer with an error."""
    tally: RequestCount | None = request.scope.get(_TALLY)
    if tally is not None:
        tally.broke()


def task_of(scope: Scope) -> str | None:
    """Which of the tasks a request is for, by the end of its path, whatever slashes it has."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    *_, group, last = ("", "", *(part for part in scope["path"].split("/") if part))
    return last if group == "audio" and last in TASKS else None


async def metrics(door: Annotated[ServerState, Depends(server_state)]) -> Response:
    """How the server does, for Prometheus. Open without a key, as the OpenVINO Model Server has it."""
    if door.telemetry is None:
        message = "There are no metrics here: start the server with --metrics_enable."
        detail = ErrorDetail(message=message, type="invalid_request_error", param=None, code="not_found")
        return JSONResponse(ErrorReply(error=detail).model_dump(), 404)
    return Response(door.telemetry.render(door.loads()), media_type=CONTENT_TYPE)


def routes() -> APIRouter:
    """The router with the above."""
    router = APIRouter(tags=["server"])
    router.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 404: {"model": ErrorReply}},
    )
    return router
