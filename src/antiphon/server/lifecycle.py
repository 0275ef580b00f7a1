"""The server's life: bind the port, answer health at once, load the models behind it, drain on a signal.

It must not know flags, routes, or how a model is loaded.
"""

from __future__ import annotations

import errno
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer
import uvicorn

from antiphon.errors import AntiphonError, ConfigError
from antiphon.loader import built_in_models
from antiphon.model_server import ModelServer, ModelSource
from antiphon.model_spec import config_of, load, model_specs
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import no_hooks
from antiphon.scheduling.queue import Limits
from antiphon.server.app import create_app, create_telemetry
from antiphon.server.state import ServerState
from antiphon.service import SpeechService
from antiphon.settings import Settings
from antiphon.types.results import ModelInfo

logger = logging.getLogger(__name__)

TRACE = 5  # OVMS's level below DEBUG


def run_server(settings: Settings) -> None:
    """Serve what the settings ask for until a signal comes."""
    _set_up_logging(settings.log_level, settings.log_path)
    telemetry = create_telemetry(settings)
    models = ModelServer(
        ModelSource(
            read=lambda: model_specs(settings),
            load=lambda spec: load(spec, settings, report=logger.info),
            announce=_announce,
        ),
        limits=Limits(settings.max_waiting_units, settings.max_queued_requests, settings.max_queued_seconds),
        hooks=no_hooks if telemetry is None else telemetry.model,
    )
    service = SpeechService(models, max_input_characters=settings.max_input_characters)
    app = create_app(service, settings, telemetry)
    sockets = bind(settings.rest_bind_address, settings.rest_port)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=logger.isEnabledFor(logging.DEBUG),
        server_header=False,
        timeout_keep_alive=75,  # seconds; clients keep connections for a minute, and lose what they send into a closed one
    )
    server = DrainingServer(config, app.state.server)
    loading = Loading(settings, models, server, url_of(sockets[0]))
    loading.start()
    try:
        server.run(sockets)
    finally:
        for each in sockets:
            each.close()
    if loading.error is not None:
        raise loading.error


class DrainingServer(uvicorn.Server):
    """Uvicorn that turns new work away as soon as a signal comes, and then ends as a success, not as a victim of it."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self.state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.state.drain()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn's own raises the signal again once all is drained, which would be reported as a crash.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


class Loading(threading.Thread):
    """Loads the models while the server already answers; if none can be, keeps the error and stops the server."""

    def __init__(self, settings: Settings, models: ModelServer, server: DrainingServer, url: str) -> None:
        super().__init__(name="antiphon-loading", daemon=True)
        self.error: AntiphonError | None = None
        self._settings = settings
        self._server = server
        self._url = url
        self._models = models

    def run(self) -> None:
        try:
            self._load()
        except AntiphonError as error:
            self._fail(error)
        except Exception as error:
            logger.debug("loading failed", exc_info=True)
            self._fail(ConfigError(f"Cannot load the models: {error}"))

    def _load(self) -> None:
        settings = self._settings
        named = config_of(settings) or settings.model_path or settings.source_model
        if not named and not built_in_models():
            raise ConfigError("No model to serve: name one with --model_path, or pip install 'antiphon[espeak]'.")
        if not named:
            logger.info("Without a named model only espeak is served; name a recogniser with --model_path.")
        failed = self._models.reload().failed
        if failed and not self._models.info():
            raise _none_of(failed)
        if failed and not named:  # what comes with the package can be loaded, unless a flag is wrong
            raise next(iter(failed.values()))
        gc.collect()
        gc.freeze()  # a collection of all that is there by now stops every thread for 90 ms, a refusal's and health's too
        self._server.state.open()
        if not self._server.should_exit:
            typer.echo(f"Ready at {self._url}")
        if config_of(settings) is not None and settings.file_system_poll_wait_seconds > 0:
            self._models.watch(settings.file_system_poll_wait_seconds)

    def _fail(self, error: AntiphonError) -> None:
        if not self._server.should_exit:  # else the models could not be loaded because the server is closing
            self.error = error
        self._server.should_exit = True


def _announce(session: AnySession) -> None:
    typer.echo(summary(session.info, sum(each.slots for each in (session, *session.twins))))


def _none_of(failed: dict[str, AntiphonError]) -> AntiphonError:
    first = next(iter(failed.values()))
    if len(failed) == 1:
        return first
    return ConfigError(f"None of the {len(failed)} models can be loaded; the first is {next(iter(failed))}: {first}")


def summary(info: ModelInfo, slots: int) -> str:
    """What was chosen, on one line."""
    why = f" ({info.reason})" if info.reason else ""
    return (
        f"Serving {info.name} from {info.path}: {info.backend} backend on {info.device}{why}, "
        f"precision {info.precision}, weights {info.weight_format}, {slots} slots"
    )


def bind(addresses: str, port: int) -> list[socket.socket]:
    """A listening socket for each of the comma-separated addresses. ConfigError names the one that cannot be had."""
    sockets: list[socket.socket] = []
    for address in filter(None, (part.strip() for part in addresses.split(","))):
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Else [::] takes the port of 0.0.0.0 too, and the two cannot stand side by side.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(where)
            listener.listen()  # with SO_REUSEADDR, an address that is taken may be told only now
        except OSError as error:
            for each in sockets:
                each.close()
            taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            fix = "choose another --rest_port" if taken else "choose another --rest_bind_address"
            raise ConfigError(f"Cannot listen on {address} port {port} ({error.strerror}): {fix}.") from error
    if not sockets:
        raise ConfigError("--rest_bind_address names no address; 0.0.0.0 is every one.")
    return sockets


def url_of(listener: socket.socket) -> str:
    """The address to type into a client on this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _set_up_logging(level: str, path: Path | None) -> None:
    logging.addLevelName(TRACE, "TRACE")
    number = logging.getLevelNamesMapping()[level]
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None:
        try:
            handlers.append(logging.FileHandler(path, encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"--log_path {path}: cannot be written ({error.strerror}).") from error
    logging.basicConfig(level=number, handlers=handlers, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)
