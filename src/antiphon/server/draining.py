"""The server's end: on a signal it refuses new requests, finishes those inside, and ends in time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn

from antiphon.server.connections import WAITING_CONNECTIONS, LimitedProtocol, ServerConfig
from antiphon.server.state import ServerState

logger = logging.getLogger(__name__)

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """How long a drain may last, and for how much of that new connections still get an answer. In seconds.

    After `seconds`, `last_answers` remain for the answers of the requests that are ended then; after `last_resort` the
    process ends even if a thread does not.
    """

    seconds: float
    grace: float
    last_answers: float = 2.0
    last_resort: float = 10.0


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains on SIGTERM or SIGINT, and then ends with exit code 0.

    An upload that is not complete is refused at once. For the grace period the server listens, refuses new requests with
    503 and answers health checks; then the sockets are closed. What is not finished within the limit ends with
    `Unavailable`. SIGINT has no grace period, nor has a server that never was ready. A second signal ends the process at
    once: `exit_process` is called with 128 and the number of the signal.
    """

    def __init__(
        self,
        config: ServerConfig,
        state: ServerState,
        limits: DrainLimits,
        exit_process: Callable[[int], None] = os._exit,
    ) -> None:
        super().__init__(config)
        self.state = state
        self._limits = limits
        self._exit_process = exit_process
        self._signal: int | None = None
        self._grace = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            logger.warning("a second signal ends the process at once")
            self._exit_process(128 + sig)
            return
        self._signal = sig
        if sig == signal.SIGTERM and self.state.state == "ready":
            self._grace = min(self._limits.grace, self._limits.seconds)
        self.state.drain()
        last_resort = threading.Timer(self._limits.seconds + self._limits.last_resort, self._end_late)
        last_resort.daemon = True
        last_resort.start()
        self.should_exit = True

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING_CONNECTIONS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.seconds
        self.state.drain()
        inside = len(self.server_state.tasks)
        if inside or self._grace:
            message = "stopping in %g to %g s, after %d requests; a second signal ends the process at once"
            logger.info(message, self._grace, self._limits.seconds, inside)
        self.server_state.default_headers.append((b"connection", b"close"))
        for connection in self._connections():
            connection.refuse_upload()
        await asyncio.sleep(self._grace)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in self._connections():
            connection.shutdown()
        if not await self._is_empty(until):
            await self._end_requests()
        await self.lifespan.shutdown()

    def _connections(self) -> list[LimitedProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, LimitedProtocol)]

    async def _is_empty(self, until: float) -> bool:
        """Wait until no connection and no request is left; False if some are at that time of the event loop."""
        while self.server_state.connections or self.server_state.tasks:
            if asyncio.get_running_loop().time() >= until:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _end_requests(self) -> None:
        """End the requests that are left: with 503 where an answer is still possible."""
        now = asyncio.get_running_loop().time
        left = len(self.server_state.tasks)
        logger.warning("%d requests were not finished within %g s and are ended", left, self._limits.seconds)
        self.state.end_requests()
        for connection in self._connections():
            if connection.flow.write_paused:  # its client does not read: no answer will reach it
                connection.abort()
        if await self._is_empty(now() + self._limits.last_answers):
            return
        for connection in self._connections():
            connection.abort()
        if not await self._is_empty(now() + self._limits.last_answers):
            for task in list(self.server_state.tasks):
                task.cancel()

    def _end_late(self) -> None:
        logger.error("a thread did not end within %g s after the limit of the drain", self._limits.last_resort)
        self._exit_process(0)
