"""The HTTP application: routes, guard and failures put together around one door.

It builds nothing heavy and loads nothing; it must not know models or how the server is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from antiphon import __version__
from antiphon.api import admin, failures, metrics, speech, transcriptions
from antiphon.api.decoders import Decoders
from antiphon.api.door import Door
from antiphon.api.guard import REQUEST_ID, Gate, Identity, read_key
from antiphon.api.metrics import Metering
from antiphon.api.turnstile import Turnstile
from antiphon.engine.wanted import wanted_metrics, wanted_models
from antiphon.service.speech import SpeechService
from antiphon.settings import Settings, listed
from antiphon.telemetry import Telemetry


def create_app(service: SpeechService | None, settings: Settings) -> FastAPI:
    """The application, which closes the service it was given. Without one, 503 until `app.state.door.open(service)`."""
    asked = wanted_metrics(settings)
    telemetry = None if asked is None else Telemetry(asked)
    configured = tuple(each.name for each in wanted_models(settings)) if service is None else ()
    door = Door(configured, telemetry)
    if service is not None:
        door.open(service)
    app = FastAPI(title="Antiphon", version=__version__, lifespan=_lifespan, redirect_slashes=False)
    app.state.door = door
    app.state.settings = settings
    app.include_router(transcriptions.routes())
    app.include_router(speech.routes())
    app.include_router(admin.routes())
    app.include_router(metrics.routes())
    failures.install(app)
    key = read_key(settings.api_key_file) if settings.api_key_file is not None else settings.api_key()
    # The last one added is the first one met: identity, CORS (which a refusal needs too), the metering, the gate, the turnstile.
    app.add_middleware(Turnstile)
    app.add_middleware(Gate, key=key, max_bytes=settings.max_upload_bytes)
    if telemetry is not None:
        app.add_middleware(Metering, telemetry=telemetry)
    app.add_middleware(
        CORSMiddleware,
        allow_credentials=settings.allow_credentials,
        allow_origins=listed(settings.allowed_origins),
        allow_methods=listed(settings.allowed_methods),
        allow_headers=listed(settings.allowed_headers),
        expose_headers=[REQUEST_ID],
    )
    app.add_middleware(Identity)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    decoders = app.state.decoders = Decoders(settings.rest_workers)
    try:
        yield
    finally:
        door: Door = app.state.door
        await asyncio.to_thread(door.close)
        await asyncio.to_thread(decoders.close)
