"""A real server on a free loopback port with a fake model, so that tests see what clients see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from antiphon.model_server import ModelServer, ModelSource
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import no_hooks
from antiphon.scheduling.queue import Limits
from antiphon.server.app import create_app, create_telemetry
from antiphon.server.connections import ConnectionLimits, ServerConfig
from antiphon.server.draining import DrainingServer, DrainLimits
from antiphon.server.listener import bind
from antiphon.service import SpeechService
from antiphon.settings import Settings
from antiphon.testing.fake import FakeSession, FakeVoice

DEFAULT_LIMITS = ConnectionLimits()


@dataclass(frozen=True)
class Server:
    """Where it listens, and what is inside."""

    port: int
    app: FastAPI
    models: ModelServer
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running(app: FastAPI, limits: ConnectionLimits) -> Iterator[int]:
    """Serve `app` in a thread; gives the port."""
    sockets = bind("127.0.0.1", 0)
    server = DrainingServer(ServerConfig(app, limits), app.state.server, DrainLimits(60.0, 0.0))
    thread = threading.Thread(target=server.run, args=(sockets,))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


StartServer = Callable[..., Server]


@contextmanager
def served(
    *sessions: AnySession,
    max_waiting: int,
    loaded: bool,
    source: ModelSource | None = None,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    **knobs: Any,
) -> Iterator[Server]:
    settings = Settings(max_waiting_units=max_waiting, **knobs)
    telemetry = create_telemetry(settings)
    models = ModelServer(
        source,
        limits=Limits(max_waiting, settings.max_queued_requests, settings.max_queued_seconds),
        hooks=no_hooks if telemetry is None else telemetry.model,
    )
    for session in sessions:
        models.add(session)
    app = create_app(SpeechService(models, max_input_characters=settings.max_input_characters), settings, telemetry)
    if loaded:
        app.state.server.open()
    try:
        with running(app, limits) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield Server(port, app, models, client)
    finally:
        models.close(drain=False)


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """`start_server(session, max_upload_bytes=…)`: a server with its own settings, stopped at the end of the test."""
    with ExitStack() as stack:

        def start(*sessions: AnySession, max_waiting: int = 100, loaded: bool = True, **settings: Any) -> Server:
            chosen = sessions or (() if "source" in settings else (FakeSession("fake", slots=4),))
            return stack.enter_context(served(*chosen, max_waiting=max_waiting, loaded=loaded, **settings))

        yield start


@pytest.fixture(scope="package")
def shared_server() -> Iterator[Server]:
    with served(FakeSession("fake", slots=4), FakeVoice(), max_waiting=100, loaded=True) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The server that most tests share. Whatever a test did to it, it must still answer afterwards."""
    yield shared_server
    assert shared_server.client.get("/v2/health/ready").status_code == 200
