"""Who asks when: so many clients, each one thing after another, or arrivals at a steady rate whatever becomes of them.

It keeps time; it must not know what is asked or of whom.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

OK, REFUSED = "200", "429"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `status` is HTTP's number, or words where there was no answer; `seconds` is of audio heard or made.

    `first` is the clock's time of the first audio of a spoken answer; `text` is a transcript, or an error's message.
    """

    status: str
    text: str = ""
    seconds: float = 0.0
    first: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, in seconds of the clock: when it was due, when its answer was there."""

    number: int
    due: float
    ended: float
    answer: Answer

    @property
    def latency(self) -> float:
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Limit:
    """Where it ends: after so many requests, or when no more are begun, whichever is first."""

    requests: float = math.inf
    seconds: float = math.inf


Ask = Callable[[int], Awaitable[Answer]]  # gets the request's number
Clock = Callable[[], float]


async def run_clients(ask: Ask, clients: int, limit: Limit, clock: Clock = time.perf_counter) -> list[Outcome]:
    """`clients` of them; each asks anew when it has its answer. What is under way at the end is waited for."""
    numbers = itertools.count()
    outcomes: list[Outcome] = []
    began = clock()

    async def client() -> None:
        while clock() - began < limit.seconds and (number := next(numbers)) < limit.requests:
            due = clock()
            answer = await ask(number)
            outcomes.append(Outcome(number, due, clock(), answer))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return outcomes


async def run_rate(ask: Ask, rate: float, limit: Limit, clock: Clock = time.perf_counter) -> list[Outcome]:
    """`rate` requests a second, evenly, whether or not the earlier ones have their answers.

    Latency counts from when a request was due: one that a busy server or client held up before it was sent is not
    counted as if it had come later (Tene's "coordinated omission").
    """
    outcomes: list[Outcome] = []
    began = clock()

    async def one(number: int, due: float) -> None:
        answer = await ask(number)
        outcomes.append(Outcome(number, due, clock(), answer))

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            if number >= limit.requests or number / rate >= limit.seconds:
                break
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - clock()))
            group.create_task(one(number, due))
    return outcomes
