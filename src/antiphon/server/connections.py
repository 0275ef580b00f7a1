"""HTTP connections with limits: on their number, on how slowly a client may send and read, and on what HTTP may be."""

from __future__ import annotations

import asyncio
import http
import logging
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import h11
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import CLOSE_HEADER, FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from antiphon.errors import AntiphonError, RequestError, Unavailable
from antiphon.server.errors import error_response
from antiphon.server.routes.health import HEALTH_PATHS

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 75  # clients keep connections for 60 s, and lose a request that they send into a closed one
RETRY_AFTER_S = 1.0  # after a refusal for lack of connections
# asyncio accepts this many connections before it serves the first of them, and goes on trying if descriptors run out. The
# connections that the kernel keeps waiting are `WAITING_CONNECTIONS`.
ACCEPTED_AT_ONCE = 8
WAITING_CONNECTIONS = 2_048


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of a server's connections. Times are in seconds.

    Beyond `connections`, `health_connections` more may ask for health alone. A request's head must be complete within
    `head_s`. Its body may pause for `body_pause_s`, and must arrive at `body_bytes_per_s` on average, to which
    `body_pause_s` is added once. A client must read some of an answer within `write_pause_s`.
    """

    connections: int = 4_096
    health_connections: int = 16
    head_s: float = 10.0
    body_pause_s: float = 30.0
    body_bytes_per_s: float = 1_000.0
    write_pause_s: float = 30.0


class ServerConfig(uvicorn.Config):
    """Uvicorn's configuration for an application of this package, and what its connections share."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(
            app,
            http=LimitedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=ACCEPTED_AT_ONCE,
            **options,
        )
        self.limits = limits
        self.health_only: dict[LimitedProtocol, None] = {}  # connections beyond the limit, the oldest first


class StrictConnection(h11.Connection):
    """Refuses a request with both a length and a transfer encoding, from which a proxy may read another request."""

    method = b""  # of the current request, once it has been read

    def start_next_cycle(self) -> None:
        super().start_next_cycle()
        self.method = b""

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.method = event.method
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
        return event


class TimedFlowControl(FlowControl):
    """Flow control that measures for how long the server has not been reading. Times are those of the event loop."""

    def __init__(self, transport: asyncio.Transport, clock: Callable[[], float]) -> None:
        super().__init__(transport)
        self.resumed_at = clock()
        self._paused_at = 0.0
        self._paused_s = 0.0
        self._clock = clock

    @property
    def paused_s(self) -> float:
        """How long reading has been paused in all, in seconds."""
        return self._paused_s + (self._clock() - self._paused_at if self.read_paused else 0.0)

    def pause_reading(self) -> None:
        if not self.read_paused:
            self._paused_at = self._clock()
        super().pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self._paused_s = self.paused_s
            self.resumed_at = self._clock()
        super().resume_reading()


Phase = Literal["head", "body", "idle", "answer"]


