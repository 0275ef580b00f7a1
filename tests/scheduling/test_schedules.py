"""Property test of the queue and the worker loops on random schedules: scripted sessions, a fake clock, no threads.

Every byte of a tape is a choice: which request arrives, which is cancelled, how long a unit takes and how it ends.
Thousands of tapes are played (`--schedules`), the same ones each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Condition

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.errors import Cancelled, DeadlineMissed, Overloaded
from antiphon.scheduling.policy import PRIORITIES, Deadline, SchedulingPolicy
from antiphon.scheduling.queue import (
    CLASSES,
    DEFAULT_RETRY_AFTER_S,
    MAX_RETRY_AFTER_S,
    MIN_RETRY_AFTER_S,
    Limits,
    Queue,
)
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FAKE_INFO, describe
from antiphon.types.events import Event, Failed, Window, WindowFinished
from antiphon.types.options import TranscribeOptions

TAPE = 72  # bytes; some five requests, ten units and as many turns
SLOTS = 3
LIMITS = Limits(units=10, seconds=90.0)
SOUNDS = [np.zeros(seconds * 16_000, np.float32) for seconds in (1, 3, 10, 30)]
OPTIONS = TranscribeOptions(language="en")
RESULT = describe(Window(0, SOUNDS[0], 0, OPTIONS))  # not read here


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failing batches are logged with a traceback, and thousands of them fail here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Tape:
    """Choices, one per byte; the first of each after the last byte."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self.over = False

    def choose(self, choices: int) -> int:
        byte = next(self._data, None)
        self.over = byte is None
        return (byte or 0) % choices

    def rarely(self, one_in: int) -> bool:
        return self.choose(one_in) == one_in - 1


