"""The loop: take units, leave the cancelled ones, join, step, deliver. One thread runs it for one session, one lane.

It knows the queue and the session; it must not know asyncio, HTTP, or what a request makes of its events.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Literal, NamedTuple

from antiphon.errors import EngineFailed
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import NullObserver, Observer
from antiphon.scheduling.queue import Queue
from antiphon.types.events import AudioChunk, Event, Failed, LanguageDetected, Unit

logger = logging.getLogger(__name__)

NEWCOMERS = 8  # one slot in so many is for the first unit of a request: a newcomer waits for no window to end
DEAR_JOIN = 0.02  # seconds for a unit, and twice a step's, from which all in flight feel that somebody joins
REST_AFTER = 10.0  # seconds without work; a session that rested needs 10 ms more for a window (whisper-base)


class Work(NamedTuple):
    """What one turn of the loop starts with."""

    leaving: list[Unit]
    joining: list[Unit]


class Worker:
    """Runs one session, which is one `lane` of the queue. `changed` guards `queue` and `stopping`, and is notified when
    either has something new.

    At most `joins_per_step` units join a turn, so that decoding, and a newcomer, never wait longer than that many
    encodes. `stopping` "drained" ends the loop when the queue is idle, "now" at the next turn. What is cancelled, or late
    by `clock`, is given up at the next turn: a join and a step later at most. After `rest_after` seconds without work the
    session is told to rest.
    """

    def __init__(
        self,
        session: AnySession,
        queue: Queue,
        changed: Condition,
        *,
        joins_per_step: int = 1,
        clock: Callable[[], float] = time.monotonic,
        rest_after: float = REST_AFTER,
        lane: int = 0,
    ) -> None:
        if joins_per_step < 1:
            raise ValueError(f"joins_per_step must be at least 1, not {joins_per_step}")
        self.stopping: Literal["no", "drained", "now"] = "no"
        self.observer: Observer = NullObserver()
        self._session = session
        self._queue = queue
        self._changed = changed
        self._joins_per_step = joins_per_step
        self._clock = clock
        self._rest_after = rest_after
        self._lane = lane
        self._joined = self._stepped = 0.0  # seconds that a unit's join and a step took of late, averages

    def run(self) -> None:
        while self.turn():
            pass

    def turn(self) -> bool:
        """Wait for work and do one turn of it; False once there will be no more."""
        with self._changed:
            rested = False
            while not self._changed.wait_for(self._called, None if rested else self._rest_after):
                # Not while a twin is at work: they share graphs. Under the lock none begins, for as long as it takes.
                if rested := self._queue.idle:
                    self._session.rest()
        work = self._take()
        if work is None:
            return False
        begun = self._clock()
        for unit in work.leaving:
            self._session.leave(unit)
        if work.joining:
            self._deliver(self._join(work.joining))
        if flying := self._flying():
            self._deliver(self._step(flying))
        with self._changed:
            self._queue.spent(self._clock() - begun)
            if self.stopping != "no":
                self._changed.notify_all()  # the other lanes wait for the last of them to be done
        return True

    @property
    def _joins_are_dear(self) -> bool:
        return self._joined >= max(DEAR_JOIN, 2 * self._stepped)

    def _called(self) -> bool:
        over = self.stopping == "now" or (self.stopping == "drained" and self._queue.idle)
        return over or self._queue.calls(self._lane)

    def _take(self) -> Work | None:
        with self._changed:
            self._changed.wait_for(self._called)
            if self.stopping == "now" or self._queue.idle:
                return None
            self._end_late()
            leaving = self._queue.take_cancelled(self._lane)
            free = self._session.slots - self._queue.held(self._lane)
            joining = self._queue.take(
                min(free, self._joins_per_step),
                lane=self._lane,
                later=free - self._session.slots // NEWCOMERS,
                gentle=self._joins_are_dear,
                room=free,
            )
            for unit in joining:
                if (job := self._queue.owner(unit)) is not None:
                    job.on_take()
            return Work(leaving, joining)

    def _end_late(self) -> None:
        """Under the lock, so that nobody can end between leaving the queue and being told."""
        for job in self._queue.expire(self._clock()):
            if job.terms.deadline is not None:
                job.on_end(job.terms.deadline.missed())

    def _flying(self) -> tuple[Unit, ...]:
        with self._changed:
            return self._queue.flying(self._lane)

    def _join(self, units: Sequence[Unit]) -> list[Event]:
        begun = time.perf_counter()
        try:
            events = self._session.join(units)
        except Exception as error:
            logger.exception("%s: %d units failed to join", self._session.info.name, len(units))
            return [_failed(unit, error) for unit in units]
        took = time.perf_counter() - begun
        self._joined = _average(self._joined, took / len(units))
        self.observer.joined(took)
        return events

    def _step(self, flying: Sequence[Unit]) -> list[Event]:
        begun = time.perf_counter()
        try:
            events = self._session.step()
        except Exception as error:
            logger.exception("%s: a step of %d units failed", self._session.info.name, len(flying))
            for unit in flying:
                self._session.leave(unit)
            return [_failed(unit, error) for unit in flying]
        took = time.perf_counter() - begun
        self._stepped = _average(self._stepped, took)
        self.observer.stepped(len(flying), took)
        return events

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            with self._changed:
                job = self._queue.owner(event.unit)
            if job is None:  # cancelled while it was being advanced
                continue
            over = not isinstance(event, LanguageDetected | AudioChunk)
            if over:
                self.observer.ended(failed=isinstance(event, Failed))
            try:
                units = job.on_event(event)
            except Exception as error:
                logger.exception("%s: a request could not use an event", self._session.info.name)
                with self._changed:
                    self._queue.cancel(job)
                job.on_end(error)
                continue
            with self._changed:
                self._queue.add(job, units)
                if units:
                    self._changed.notify_all()  # another lane may have nothing to do
                # First the unit that ended gives its place up, then whatever else a job with an answer has here.
                ended = over and self._queue.finish(event.unit) is not None
                if job.finished():
                    ended = self._queue.cancel(job) or ended
            if ended:
                job.on_end(EngineFailed("The request ran out of work before it had an answer. This is a bug."))


def _average(before: float, latest: float) -> float:
    """Of the last few; the first one's own value."""
    return latest if not before else before + (latest - before) / 4


def _failed(unit: Unit, cause: Exception) -> Failed:
    # One error object per unit: each is raised in its own caller's thread, and raising writes to the object.
    error = EngineFailed(f"The engine failed on this batch: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return Failed(unit, error)
