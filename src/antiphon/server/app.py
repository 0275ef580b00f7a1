"""The HTTP application: routes and middleware around one `ServerState`. It loads no models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from antiphon._version import __version__
from antiphon.model_spec import enabled_metrics
from antiphon.server.api_keys import ApiKeys, configured_keys
from antiphon.server.errors import AnswerErrors, install_error_handlers
from antiphon.server.middleware.admission import LoadShedding
from antiphon.server.middleware.auth import RequireKey
from antiphon.server.middleware.body_limit import BodyLimit
from antiphon.server.middleware.metrics import CountRequests
from antiphon.server.middleware.origins import CheckOrigin, allowed_origins, host_names
from antiphon.server.middleware.paths import CollapseSlashes
from antiphon.server.middleware.request_id import REQUEST_ID, RequestId
from antiphon.server.requests.upload import Decoders
from antiphon.server.requests.upload_limits import UploadLimits
from antiphon.server.routes import config, health, metrics, models, speech, transcriptions, voices
from antiphon.server.state import ServerState
from antiphon.service import SpeechService
from antiphon.settings import Settings, listed
from antiphon.telemetry import Telemetry


def create_telemetry(settings: Settings) -> Telemetry | None:
    """The metrics that the settings or their config.json ask for; None if metrics are off."""
    names = enabled_metrics(settings)
    return None if names is None else Telemetry(names)


def create_app(
    service: SpeechService, settings: Settings, telemetry: Telemetry | None = None, keys: ApiKeys | None = None
) -> FastAPI:
    """The application, which closes the service's models at its end. It answers 503 until `app.state.server.open()`.

    `keys` are those of the settings if None. There are no pages at /docs and /redoc: FastAPI's load scripts from other hosts.
    """
    app = FastAPI(
        title="Antiphon",
        version=__version__,
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = ServerState(service, telemetry)
    app.state.settings = settings
    for routes in (transcriptions, speech, models, voices, config, health, metrics):
        app.include_router(routes.routes())
    install_error_handlers(app)
    _add_middleware(app, settings, telemetry, configured_keys(settings) if keys is None else keys)
    return app


def _add_middleware(app: FastAPI, settings: Settings, telemetry: Telemetry | None, keys: ApiKeys) -> None:
    """Add the middleware, innermost first: a request passes it from the last line to the first."""
    origins = allowed_origins(settings)
    app.add_middleware(LoadShedding)
    app.add_middleware(CollapseSlashes)
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes, max_characters=settings.max_input_characters)
    app.add_middleware(RequireKey, keys=keys)
    app.add_middleware(CheckOrigin, names=host_names(settings), origins=origins)
    app.add_middleware(AnswerErrors)
    if telemetry is not None:
        app.add_middleware(CountRequests, telemetry=telemetry)
    if origins:
        app.add_middleware(
            CORSMiddleware,  # outside of AnswerErrors: browsers read no error without these headers
            allow_credentials=settings.allow_credentials,
            allow_origins=origins,
            allow_methods=listed(settings.allowed_methods),
            allow_headers=listed(settings.allowed_headers),
            expose_headers=[REQUEST_ID],
        )
    app.add_middleware(RequestId)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    decoders = app.state.decoders = Decoders(settings.rest_workers)
    app.state.upload_limits = UploadLimits(settings)
    await asyncio.to_thread(decoders.start)
    try:
        yield
    finally:
        state: ServerState = app.state.server
        await asyncio.to_thread(state.close)
        await asyncio.to_thread(decoders.close)
