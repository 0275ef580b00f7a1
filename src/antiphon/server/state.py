"""Is there a service behind the routes yet, or still? Loading, ready, draining: one place knows.

It holds the service for the routes; it must not know how a model is loaded, nor a request.
"""

from __future__ import annotations

import time
from typing import Literal

from starlette.requests import Request

from antiphon.errors import Unavailable
from antiphon.model_server import ModelState, Outcome, Pool
from antiphon.service import ModelLoad, SpeechService
from antiphon.telemetry import Telemetry
from antiphon.types.results import ModelInfo

_RETRY_AFTER = 5.0  # seconds; about what a starter model takes to load


class ServerState:
    """Opened once when the model is loaded, closed once when the server stops. Safe to call from any thread."""

    def __init__(self, configured: tuple[str, ...], telemetry: Telemetry | None = None) -> None:
        self.state: Literal["loading", "ready", "draining"] = "loading"
        self.opened = int(time.time())
        self.pool: Pool | None = None  # whoever loads more than one model, and while serving, puts it here
        self.telemetry = telemetry  # None where nobody asked for metrics
        self._configured = configured
        self._service: SpeechService | None = None

    def open(self, service: SpeechService) -> None:
        """From now on requests are served."""
        if self.telemetry is not None:
            service.observe(self.telemetry.model)
        self._service = service
        self.opened = int(time.time())
        if self.state == "loading":
            self.state = "ready"

    def drain(self) -> None:
        """From now on new requests are turned away; those inside go on."""
        self.state = "draining"

    def close(self) -> None:
        """Wait for the requests inside, then let the service go. Blocking."""
        self.drain()
        if self.pool is not None:
            self.pool.close()
        if self._service is not None:
            self._service.close(drain=True)

    @property
    def service(self) -> SpeechService:
        """The service, or Unavailable."""
        if self.state != "ready" or self._service is None:
            raise self._unavailable()
        return self._service

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The models served, in their order, to the end; Unavailable while they are loading: half a list is a wrong one."""
        if self._service is None:
            raise self._unavailable()
        return self._service.info()

    def loads(self) -> tuple[ModelLoad, ...]:
        """How busy the models served are."""
        return () if self._service is None else self._service.loads()

    def states(self) -> tuple[ModelState, ...]:
        """Where every model stands, those that could not be loaded or are gone included."""
        if self.pool is not None and (states := self.pool.states()):
            return states
        if self._service is None:
            return tuple(ModelState(name, "LOADING") for name in self._configured)
        return tuple(ModelState(info.name, "AVAILABLE") for info in self._service.info())

    def reload(self) -> Outcome:
        """Bring what is served in line with what is wanted now. Blocking; ConfigError if that cannot be read."""
        _ = self.service  # Unavailable, unless it is open
        return self.pool.reload() if self.pool is not None else Outcome(False, {})

    def model(self, name: str) -> ModelInfo:
        """The model that `name` stands for (an alias, or its own), or ModelNotFound; Unavailable while they are loading."""
        if self._service is None:
            raise self._unavailable()
        return self._service.resolve(name)

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"The server is {self.state}; try again shortly.", retry_after=_RETRY_AFTER)


def state_of(request: Request) -> ServerState:
    """The door of the application this request came to."""
    door: ServerState = request.app.state.door
    return door


async def server_state(request: Request) -> ServerState:
    """The same for a route that depends on it: FastAPI calls what is no coroutine on another thread."""
    return state_of(request)