class Record:
    """The time, and how units ended, over all sessions."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ended: dict[Window, str] = {}
        self.doomed: set[Window] = set()  # members of a call that failed

    def end(self, unit: Window, how: str) -> None:
        assert unit not in self.ended, f"ended by {self.ended[unit]}, and again by {how}"
        self.ended[unit] = how


class Scripted:
    """A session that does with each unit what the tape says, and records how it ended."""

    def __init__(self, tape: Tape, take: Callable[[Window], None], record: Record) -> None:
        self.info = FAKE_INFO
        self.slots = SLOTS
        self.inside: dict[Window, int] = {}  # how many steps each has to go
        self._tape = tape
        self._take = take
        self._record = record

    def join(self, units: Sequence[Window]) -> list[Event]:
        assert len(self.inside) + len(units) <= SLOTS
        for unit in units:
            assert unit not in self.inside
            assert unit not in self._record.ended
            self._take(unit)
        self._record.now += 0.2 * len(units)
        if self._tape.rarely(16):
            self._record.doomed.update(units)
            for unit in units:
                self._record.end(unit, "join")
            raise RuntimeError("scripted")
        self.inside |= {unit: 1 + self._tape.choose(4) for unit in units}
        return []

    def step(self) -> list[Event]:
        self._record.now += 0.1
        if self._tape.rarely(16):
            self._record.doomed.update(self.inside)  # they are left one by one
            raise RuntimeError("scripted")
        self.inside = {unit: steps - 1 for unit, steps in self.inside.items()}
        return [self._end(unit) for unit, steps in list(self.inside.items()) if steps == 0]

    def leave(self, unit: Window) -> None:
        if self.inside.pop(unit, None) is not None:
            self._record.end(unit, "leave")

    def rest(self) -> None:
        raise AssertionError("there was work")

    def _end(self, unit: Window) -> Event:
        del self.inside[unit]
        self._record.end(unit, "step")
        return Failed(unit, ValueError("its own")) if self._tape.rarely(12) else WindowFinished(unit, RESULT)


class Request(ScheduledRequest):
    """A request that is its own plan, and keeps account of its units and of how it ended."""

    def __init__(self, units: list[Window], policy: SchedulingPolicy, play: Play) -> None:
        self.open = set(units)
        self.waiting = list(units)
        self.ends: list[Exception] = []
        self.failure: Exception | None = None
        self.started = False
        self.position = 0  # in its class, when it got in line for its next unit
        self.since = 0  # how many units had been taken then
        self._play = play
        super().__init__(RequestPlan(self, len(units), sum(unit.seconds for unit in units)), policy)

    def end(self, reason: Exception) -> None:
        self.ends.append(reason)
        super().end(reason)

    def is_late(self, now: float) -> bool:
        deadline = self.policy.deadline
        return deadline is not None and deadline.at <= now

    def take_event(self, event: Event) -> Sequence[Window]:
        assert not self.ends, "an event after the end"
        self.open.remove(event.unit)  # type: ignore[arg-type]  # KeyError: a second end, or another request's unit
        if isinstance(event, Failed):
            alone = isinstance(event.error, ValueError)
            assert alone or event.unit in self._play.record.doomed, "failed with a batch it was not in"
            self.failure = event.error
            return ()
        if self._play.tape.rarely(16):  # its caller leaves while the event is being processed
            self._play.cancel_request(self)
            return ()
        following = [make_unit(0)] if self._play.tape.rarely(6) else []
        self.open.update(following)
        in_line = bool(self.waiting)
        self.waiting[:0] = following
        if following and not in_line:
            self._play.get_in_line(self)
        return following


@dataclass
class RequestPlan:
    request: Request
    expected: int
    seconds: float

    @property
    def done(self) -> bool:
        return self.request.failure is not None or not self.request.open

    def start(self) -> Sequence[Window]:
        raise AssertionError("admitted with its units")

    def receive(self, event: Event) -> Sequence[Window]:
        return self.request.take_event(event)

    def result(self) -> None:
        raise AssertionError("not called here")


def make_unit(sound: int) -> Window:
    return Window(request=0, samples=SOUNDS[sound], start=0, options=OPTIONS)


class Play:
    """One schedule: moves from a tape until its end, then everything left is worked off. Claims are checked on the way."""

    def __init__(self, data: bytes) -> None:
        self.tape = Tape(data)
        self.overtakes = 1 + self.tape.choose(4)
        workers = 1 + self.tape.choose(2)
        self.record = Record()
        self.sessions = [Scripted(self.tape, self.take, self.record) for _ in range(workers)]
        self.queue = Queue(LIMITS, max_overtakes=self.overtakes, workers=workers)
        joins, changed = 1 + self.tape.choose(2), Condition()
        self.workers = [
            Worker(
                session, self.queue, changed, joins_per_step=joins, clock=lambda: self.record.now, worker_index=index
            )
            for index, session in enumerate(self.sessions)
        ]
        self.requests: list[Request] = []  # those that were admitted
        self.taken = 0

    def run(self) -> None:
        while not self.tape.over:
            match self.tape.choose(8):
                case 0 | 1 | 2:
                    self.admit()
                case 3:
                    self.cancel()
                case 4:
                    self.record.now += 0.5 * self.tape.choose(8)
                case _:
                    self.turn(self.tape.choose(len(self.workers)))
        while not self.queue.idle:
            for index in range(len(self.workers)):
                self.turn(index)
        self.check_the_end()

    def admit(self) -> None:
        units = [make_unit(self.tape.choose(4)) for _ in range(1 + self.tape.choose(5))]
        left = (None, None, 0.0, 0.5, 2.0, 10.0)[self.tape.choose(6)]
        now = self.record.now
        deadline = None if left is None else Deadline(now + left, left, "x-request-timeout")
        request = Request(units, SchedulingPolicy(PRIORITIES[self.tape.choose(3)], deadline), self)
        queue = self.queue
        full = queue.waiting >= LIMITS.units or queue.seconds >= LIMITS.seconds
        refusal = self._try(request, units)
        if isinstance(refusal, Overloaded):
            assert full == (refusal.reason != "deadline")
            assert refusal.retry_after == DEFAULT_RETRY_AFTER_S or (
                MIN_RETRY_AFTER_S <= refusal.retry_after <= MAX_RETRY_AFTER_S
            )
            return
        assert not full
        assert (refusal is not None) == (left == 0.0)
        if refusal is None:
            self.requests.append(request)
            self.get_in_line(request)

    def _try(self, request: Request, units: list[Window]) -> Overloaded | DeadlineMissed | None:
        try:
            self.queue.admit(request, units, now=self.record.now)
        except (Overloaded, DeadlineMissed) as error:
            return error
        return None

    def cancel(self) -> None:
        unfinished = [request for request in self.requests if not request.ends]
        if unfinished:
            request = unfinished[self.tape.choose(len(unfinished))]
            self.cancel_request(request)
            self.check_wait(request)

    def cancel_request(self, request: Request) -> None:
        assert self.queue.cancel(request)
        request.end(Cancelled("by the schedule"))

    def turn(self, index: int) -> None:
        if not self.queue.has_work(index):
            return
        late = [request for request in self.requests if not request.ends and request.is_late(self.record.now)]
        assert self.workers[index].run_once()
        for request in late:
            assert [type(reason) for reason in request.ends] == [DeadlineMissed]
        for request in self.requests:
            if request.ends and request.waiting:
                self.check_wait(request)
                request.waiting.clear()
        assert self.queue.waiting == sum(len(request.waiting) for request in self.requests)
        # A unit that failed to join may still be on its way out.
        assert self.queue.in_flight >= sum(len(session.inside) for session in self.sessions)
        given_up = {unit for request in late for unit in request.open}
        assert not given_up & self.sessions[index].inside.keys(), "late, but in the batch after a turn"

    def take(self, unit: Window) -> None:
        [request] = [request for request in self.requests if request.waiting and request.waiting[0] is unit]
        assert not request.ends
        self.taken += 1
        self.check_wait(request)
        request.waiting.pop(0)
        request.started = True
        if request.waiting:
            self.get_in_line(request)

    def get_in_line(self, request: Request) -> None:
        kind = (request.policy.priority, request.started)
        line = [other for other in self.requests if other.waiting and not other.ends]
        request.position = sum((other.policy.priority, other.started) == kind for other in line)
        request.since = self.taken

    def check_wait(self, request: Request) -> None:
        """The bound stated by `Queue`."""
        if request.waiting:
            assert self.taken - request.since <= request.position * (self.overtakes + CLASSES)

    def check_the_end(self) -> None:
        for request in self.requests:
            assert len(request.ends) == 1
            assert request.done or isinstance(request.ends[0], Cancelled | DeadlineMissed)
            if isinstance(request.ends[0], DeadlineMissed):
                assert request.is_late(self.record.now)
        assert not any(session.inside for session in self.sessions)
        assert self.taken == len(self.record.ended)
        assert (self.queue.waiting, self.queue.in_flight, self.queue.seconds, self.queue.requests) == (0, 0, 0.0, ())


def test_every_unit_and_request_ends_exactly_once_on_random_schedules(pytestconfig: pytest.Config) -> None:
    """Every unit and every request ends exactly once; none waits beyond its bound, whatever its priority; a failing batch
    ends only its members; late units have left the batch a turn later."""

    @settings(
        max_examples=pytestconfig.getoption("schedules"),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=TAPE, max_size=TAPE))
    def play(tape: bytes) -> None:
        Play(tape).run()

    play()
