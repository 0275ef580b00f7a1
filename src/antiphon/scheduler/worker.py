"""The loop: take units, leave the cancelled ones, join, step, deliver. One thread runs it for one session.

It knows the queue and the session; it must not know asyncio, HTTP, or what a request makes of its events.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Condition
from typing import Literal, NamedTuple

from antiphon.errors import EngineFailed
from antiphon.models.base import AnySession
from antiphon.scheduler.queue import Queue
from antiphon.types import AudioChunk, Event, Failed, LanguageDetected, Unit

logger = logging.getLogger(__name__)


class Work(NamedTuple):
    """What one turn of the loop starts with."""

    leaving: list[Unit]
    joining: list[Unit]


class Worker:
    """Runs one session. `changed` guards `queue` and `stopping`, and is notified when either has something new.

    At most `joins_per_step` units join a turn, so that decoding, and a newcomer, never wait longer than that many
    encodes. `stopping` "drained" ends the loop when the queue is idle, "now" at the next turn.
    """

    def __init__(self, session: AnySession, queue: Queue, changed: Condition, *, joins_per_step: int = 1) -> None:
        if joins_per_step < 1:
            raise ValueError(f"joins_per_step must be at least 1, not {joins_per_step}")
        self.stopping: Literal["no", "drained", "now"] = "no"
        self._session = session
        self._queue = queue
        self._changed = changed
        self._joins_per_step = joins_per_step

    def run(self) -> None:
        while (work := self._take()) is not None:
            for unit in work.leaving:
                self._session.leave(unit)
            if work.joining:
                self._deliver(self._join(work.joining))
            if flying := self._flying():
                self._deliver(self._step(flying))

    def _take(self) -> Work | None:
        with self._changed:
            self._changed.wait_for(lambda: self.stopping != "no" or not self._queue.idle)
            if self.stopping == "now" or self._queue.idle:
                return None
            leaving = self._queue.take_cancelled()
            free = self._session.slots - self._queue.in_flight
            return Work(leaving, self._queue.take(min(free, self._joins_per_step)))

    def _flying(self) -> tuple[Unit, ...]:
        with self._changed:
            return self._queue.flying

    def _join(self, units: Sequence[Unit]) -> list[Event]:
        try:
            return self._session.join(units)
        except Exception as error:
            logger.exception("%s: %d units failed to join", self._session.info.name, len(units))
            return [_failed(unit, error) for unit in units]

    def _step(self, flying: Sequence[Unit]) -> list[Event]:
        try:
            return self._session.step()
        except Exception as error:
            logger.exception("%s: a step of %d units failed", self._session.info.name, len(flying))
            for unit in flying:
                self._session.leave(unit)
            return [_failed(unit, error) for unit in flying]

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            with self._changed:
                job = self._queue.owner(event.unit)
            if job is None:  # cancelled while it was being advanced
                continue
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
                # First the unit that ended gives its place up, then whatever else a job with an answer has here.
                ended = (
                    not isinstance(event, LanguageDetected | AudioChunk) and self._queue.finish(event.unit) is not None
                )
                if job.finished():
                    ended = self._queue.cancel(job) or ended
            if ended:
                job.on_end(EngineFailed("The request ran out of work before it had an answer. This is a bug."))


def _failed(unit: Unit, cause: Exception) -> Failed:
    # One error object per unit: each is raised in its own caller's thread, and raising writes to the object.
    error = EngineFailed(f"The engine failed on this batch: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return Failed(unit, error)
