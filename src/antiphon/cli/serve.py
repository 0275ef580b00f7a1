"""`antiphon serve`: bind the port, answer health at once, load the model behind it, drain on a signal.

Its flags are the settings table. It must not know routes, or how a model is loaded.
"""

from __future__ import annotations

import inspect
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
import uvicorn
from pydantic.fields import FieldInfo

from antiphon.api.app import create_app
from antiphon.api.door import Door
from antiphon.engine.registry import ESPEAK, load_session, models_of
from antiphon.errors import AntiphonError, ConfigError
from antiphon.service.speech import SpeechService
from antiphon.settings import PREFIX, Settings, load_settings
from antiphon.types import ModelInfo

logger = logging.getLogger(__name__)

TRACE = 5  # OVMS's level below DEBUG


def serve(**flags: object) -> None:
    """Serve a model until a signal comes."""
    settings = load_settings({name: value for name, value in flags.items() if value is not None})
    _set_up_logging(settings.log_level)
    app = create_app(None, settings)
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
    server = DrainingServer(config, app.state.door)
    loading = Loading(settings, server, url_of(sockets[0]))
    loading.start()
    try:
        server.run(sockets)
    finally:
        for each in sockets:
            each.close()
    if loading.error is not None:
        raise loading.error


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """One knob as a flag. Its default is None, so that a flag left out leaves the word to the environment."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    unit = f" In {extra['unit']}." if extra.get("unit") not in (None, "windows") else ""
    default = "" if field.default is None else f"; default {field.default}"
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description}{unit} [{PREFIX}{name.upper()}{default}]",
        show_default=False,
        case_sensitive=False,
    )
    kind: Any = field.annotation
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _derive_flags(command: Any) -> None:
    parameters = [_parameter(name, field) for name, field in Settings.model_fields.items()]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}


_derive_flags(serve)


class DrainingServer(uvicorn.Server):
    """Uvicorn that turns new work away as soon as a signal comes, and then ends as a success, not as a victim of it."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self.door = door

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.door.drain()
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
    """Loads the model while the server already answers; on failure keeps the error and stops the server."""

    def __init__(self, settings: Settings, server: DrainingServer, url: str) -> None:
        super().__init__(name="antiphon-loading", daemon=True)
        self.error: AntiphonError | None = None
        self._settings = settings
        self._server = server
        self._url = url
        self._models = models_of(settings.model_path)

    def run(self) -> None:
        try:
            self._load()
        except AntiphonError as error:
            self._fail(error)
        except Exception as error:
            logger.debug("loading failed", exc_info=True)
            self._fail(ConfigError(f"Cannot load {', '.join(self._models)}: {error}"))

    def _load(self) -> None:
        settings = self._settings
        service = SpeechService(
            max_waiting=settings.max_waiting_units, max_input_characters=settings.max_input_characters
        )
        if settings.model_path is None and ESPEAK not in self._models:
            logger.warning("espeak is not installed, so nothing speaks: pip install 'antiphon[espeak]'")
        speaker = None
        if settings.speaker_name is not None and settings.speaker_path is not None:
            speaker = (settings.speaker_name, settings.speaker_path)
        for model in self._models:
            session = load_session(
                model,
                precision=settings.precision,
                weight_format=settings.weight_format,
                device=settings.target_device,
                slots=settings.slots,
                name=settings.model_name if model == settings.model_path else None,
                report=logger.info,
                cache_dir=settings.cache_dir,
                vocoder=settings.vocoder,
                speaker=speaker,
            )
            service.load(session)
            typer.echo(summary(session.info, session.slots))
        self._server.door.open(service)
        if not self._server.should_exit:
            typer.echo(f"Ready at {self._url}")

    def _fail(self, error: AntiphonError) -> None:
        self.error = error
        self._server.should_exit = True


def summary(info: ModelInfo, slots: int) -> str:
    """What was chosen, on one line."""
    return (
        f"Serving {info.name} from {info.path}: {info.backend} backend on {info.device}, "
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
            fix = "choose another --rest_port" if port else "choose another --rest_bind_address"
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


def _set_up_logging(level: str) -> None:
    logging.addLevelName(TRACE, "TRACE")
    number = logging.getLevelNamesMapping()[level]
    logging.basicConfig(level=number, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)
