"""The server's state: loading, ready or draining, and what the routes may read in each."""

from __future__ import annotations

import time
from typing import Literal

from starlette.requests import HTTPConnection, Request

from antiphon.errors import Unavailable
from antiphon.model_server import RETRY_AFTER_S
from antiphon.service import SpeechService
from antiphon.telemetry import Telemetry
from antiphon.types.models import ModelLoad, ModelState, ReloadResult
from antiphon.types.results import ModelInfo

Health = Literal["loading", "ready", "unhealthy", "draining"]
CLOSE_TIMEOUT_S = 5.0  # the server closes the models when all requests have ended


class ServerState:
    """Loading until `open`, draining from `drain` on. Methods may be called from any thread.

    `telemetry` is None if metrics are off.
    """

    def __init__(self, service: SpeechService, telemetry: Telemetry | None = None) -> None:
        self.state: Literal["loading", "ready", "draining"] = "loading"
        self.opened = int(time.time())
        self.telemetry = telemetry
        self._service = service
        self._loaded = False

    def open(self) -> None:
        """The models are loaded: serve requests."""
        self._loaded = True
        self.opened = int(time.time())
        if self.state == "loading":
            self.state = "ready"

    def drain(self) -> None:
        """Refuse new requests; those inside go on."""
        self.state = "draining"

    def end_requests(self) -> None:
        """End the requests inside with Unavailable. Not blocking: a step that is running is not waited for."""
        self.drain()
        self._service.models.abandon()

    def close(self) -> None:
        """Drain, wait at most `CLOSE_TIMEOUT_S` for each model's requests, and close the models. Blocking."""
        self.drain()
        self._service.models.close(drain=True, timeout=CLOSE_TIMEOUT_S)

    @property
    def health(self) -> Health:
        """The state, or unhealthy if the server is ready but a worker of one of its models is dead or stuck."""
        return "unhealthy" if self.state == "ready" and not self._service.models.healthy else self.state

    @property
    def service(self) -> SpeechService:
        """The service. Unavailable unless the server is ready."""
        if self.state != "ready":
            raise self._unavailable()
        return self._service

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The models served, also while draining. Unavailable while loading, as a partial list would be wrong."""
        self._check_loaded()
        return self._service.models.info()

    def loads(self) -> tuple[ModelLoad, ...]:
        """How busy the models are; empty while loading."""
        return self._service.models.loads() if self._loaded else ()

    def states(self) -> tuple[ModelState, ...]:
        """The state of every model, including those that are loading, failed or removed."""
        return self._service.models.states()

    def reload(self) -> ReloadResult:
        """Read the configuration again and load what it names. Blocking. ConfigError if it cannot be read."""
        return self.service.models.reload()

    def model(self, name: str) -> ModelInfo:
        """The model with that name or alias. ModelNotFound; Unavailable while loading."""
        self._check_loaded()
        return self._service.models.resolve(name)

    def _check_loaded(self) -> None:
        if not self._loaded:
            raise self._unavailable()

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"The server is {self.state}; try again shortly.", retry_after=RETRY_AFTER_S)


def state_of(request: HTTPConnection) -> ServerState:
    """The state of the application that handles `request`."""
    state: ServerState = request.app.state.server
    return state


async def server_state(request: Request) -> ServerState:
    """The same as a dependency. A coroutine, as FastAPI runs plain functions in a thread."""
    return state_of(request)
