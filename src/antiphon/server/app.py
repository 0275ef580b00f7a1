"""The HTTP application: routes, guard and failures put together around one door.

It builds nothing heavy and loads nothing; it must not know models or how the server is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from antiphon._version import __version__
from antiphon.model_spec import wanted_metrics
from antiphon.server import errors as failures
from antiphon.server.middleware.admission import LoadShedding
from antiphon.server.middleware.auth import REQUEST_ID, Gate, RequestId, read_key
from antiphon.server.middleware.metrics import CountRequests
from antiphon.server.requests.upload import Decoders
from antiphon.server.routes import metrics, speech, transcriptions
from antiphon.server.routes import models as admin
from antiphon.server.state import ServerState
from antiphon.service import SpeechService
from antiphon.settings import Settings, listed
from antiphon.telemetry import Telemetry


def create_telemetry(settings: Settings) -> Telemetry | None:
    """The metrics that the settings or their config.json ask for; None if metrics are off."""
    names = wanted_metrics(settings)
    return None if names is None else Telemetry(names)


def create_app(service: SpeechService, settings: Settings, telemetry: Telemetry | None = None) -> FastAPI:
    """The application, which closes the service's models at its end. It answers 503 until `app.state.server.open()`."""
    app = FastAPI(title="Antiphon", version=__version__, lifespan=_lifespan, redirect_slashes=False)
    app.state.server = ServerState(service, telemetry)
    app.state.settings = settings
    app.include_router(transcriptions.routes())
    app.include_router(speech.routes())
    app.include_router(admin.routes())
    app.include_router(metrics.routes())
    failures.install(app)
    key = read_key(settings.api_key_file) if settings.api_key_file is not None else settings.api_key()
    # The last one added is the first one met: identity, CORS (which a refusal needs too), the metering, the gate, the turnstile.
    app.add_middleware(LoadShedding)
    app.add_middleware(Gate, key=key, max_bytes=settings.max_upload_bytes)
    if telemetry is not None:
        app.add_middleware(CountRequests, telemetry=telemetry)
    app.add_middleware(
        CORSMiddleware,
        allow_credentials=settings.allow_credentials,
        allow_origins=listed(settings.allowed_origins),
        allow_methods=listed(settings.allowed_methods),
        allow_headers=listed(settings.allowed_headers),
        expose_headers=[REQUEST_ID],
    )
    app.add_middleware(RequestId)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    decoders = app.state.decoders = Decoders(settings.rest_workers)
    try:
        yield
    finally:
        state: ServerState = app.state.server
        await asyncio.to_thread(state.close)
        await asyncio.to_thread(decoders.close)
