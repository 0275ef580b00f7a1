"""Runs the server: binds the port, answers health checks at once, loads the models in a thread, drains on a signal."""

from __future__ import annotations

import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from antiphon.errors import AntiphonError, ConfigError
from antiphon.hub.pull import ByteProgress
from antiphon.loader import DEFAULT_RECOGNISER, LoadOptions, built_in_models, download
from antiphon.model_server import ModelServer, ModelSource
from antiphon.model_spec import config_of, load, model_specs
from antiphon.scheduling.hooks import no_hooks
from antiphon.scheduling.queue import Limits
from antiphon.server.api_keys import configured_keys, generated_keys
from antiphon.server.app import create_app, create_telemetry
from antiphon.server.state import ServerState
from antiphon.service import SpeechService
from antiphon.settings import Settings, listed
from antiphon.supervision import Supervisor, exit_process
from antiphon.types.options import Report
from antiphon.types.results import ModelInfo

logger = logging.getLogger(__name__)

TRACE = 5  # OVMS's level below DEBUG


def run_server(
    settings: Settings,
    report: Report = logger.info,
    progress: ByteProgress = lambda name, done, total: None,
) -> None:
    """Serve the models of the settings until a signal comes.

    `report` receives a line for each model, and one when ready; `progress` is that of a model being downloaded.
    """
    _set_up_logging(settings.log_level, settings.log_path)
    sockets = bind(settings.rest_bind_address, settings.rest_port)
    try:
        _run(settings, sockets, report, progress)
    finally:
        for listener in sockets:
            listener.close()


def _run(settings: Settings, sockets: list[socket.socket], report: Report, progress: ByteProgress) -> None:
    telemetry = create_telemetry(settings)
    models = ModelServer(
        ModelSource(
            read=lambda: model_specs(settings),
            load=lambda spec: load(spec, settings, logger.info, progress),
            announce=lambda sessions: report(summary(sessions[0].info, sum(session.slots for session in sessions))),
        ),
        limits=Limits(settings.max_waiting_units, settings.max_queued_requests, settings.max_queued_seconds),
        hooks=no_hooks if telemetry is None else telemetry.model,
    )
    service = SpeechService(models, max_input_characters=settings.max_input_characters)
    keys = configured_keys(settings)
    if not (keys.required or settings.no_auth or is_loopback(sockets)):
        keys = generated_keys(report)  # last, after the settings are found to be right
    app = create_app(service, settings, telemetry, keys)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=logger.isEnabledFor(logging.DEBUG),
        server_header=False,
        timeout_keep_alive=75,  # seconds; clients keep connections for 60 s, and lose a request sent into a closed one
    )
    server = DrainingServer(config, app.state.server)
    loading = Loading(settings, models, server, url_of(sockets[0]), report, progress)
    loading.start()
    Supervisor(models, stall_seconds=settings.stall_seconds, exit=exit_process).start()
    server.run(sockets)
    if models.closed.is_set() and not models.stopped:
        exit_process(models)
    if loading.error is not None:
        raise loading.error


class DrainingServer(uvicorn.Server):
    """A uvicorn server that refuses new requests once a signal has come, finishes the others, and exits with 0."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self.state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.state.drain()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn's version raises the signal again after draining: the process would end by it, as in a crash.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Loading(threading.Thread):
    """Loads the models while the server already answers; if none can be loaded, keeps the error and stops the server."""

    def __init__(
        self,
        settings: Settings,
        models: ModelServer,
        server: DrainingServer,
        url: str,
        report: Report,
        progress: ByteProgress,
    ) -> None:
        super().__init__(name="antiphon-loading", daemon=True)
        self.error: AntiphonError | None = None
        self._settings = settings
        self._server = server
        self._url = url
        self._models = models
        self._report = report
        self._progress = progress

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
            logger.info(
                "No voice is served; pip install 'antiphon[espeak]' adds eSpeak NG, or name one in a config.json."
            )
        if not named:  # refused before anything else is loaded if it can be neither found nor downloaded
            options = LoadOptions(offline=settings.offline, report=logger.info, progress=self._progress, setting=None)
            download(DEFAULT_RECOGNISER, options)
        failed = self._models.reload().failed
        if failed and not self._models.info():
            raise _none_of(failed)
        if failed and not named:  # the default models load unless a setting is wrong or a download fails
            raise next(iter(failed.values()))
        gc.collect()
        gc.freeze()  # else each full collection stops every thread for 90 ms, health checks and refusals included
        self._server.state.open()
        if not self._server.should_exit:
            self._report(f"Ready at {self._url}")
        if config_of(settings) is not None and settings.file_system_poll_wait_seconds > 0:
            self._models.watch(settings.file_system_poll_wait_seconds)

    def _fail(self, error: AntiphonError) -> None:
        if not self._server.should_exit:  # else the models could not be loaded because the server is closing
            self.error = error
        self._server.should_exit = True


def _none_of(failed: dict[str, AntiphonError]) -> AntiphonError:
    first = next(iter(failed.values()))
    if len(failed) == 1:
        return first
    return ConfigError(f"None of the {len(failed)} models can be loaded; the first is {next(iter(failed))}: {first}")


def summary(info: ModelInfo, slots: int) -> str:
    """One line about a loaded model: where it runs, how its weights are stored, and why if that was not obvious."""
    why = f" ({info.reason})" if info.reason else ""
    return (
        f"Serving {info.name} from {info.path}: {info.backend} backend on {info.device}{why}, "
        f"precision {info.precision}, weights {info.weight_format}, {slots} slots"
    )


def bind(addresses: str, port: int) -> list[socket.socket]:
    """A listening socket for each of the comma-separated addresses. ConfigError names the one that cannot be used."""
    sockets: list[socket.socket] = []
    for address in listed(addresses):
        try:
            family, kind, protocol, _, endpoint = socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Otherwise [::] takes the port of 0.0.0.0 too, and the two cannot be used together.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(endpoint)
            listener.listen()  # with SO_REUSEADDR, an address in use may fail only here
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be a host's, such as a..b
            for opened in sockets:
                opened.close()
            taken = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            raise ConfigError(
                f"cannot listen on {address} port {port} ({reason}); choose another {'port' if taken else 'address'}.",
                setting="rest_port" if taken else "rest_bind_address",
            ) from error
    if not sockets:
        raise ConfigError("no address is given; 0.0.0.0 is every IPv4 address.", setting="rest_bind_address")
    return sockets


def is_loopback(listeners: Iterable[socket.socket]) -> bool:
    """Whether only programs on this machine can reach the listeners."""
    return all(ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback for listener in listeners)


def url_of(listener: socket.socket) -> str:
    """The address at which a client on this machine reaches the listener."""
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
            # Readable by the user and the group only; FileHandler would make it readable by all.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640))
            handlers.append(logging.FileHandler(path, encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot write {path} ({error.strerror}).", setting="log_path") from error
    logging.basicConfig(level=number, handlers=handlers, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("python_multipart").setLevel(max(number, logging.ERROR))  # warns about each malformed form
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)
