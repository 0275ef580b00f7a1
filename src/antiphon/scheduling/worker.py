"""The worker loop: take units, remove cancelled ones, join, step, deliver. One thread runs it for one session."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Literal

from antiphon.errors import AntiphonError, DeadlineMissed, EngineFailed
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import NULL_HOOKS, Hooks
from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import copy_error
from antiphon.types.events import AudioChunk, Event, Failed, LanguageDetected, Unit

logger = logging.getLogger(__name__)

SLOTS_PER_RESERVED_SLOT = (
    8  # one slot in eight is kept for first units, so that a new request waits for no window to end
)
EXPENSIVE_JOIN_S = 0.02  # per unit; a join that takes this long, and twice a step, slows every active unit down
REST_AFTER_S = 10.0  # without work; after a rest, whisper-base needs 10 ms more for its first window


class Worker:
    """Runs one session of the model whose units are in `queue`. `changed` guards `queue` and `stopping`, and is notified
    when one of them changes.

    At most `joins_per_step` units join per iteration, so that decoding and new requests never wait for more than that many
    encodes. `stopping` "drained" ends the loop when the queue is idle, "now" at the next iteration. Units that were cancelled,
    or are late by `clock`, are removed at the next iteration: a join and a step later at most. After `rest_after_s` seconds
    without work the session releases memory.

    Errors of the session end the units that they concern, and no others. What comes out of `run` is `SystemExit`, an error
    of the loop itself, and an error of a join or step after one of `leave`: a session that cannot free its slots fails for
    good.
    """

    def __init__(
        self,
        session: AnySession,
        queue: Queue,
        changed: Condition,
        worker_index: int = 0,
        *,
        joins_per_step: int = 1,
        hooks: Hooks = NULL_HOOKS,
        clock: Callable[[], float] = time.monotonic,
        rest_after_s: float = REST_AFTER_S,
    ) -> None:
        if joins_per_step < 1:
            raise ValueError(f"joins_per_step must be at least 1, not {joins_per_step}")
        self.stopping: Literal["no", "drained", "now"] = "no"
        self._session = session
        self._queue = queue
        self._changed = changed
        self._joins_per_step = joins_per_step
        self._hooks = hooks
        self._clock = clock
        self._rest_after_s = rest_after_s
        self._index = worker_index
        self._join_s = self._step_s = 0.0  # running averages: a join per unit, and a step
        self._count = 0
        self._working = False
        self._leaving_failed = False

    @property
    def progress(self) -> int | None:
        """The number of the join, step or rest that is being worked on; None while waiting for work."""
        return self._count if self._working else None

    def run(self) -> None:
        while self.run_once():
            pass

    def run_once(self) -> bool:
        """Wait for work and do one iteration; False once the worker has to stop."""
        taken = self._take()
        if taken is None:
            return False
        leaving, joining = taken
        began = self._clock()
        self._leave(leaving)
        if joining:
            self._deliver(self._join(joining))
        with self._changed:
            active = self._queue.active(self._index)
        self._begin()
        if active:
            self._deliver(self._step(active))
        with self._changed:
            self._queue.record_work(self._clock() - began)
            if self.stopping != "no":
                self._changed.notify_all()  # the other workers wait until the last of them is done
        self._working = False
        return True

    def leave_cancelled(self) -> None:
        """Free the slots of cancelled units after the last iteration."""
        with self._changed:
            leaving = self._queue.take_cancelled(self._index)
        self._leave(leaving)

    def _take(self) -> tuple[list[Unit], list[Unit]] | None:
        """Wait for work, resting once in between; the units that leave the session and those that join it."""
        rested = False
        while True:
            with self._changed:
                if self._changed.wait_for(self._is_called, None if rested else self._rest_after_s):
                    if self._is_over():
                        return None
                    self._begin()
                    return self._next_units()
                rested = self._queue.begin_rest()
            if rested:
                self._rest()

    def _is_over(self) -> bool:
        return self.stopping == "now" or (self.stopping == "drained" and self._queue.idle)

    def _is_called(self) -> bool:
        return self._is_over() or self._queue.has_work(self._index)

    def _rest(self) -> None:
        """Release memory, while no replica works: they share graphs, and OpenVINO releases nothing of one that runs.

        Not under the lock, which the event loop takes: it can take long, and admission must go on meanwhile.
        """
        self._begin()
        try:
            self._session.rest()
        except SystemExit:
            raise
        except BaseException:
            logger.exception("%s: memory could not be released", self._session.info.name)
        finally:
            self._working = False
            with self._changed:
                self._queue.end_rest()
                self._changed.notify_all()

    def _begin(self) -> None:
        self._count += 1
        self._working = True

    def _leave(self, units: Sequence[Unit]) -> None:
        """Free the slots of units. One that the session fails to free counts as free: it may be, and others need it."""
        failures: list[BaseException] = []
        for unit in units:
            try:
                self._session.leave(unit)
            except SystemExit:
                raise
            except BaseException as error:  # noqa: BLE001 - logged below, once for all units
                failures.append(error)
        if failures:
            self._leaving_failed = True
            name = self._session.info.name
            logger.error("%s: %d of %d units could not leave", name, len(failures), len(units), exc_info=failures[0])

    def _next_units(self) -> tuple[list[Unit], list[Unit]]:
        for request in self._queue.expire(self._clock()):
            assert request.policy.deadline is not None
            request.end(DeadlineMissed(request.policy.deadline.seconds, param=request.policy.deadline.param))
        leaving = self._queue.take_cancelled(self._index)
        free = self._session.slots - self._queue.held(self._index)
        joining = self._queue.take(
            min(free, self._joins_per_step),
            worker_index=self._index,
            max_later=free - self._session.slots // SLOTS_PER_RESERVED_SLOT,
            hold_back=self._join_s >= max(EXPENSIVE_JOIN_S, 2 * self._step_s),
            free_slots=free,
        )
        for owner in map(self._queue.owner, joining):
            assert owner is not None
            owner.take()
        return leaving, joining

    def _join(self, units: Sequence[Unit]) -> list[Event]:
        began = time.perf_counter()
        try:
            events = self._session.join(units)
        except SystemExit:
            raise
        except BaseException as error:
            logger.exception("%s: %d units failed to join", self._session.info.name, len(units))
            if self._leaving_failed and not isinstance(error, AntiphonError):
                raise
            return [_failed(unit, error) for unit in units]
        seconds = time.perf_counter() - began
        self._join_s = _running_average(self._join_s, seconds / len(units))
        self._hooks.record("antiphon_join_seconds", seconds)
        return events

    def _step(self, active: Sequence[Unit]) -> list[Event]:
        began = time.perf_counter()
        try:
            events = self._session.step()
        except SystemExit:
            raise
        except BaseException as error:
            logger.exception("%s: a step of %d units failed", self._session.info.name, len(active))
            if self._leaving_failed and not isinstance(error, AntiphonError):
                raise
            self._leave(active)
            return [_failed(unit, error) for unit in active]
        seconds = time.perf_counter() - began
        self._step_s = _running_average(self._step_s, seconds)
        self._hooks.record("antiphon_batch_units", len(active))
        self._hooks.record("antiphon_step_seconds", seconds)
        return events

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            with self._changed:
                request = self._queue.owner(event.unit)
            if request is None:  # cancelled while it was being advanced
                continue
            unit_ended = not isinstance(event, LanguageDetected | AudioChunk)
            if unit_ended:
                outcome = "failed" if isinstance(event, Failed) else "done"
                self._hooks.record("antiphon_units_total", outcome=outcome)
            try:
                units = request.receive(event)
            except SystemExit:
                raise
            except BaseException as error:
                logger.exception("%s: a request could not use an event", self._session.info.name)
                with self._changed:
                    if self._queue.cancel(request):
                        request.end(error if isinstance(error, Exception) else _engine_failed(error))
                continue
            with self._changed:
                self._queue.add(request, units)
                resumed = self._queue.set_paused(request, request.stalled())
                if units or resumed:
                    self._changed.notify_all()  # another worker may have nothing to do
                # First the unit gives up its slot, then whatever else a request that is done has in the queue.
                request_ended = unit_ended and self._queue.finish(event.unit)
                if request.done:
                    request_ended = self._queue.cancel(request) or request_ended
                if request_ended:
                    request.end(EngineFailed("The request ran out of work before it had an answer. This is a bug."))


def _running_average(average: float, latest: float) -> float:
    """An average over the last few values, which starts at the first one."""
    return latest if not average else average + (latest - average) / 4


def _failed(unit: Unit, cause: BaseException) -> Failed:
    """The end of a unit whose join or step raised `cause`.

    Callers get the text of errors that were written for them. Any other text may name files and libraries: it stays in
    the log.
    """
    if isinstance(cause, AntiphonError):
        return Failed(unit, copy_error(cause))
    return Failed(unit, _engine_failed(cause))


def _engine_failed(cause: BaseException) -> EngineFailed:
    error = EngineFailed("The engine failed while it worked on this request; the log has the details.")
    error.__cause__ = cause
    return error
