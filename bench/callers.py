"""Callers that cost next to nothing, so that what they measure is the server: one upload, made once, over bare TCP.

They are meant for processes of their own, and say how late they were themselves. They must not know what is done with it.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import itertools
import time
import wave
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import numpy as np

TICK = 0.01  # seconds between two looks at how late the caller's own loop is
GIVE_UP = 120.0  # seconds; the longest that an answer is waited for


@dataclass(frozen=True, slots=True)
class Call:
    """One request, in seconds of the system's clock: when it was due, handed to the kernel, and answered in full.

    `status` is HTTP's, or 0 where there was no answer.
    """

    due: float
    sent: float
    ended: float
    status: int


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the calls, how late the caller's own loop was each time it looked, and what it worked, in seconds."""

    calls: list[Call]
    lags: list[float]
    processor_seconds: float
    connections: int


def clip(seconds: float) -> bytes:
    """Noise, as a 16-bit wav at 16 kHz."""
    samples = np.random.default_rng(0).normal(0, 3000, round(seconds * 16_000)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(samples.tobytes())
    return file.getvalue()


def upload(file: bytes) -> bytes:
    """The whole of a request for a transcript, head and multipart form, as curl and the SDKs send it."""
    mark = b"antiphon-bench-boundary"
    field = b'--%s\r\nContent-Disposition: form-data; name="language"\r\n\r\nen\r\n' % mark
    kind = b"Content-Type: audio/wav\r\n\r\n"
    head = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n' % mark
    form = b"".join((field, head, kind, file, b"\r\n--%s--\r\n" % mark))
    lines = (
        b"POST /v1/audio/transcriptions HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Accept: */*",
        b"Content-Type: multipart/form-data; boundary=" + mark,
        b"Content-Length: %d" % len(form),
    )
    return b"\r\n".join(lines) + b"\r\n\r\n" + form


class Connection(asyncio.Protocol):
    """A kept connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._received = bytearray()
        self._whole = 0  # bytes of the answer; 0 until its head is there
        self._answer: asyncio.Future[int] | None = None

    @property
    def free(self) -> bool:
        """Nothing is under way, the last byte of an upload that was refused on its way included."""
        return not (self._answer or self.transport.is_closing() or self.transport.get_write_buffer_size())

    async def ask(self, request: bytes) -> int:
        """Send it; the status once the answer is complete, 0 if none comes."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._whole and (end := self._received.find(b"\r\n\r\n")) >= 0:
            self._whole = end + 4 + length_of(bytes(self._received[:end]))
        if self._whole and len(self._received) >= self._whole:
            status = int(self._received[9:12])
            self._received.clear()
            self._whole = 0
            self._end(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(0)

    def _end(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


def length_of(head: bytes) -> int:
    """How many bytes follow the head of an answer."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise ValueError("an answer without a content-length")


class Callers:
    """All that call one server from one process. Connections are kept, and taken again last come, first served."""

    def __init__(self, port: int, request: bytes) -> None:
        self.calls: list[Call] = []
        self.lags: list[float] = []
        self.opened = 0
        self._port = port
        self._request = request
        self._kept: deque[Connection] = deque()

    async def call(self, due: float) -> None:
        connection = await self._connection()
        sent = time.monotonic()
        try:
            status = await asyncio.wait_for(connection.ask(self._request), GIVE_UP)
        except TimeoutError:
            status = 0
        self.calls.append(Call(due, sent, time.monotonic(), status))
        if status:
            self._kept.append(connection)
        else:
            connection.transport.abort()

    async def watch(self) -> None:
        """How late this process comes to what it wants to do, until cancelled."""
        due = time.monotonic()
        while True:
            due = max(due + TICK, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            self.lags.append(max(0.0, time.monotonic() - due))

    async def _connection(self) -> Connection:
        while self._kept and self._kept[-1].transport.is_closing():
            self._kept.pop()
        if self._kept and self._kept[-1].free:
            return self._kept.pop()
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        return connection


def call_in_turns(port: int, seconds: float, request: bytes, clients: int) -> Account:
    """`clients` of them for so long, each of which asks anew when it has its answer."""

    async def run(callers: Callers) -> None:
        until = time.monotonic() + seconds

        async def client() -> None:
            while (now := time.monotonic()) < until:
                await callers.call(now)

        await asyncio.gather(*(client() for _ in range(clients)))

    return _account(port, request, run)


def call_at_a_rate(port: int, seconds: float, request: bytes, rate: float) -> Account:
    """`rate` requests a second for so long, evenly, whatever became of those before; all are waited for.

    A call's `due` is when it should have been made: what a late caller or a busy server held up is not forgiven.
    """

    async def run(callers: Callers) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due = began + number / rate
                if due >= began + seconds:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(callers.call(due))

    return _account(port, request, run)


def _account(port: int, request: bytes, run: Callable[[Callers], Awaitable[None]]) -> Account:
    async def watched() -> Callers:
        callers = Callers(port, request)
        watching = asyncio.create_task(callers.watch())
        await run(callers)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return callers

    before = time.process_time()
    callers = asyncio.run(watched())
    return Account(callers.calls, callers.lags, time.process_time() - before, callers.opened)


def look_at_health(port: int, seconds: float, every: float = 0.1) -> Account:
    """Ask for the server's health so often, over one kept connection; `lags` is how late this process woke up to do so."""
    calls: list[Call] = []
    lags: list[float] = []
    before = time.process_time()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP)
    for due in _times(seconds, every):
        sent = time.monotonic()
        lags.append(sent - due)
        connection.request("GET", "/v2/health/ready")
        response = connection.getresponse()
        response.read()
        calls.append(Call(due, sent, time.monotonic(), response.status))
    connection.close()
    return Account(calls, lags, time.process_time() - before, 1)


def _times(seconds: float, every: float) -> Iterator[float]:
    """Now and every so often, each when it has come; what has gone by in the meantime is left out."""
    due = began = time.monotonic()
    while due < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        yield due
        due += every * max(1, -(-(time.monotonic() - due) // every))