class LimitedProtocol(H11Protocol):
    """One connection. It is closed when its client exceeds one of the `ConnectionLimits`."""

    config: ServerConfig
    conn: StrictConnection
    flow: TimedFlowControl
    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # the last request

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = StrictConnection(h11.SERVER)
        self._application: Any = self.app
        self.app = self._answer
        self._limits = config.limits
        self._phase: tuple[Phase, object] | None = None  # and the last request when it began
        self._phase_began = self._last_data = self._paused_before = 0.0
        self._received = 0  # bytes in this phase
        self._read_timer: asyncio.TimerHandle | None = None
        self._unwritten = 0  # bytes left when the write timer was set
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = TimedFlowControl(transport, self.loop.time)
        self._watch_reading()
        health_only = self.config.health_only
        if not self._has_room():
            health_only[self] = None
            if len(health_only) > self._limits.health_connections:
                # The oldest goes: a health check sends its request at once, and is answered before it is the oldest.
                next(iter(health_only))._refuse(self._all_in_use())

    def connection_lost(self, exc: Exception | None) -> None:
        self.config.health_only.pop(self, None)
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._last_data = self.loop.time()
        self._received += len(data)
        super().data_received(data)
        self._watch_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_writing()
        self._watch_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unwritten = sys.maxsize  # so that the timer takes what is left for progress

    def shutdown(self) -> None:
        """Close the connection, after the answer to a request that is being processed."""
        if not self.transport.is_closing():
            super().shutdown()

    def refuse_upload(self) -> None:
        """Refuse a request whose body is not complete because the server is draining; any other request goes on."""
        if self.conn.their_state is h11.SEND_BODY:
            self._refuse(Unavailable("The server is draining; try again shortly.", retry_after=RETRY_AFTER_S))

    def abort(self) -> None:
        """Close the connection now, and drop what has not been written. The work on its request is cancelled."""
        self._leave_request()
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(RequestError("The request is not valid HTTP.", code="invalid_http"))

    def _unsupported_upgrade_warning(self) -> None:
        logger.debug("a request to upgrade to another protocol is answered as HTTP")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, or a refusal on a connection beyond the limit."""
        app = self._application
        if self in self.config.health_only:
            if self._has_room(newcomers=1):
                del self.config.health_only[self]
            else:
                send = _closing(send)
                if scope["path"] not in HEALTH_PATHS:
                    app = error_response(self._all_in_use(), _new_id())
        try:
            await app(scope, receive, send)
        except AntiphonError as error:  # after the answer has begun, else it would be the answer
            logger.info("an answer was cut off: %s", error)
            self.abort()

    def _has_room(self, newcomers: int = 0) -> bool:
        ordinary = len(self.connections) - len(self.config.health_only)
        return ordinary + newcomers <= self._limits.connections

    def _all_in_use(self) -> Unavailable:
        message = f"All {self._limits.connections} connections of this server are in use; try again shortly."
        return Unavailable(message, retry_after=RETRY_AFTER_S)

    def _refuse(self, error: AntiphonError) -> None:
        """Answer with an error without the application, where an answer is still possible, and close the connection."""
        self.config.health_only.pop(self, None)
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE) or self.transport.is_closing():
            self.abort()
            return
        response = error_response(error, _new_id())
        usual = [header for header in self.server_state.default_headers if header != CLOSE_HEADER]
        headers = [*usual, *response.raw_headers, CLOSE_HEADER]
        reason = http.HTTPStatus(response.status_code).phrase.encode()
        parts: list[h11.Event] = [
            h11.Response(status_code=response.status_code, headers=headers, reason=reason),
            h11.Data(data=b"" if self.conn.method == b"HEAD" else bytes(response.body)),
            h11.EndOfMessage(),
        ]
        for part in parts:
            self.transport.write(self.conn.send(part) or b"")
        self._leave_request()
        self._watch_writing()
        self.transport.close()

    def _leave_request(self) -> None:
        """Tell the application that the client has left, if it is processing a request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_writing()

    def _watch_reading(self) -> None:
        """Set the timer for what the client has to send, if that is something new."""
        phase = (self._current_phase(), self.cycle)
        if phase == self._phase or self.transport.is_closing():
            return
        self._phase = phase
        self._phase_began = self._last_data = self.loop.time()
        self._paused_before = self.flow.paused_s
        self._received = 0
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        if phase[0] != "answer":
            self._read_timer = self.loop.call_at(self._read_deadline(), self._check_reading)

    def _current_phase(self) -> Phase:
        """What the client has to send next."""
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        if self.conn.their_state is not h11.IDLE:
            return "answer"  # nothing: it waits for the answer
        return "head" if self.cycle is None or self.conn.trailing_data[0] else "idle"

    def _read_deadline(self) -> float:
        """When the client will be too slow, unless it sends something until then. In the time of the event loop."""
        limits = self._limits
        match self._phase:
            case ("body", _):
                if self.flow.read_paused:
                    return self.loop.time() + limits.body_pause_s
                not_reading = self.flow.paused_s - self._paused_before
                allowed = limits.body_pause_s + self._received / limits.body_bytes_per_s
                last = max(self._last_data, self.flow.resumed_at)
                return min(last + limits.body_pause_s, self._phase_began + not_reading + allowed)
            case ("head", _):
                return self._phase_began + limits.head_s
            case _:
                return self._phase_began + self.timeout_keep_alive

    def _check_reading(self) -> None:
        deadline = self._read_deadline()
        if deadline > self.loop.time():
            self._read_timer = self.loop.call_at(deadline, self._check_reading)
        else:
            self.abort()

    def _watch_writing(self) -> None:
        """Set the timer for what the client has to read, if it has something to read."""
        self._unwritten = self.transport.get_write_buffer_size()
        if self._unwritten and self._write_timer is None:
            self._write_timer = self.loop.call_later(self._limits.write_pause_s, self._check_writing)

    def _check_writing(self) -> None:
        self._write_timer = None
        if 0 < self.transport.get_write_buffer_size() >= self._unwritten:
            self.abort()
        else:
            self._watch_writing()


def _closing(send: Send) -> Callable[[Message], Awaitable[None]]:
    """A `send` whose answers announce the end of the connection."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"
        await send(message)

    return send_and_close


def _new_id() -> str:
    return f"req_{uuid.uuid4().hex}"
