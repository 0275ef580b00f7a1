"""Runs the server: binds the port, answers health checks at once, loads the models in a thread, drains on a signal."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace

from fastapi import FastAPI

from antiphon.hub.pull import ByteProgress
from antiphon.model_server import ModelServer, ModelSource
from antiphon.model_spec import load, model_specs
from antiphon.scheduling.hooks import no_hooks
from antiphon.scheduling.queue import Limits
from antiphon.server.api_keys import configured_keys, generated_keys
from antiphon.server.app import create_app, create_telemetry
from antiphon.server.connections import ConnectionLimits, ServerConfig
from antiphon.server.descriptors import connection_limit, raise_descriptor_limit
from antiphon.server.draining import DrainingServer, DrainLimits
from antiphon.server.listener import bind, is_loopback, url_of
from antiphon.server.loading import Loading, summary
from antiphon.server.logs import set_up_logging
from antiphon.service import SpeechService
from antiphon.settings import Settings
from antiphon.supervision import Supervisor, exit_process
from antiphon.types.options import Report

logger = logging.getLogger(__name__)


def run_server(
    settings: Settings,
    report: Report = logger.info,
    progress: ByteProgress = lambda name, done, total: None,
) -> None:
    """Serve the models of the settings until a signal comes.

    `report` receives a line for each model, and one when ready; `progress` is that of a model being downloaded.
    """
    set_up_logging(settings.log_level, settings.log_path)
    sockets = bind(settings.rest_bind_address, settings.rest_port)
    try:
        _run(settings, sockets, report, progress)
    finally:
        for listener in sockets:
            listener.close()


def _run(settings: Settings, sockets: list[socket.socket], report: Report, progress: ByteProgress) -> None:
    limits = connection_limits(settings)
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
    keys = configured_keys(settings, report)
    if not (keys.required or settings.no_auth or is_loopback(sockets)):
        keys = generated_keys(report)  # last, after the settings are found to be right
    app = create_app(service, settings, telemetry, keys)
    server = create_server(app, settings, limits)
    loading = Loading(settings, models, server, url_of(sockets[0]), report, progress)
    loading.start()
    Supervisor(models, stall_seconds=settings.stall_seconds, exit=exit_process).start()
    server.run(sockets)
    if models.closed.is_set() and not models.stopped:
        exit_process(models)
    if loading.error is not None:
        raise loading.error


def create_server(app: FastAPI, settings: Settings, limits: ConnectionLimits) -> DrainingServer:
    """The server of an application, with the limits of its connections; `run` serves until a signal comes."""
    config = ServerConfig(app, limits, access_log=logger.isEnabledFor(logging.DEBUG))
    return DrainingServer(config, app.state.server, DrainLimits(settings.drain_seconds, settings.drain_grace))


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits of the server's connections. Raises the process's limit of open files first.

    ConfigError if there are too few of these for the connections that the settings ask for.
    """
    defaults = ConnectionLimits()
    descriptors = raise_descriptor_limit()
    connections = connection_limit(settings.max_connections, descriptors, defaults.health_connections)
    return replace(defaults, connections=connections)
