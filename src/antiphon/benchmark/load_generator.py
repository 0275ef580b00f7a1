"""Load generators: closed loop (N clients, each waiting for its response) and open loop (a constant request rate)."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

OK, REFUSED = "200", "429"


@dataclass(frozen=True, slots=True)
class Response:
    """The response to one request.

    `status` is the HTTP status, or a short text if there was no response. `text` is a transcript or an error message,
    `seconds` the duration of the audio transcribed or synthesised, `first_audio` the clock's time at the first samples.
    """

    status: str
    text: str = ""
    seconds: float = 0.0
    first_audio: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured request: its number, when it was scheduled and when it ended, in seconds of the clock."""

    number: int
    scheduled: float
    ended: float
    response: Response

    @property
    def latency(self) -> float:
        return self.ended - self.scheduled


@dataclass(frozen=True, slots=True)
class Limit:
    """Send no more after this many requests or seconds, whichever comes first."""

    requests: float = math.inf
    seconds: float = math.inf


Send = Callable[[int], Awaitable[Response]]  # takes the number of the request
Clock = Callable[[], float]


async def run_closed_loop(
    send: Send, clients: int, limit: Limit, clock: Clock = time.perf_counter
) -> list[Measurement]:
    """`clients` clients, each of which sends its next request after the response. Waits for the last responses."""
    numbers = itertools.count()
    measurements: list[Measurement] = []
    started = clock()

    async def client() -> None:
        while clock() - started < limit.seconds and (number := next(numbers)) < limit.requests:
            scheduled = clock()
            response = await send(number)
            measurements.append(Measurement(number, scheduled, clock(), response))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return measurements


async def run_open_loop(send: Send, rate: float, limit: Limit, clock: Clock = time.perf_counter) -> list[Measurement]:
    """`rate` requests a second at even intervals, independent of the responses. Waits for the last responses.

    Latency counts from the scheduled time, so a request held up before it is sent by a busy server or client counts as
    slow ("coordinated omission", Gil Tene).
    """
    measurements: list[Measurement] = []
    started = clock()

    async def request(number: int, scheduled: float) -> None:
        response = await send(number)
        measurements.append(Measurement(number, scheduled, clock(), response))

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            if number >= limit.requests or number / rate >= limit.seconds:
                break
            scheduled = started + number / rate
            await asyncio.sleep(max(0.0, scheduled - clock()))
            group.create_task(request(number, scheduled))
    return measurements
