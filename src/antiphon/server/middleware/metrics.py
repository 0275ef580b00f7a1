"""Counts requests for text and speech, from the first byte of the request to the last of the answer."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import AntiphonError, Refusal
from antiphon.server.state import state_of
from antiphon.telemetry import Telemetry
from antiphon.types.options import ModelTask

TASKS = ("transcriptions", "translations", "speech")
REJECTED_STATUSES = (429, 503)  # no work was done; the client may send the request again
_SCOPE_KEY = "antiphon.request_count"


class CountRequests:
    """Plain ASGI middleware: puts a `RequestCount` into the scope of each request, and passes it the answer's messages."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self.app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = task_of(scope)
        if task is None:
            await self.app(scope, receive, send)
            return
        count = RequestCount(self._telemetry, task)

        async def counted_send(message: Message) -> None:
            count.on_send(message)  # before sending: a client with the whole answer finds it counted
            await send(message)

        try:
            await self.app({**scope, _SCOPE_KEY: count}, receive, counted_send)
        finally:
            count.close()


class RequestCount:
    """The outcome of one request. Requests without a model that is served are counted by their status alone."""

    def __init__(self, telemetry: Telemetry, task: str) -> None:
        self._telemetry = telemetry
        self._task = task
        self._begun = self._read = time.perf_counter()
        self._model: str | None = None  # until it is known, and again after the end
        self._streamed = False
        self._status = 0
        self._audio_sent = False
        self._failed = False

    def on_model(self, model: str, *, streamed: bool) -> None:
        """The request has been read and is for `model`."""
        self._read = time.perf_counter()
        self._model = model
        self._streamed = streamed
        self._record("ovms_current_requests")

    def on_refusal(self, reason: Refusal) -> None:
        """The request's upload is refused."""
        self._record("antiphon_refused_total", reason=reason)

    def on_stream_failure(self) -> None:
        """The answer began as a success and ends with an error."""
        self._failed = True

    def on_send(self, message: Message) -> None:
        """A message of the answer is about to be sent."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._telemetry.record("antiphon_requests_total", task=self._task, status=str(self._status))
            rejected = self._status in REJECTED_STATUSES
            self._record("ovms_requests_rejected" if rejected else "ovms_requests_accepted")
        elif message["type"] == "http.response.body":
            if message.get("body"):
                self._on_body()
            if not message.get("more_body", False):
                self._end(complete=True)

    def close(self) -> None:
        """The request is over, however it ended."""
        self._end(complete=False)

    def _end(self, *, complete: bool) -> None:
        if self._model is None:
            return
        self._record("ovms_current_requests", -1.0)
        if self._status not in REJECTED_STATUSES:
            self._record_outcome(complete)
        self._model = None

    def _record_outcome(self, complete: bool) -> None:
        if not self._status:  # the server stopped before there was an answer
            self._record("ovms_requests_accepted")
        if not complete or self._failed or not self._is_success():
            self._record("ovms_requests_fail")
            self._record("ovms_graph_error")
            return
        now = time.perf_counter()
        self._record("ovms_requests_success")
        self._record("ovms_request_time_us", now - self._begun)
        self._record("ovms_graph_processing_time_us", now - self._read)
        if not self._streamed:
            self._record("ovms_responses")

    def _on_body(self) -> None:
        if self._model is None or not self._is_success():
            return
        if self._streamed:
            self._record("ovms_responses")
        if self._task == "speech" and not self._audio_sent:
            self._record("antiphon_first_audio_seconds", time.perf_counter() - self._begun)
        self._audio_sent = True

    def _record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        if self._model is not None:
            method = "Stream" if self._streamed else "Unary"
            self._telemetry.record(metric, value, name=self._model, method=method, **labels)

    def _is_success(self) -> bool:
        return 200 <= self._status < 400


def count_for_model(request: Request, model: str, *, streamed: bool) -> None:
    """Count a request under the name of the model that admission found for it."""
    count = _count_of(request)
    if count is not None:
        count.on_model(model, streamed=streamed)


def count_unadmitted(request: Request, model: str | None, task: ModelTask, *, streamed: bool) -> None:
    """Count a request that is refused before admission under the model it names, if there is one."""
    if _count_of(request) is None:
        return
    try:
        info = state_of(request).service.models.resolve(model, task)
    except AntiphonError:
        return  # unknown names must not become labels
    count_for_model(request, info.name, streamed=streamed)


def count_refused(request: Request, task: ModelTask, reason: Refusal) -> None:
    """Count a request whose upload is refused, under the default model of its task."""
    count_unadmitted(request, None, task, streamed=False)
    count = _count_of(request)
    if count is not None:
        count.on_refusal(reason)


def count_stream_failure(request: Request) -> None:
    """Count a streamed answer that ends with an error as a failure."""
    count = _count_of(request)
    if count is not None:
        count.on_stream_failure()


def task_of(scope: Scope) -> str | None:
    """The task of a request by the end of its path, whatever slashes it has; None for other requests."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    *_, group, last = ("", "", *(part for part in scope["path"].split("/") if part))
    return last if group == "audio" and last in TASKS else None


def _count_of(request: Request) -> RequestCount | None:
    count: RequestCount | None = request.scope.get(_SCOPE_KEY)
    return count
