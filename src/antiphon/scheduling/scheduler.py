"""The one hand-off between callers (asyncio tasks or threads) and the worker threads of a model's sessions.

It runs plans; it must not know what a plan is about, nor HTTP.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition, Lock, Thread
from typing import Any

from antiphon.errors import AntiphonError, Cancelled, EngineFailed, Overloaded, Unavailable
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import Observer
from antiphon.scheduling.policy import DEFAULT_POLICY, SchedulingPolicy
from antiphon.scheduling.queue import UNLIMITED, Limits, Queue
from antiphon.scheduling.request import Job, Plan, Result
from antiphon.scheduling.worker import Worker
from antiphon.types.events import Event, Unit

logger = logging.getLogger(__name__)

LONGEST_STEP = 30.0  # seconds that the end of the process waits for a worker thread
RETRY_AFTER_CLOSE = 5.0  # seconds; a server that drains is usually back after a restart


class Scheduler:
    """One model: a session and its twins, a worker thread for each, one queue. Methods may be called from any thread.

    Work may be handed in before `start`; it then waits. After `close`, or if a worker thread dies, everything that
    still waits is failed and new work is refused.
    """

    def __init__(
        self,
        session: AnySession,
        *,
        limits: Limits = UNLIMITED,
        max_overtakes: int = 4,
        joins_per_step: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.info = session.info
        self._sessions: tuple[AnySession, ...] = (session, *session.twins)
        self.slots = sum(each.slots for each in self._sessions)
        self._changed = Condition()
        self._clock = clock
        self._queue = Queue(limits, max_overtakes=max_overtakes, lanes=len(self._sessions))
        self._workers = [
            Worker(each, self._queue, self._changed, joins_per_step=joins_per_step, clock=clock, lane=lane)
            for lane, each in enumerate(self._sessions)
        ]
        self._threads = [
            Thread(target=self._run_worker, args=(lane,), name=f"antiphon-{session.info.name}", daemon=True)
            for lane in range(len(self._sessions))
        ]
        self._refusal: AntiphonError | None = None  # why new work is refused

    @property
    def waiting(self) -> int:
        with self._changed:
            return self._queue.waiting

    @property
    def in_flight(self) -> int:
        with self._changed:
            return self._queue.in_flight

    @property
    def seconds(self) -> float:
        with self._changed:
            return self._queue.seconds

    @property
    def requests(self) -> int:
        with self._changed:
            return len(self._queue.jobs)

    @property
    def observer(self) -> Observer:
        return self._workers[0].observer

    def observe(self, observer: Observer) -> None:
        """Tell `observer` from now on how the work goes."""
        for worker in self._workers:
            worker.observer = observer

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
            atexit.register(_end, weakref.ref(self), thread)

    def close(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Refuse new work and end the worker threads, after what was admitted is done if `drain`.

        After `timeout` seconds of draining the rest is failed with `Unavailable`, as all of it is without `drain`.
        """
        self._stop(drain)
        if self._threads[0].ident is None:  # never started: nobody else will tell those who wait
            self._end_all(_closing())
            return
        until = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self._stop(drain=False)
                thread.join()

    def abandon(self) -> None:
        """Refuse new work; the worker threads end on their own, their work undone: for a finalizer, which must not wait."""
        self._stop(drain=False)

    def check_room(self) -> None:
        """Raise what `permit` would raise now, before anything is done for a request that will be refused."""
        with self._admitting():
            self._queue.check_room()

    @property
    def full(self) -> bool:
        """True if `check_room` would refuse; asking counts for nothing."""
        with self._changed:
            return self._refusal is not None or self._queue.full

    @contextmanager
    def permit(self) -> Iterator[None]:
        """A place for a request, from before its file is decoded until it has its answer; raises as `submit` does."""
        with self._admitting():
            self._queue.enter()
        try:
            yield
        finally:
            with self._changed:
                self._queue.leave()

    def submit(self, job: Job, units: Sequence[Unit]) -> None:
        """Admit a job with its first units, or raise `Overloaded`, `DeadlineMissed`, `Unavailable` or `EngineFailed`."""
        with self._admitting():
            self._queue.admit(job, units, now=self._clock())
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Drop a job's waiting units and give back its slots; a job that has ended is left alone."""
        with self._changed:
            if self._queue.cancel(job):
                job.on_end(Cancelled("The request was cancelled."))
                self._changed.notify_all()  # whichever lane has its units

    async def run(self, plan: Plan[Result], terms: SchedulingPolicy = DEFAULT_POLICY) -> Result:
        """Carry out a plan; cancelling the awaiting task cancels its work."""
        begun = self._begin(plan, terms)
        if begun is not None:
            job, answered = begun
            try:
                await asyncio.wrap_future(answered)
            except asyncio.CancelledError:
                self.cancel(job)
                raise
        return plan.result()

    def run_blocking(self, plan: Plan[Result], terms: SchedulingPolicy = DEFAULT_POLICY) -> Result:
        """Carry out a plan in the calling thread; an interrupt there cancels its work."""
        begun = self._begin(plan, terms)
        if begun is not None:
            job, answered = begun
            try:
                answered.result()
            except BaseException:
                self.cancel(job)
                raise
        return plan.result()

    @contextmanager
    def _admitting(self) -> Iterator[None]:
        """The lock, for somebody who wants in; whoever is refused is counted."""
        with self._changed:
            if self._refusal is not None:
                raise _again(self._refusal)
            try:
                yield
            except Overloaded as error:
                self.observer.refused(error.reason)
                raise

    def _begin(self, plan: Plan[Result], terms: SchedulingPolicy) -> tuple[Job, Future[None]] | None:
        """Start a plan; None if it was done before it began."""
        units = plan.start()
        if plan.done:
            return None
        answered: Future[None] = Future()
        answered.set_running_or_notify_cancel()  # from here on only the workers and `cancel` settle it

        watch = _Stopwatch(self.observer)
        intake = _Intake(plan)

        def end(reason: Exception) -> None:
            watch.end()
            self._settle(answered, None if intake.done else reason)

        job = Job(
            intake.receive,
            end,
            finished=lambda: intake.done,
            expected=plan.expected,
            seconds=plan.seconds,
            terms=terms,
            on_take=watch.take,
        )
        self.submit(job, units)
        return job, answered

    def _settle(self, answered: Future[None], error: Exception | None) -> None:
        with self._changed:  # a worker and a cancelling caller may both come here; the first one stands
            if answered.done():
                return
            if error is None:
                answered.set_result(None)
            else:
                answered.set_exception(error)

    def _stop(self, drain: bool) -> None:
        with self._changed:
            self._refusal = self._refusal or _closing()
            for worker in self._workers:
                worker.stopping = "drained" if drain else "now"
            self._changed.notify_all()

    def _run_worker(self, lane: int) -> None:
        try:
            self._workers[lane].run()
        except BaseException as error:  # answered, not swallowed: everyone who waits is told
            logger.critical("%s: a worker thread died; this is a bug", self.info.name, exc_info=True)
            failure = EngineFailed(f"The worker of {self.info.name} died: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._end_all(failure)
            self._stop(drain=False)  # the other lanes too: all that there was to do was ended
        else:
            self._end_all(_closing())
            with self._changed:
                leaving = self._queue.take_cancelled(lane)
            for unit in leaving:
                self._sessions[lane].leave(unit)

    def _end_all(self, reason: AntiphonError) -> None:
        with self._changed:
            self._refusal = self._refusal or reason
            for job in self._queue.jobs:
                self._queue.cancel(job)
                job.on_end(_again(reason))


class _Intake:
    """A plan as several worker threads may use it: one event at a time, and `done` never read in the middle of one."""

    def __init__(self, plan: Plan[Any]) -> None:
        self._plan = plan
        self._turn = Lock()
        self.done = plan.done

    def receive(self, event: Event) -> Sequence[Unit]:
        with self._turn:
            units = self._plan.receive(event)
            self.done = self._plan.done
        return units


class _Stopwatch:
    """Times one job: how long it waits for its first slot, and how long it then works."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._admitted = time.perf_counter()
        self._taken: float | None = None

    def take(self) -> None:
        if self._taken is None:
            self._taken = time.perf_counter()
            self._observer.waited(self._taken - self._admitted)

    def end(self) -> None:
        taken, self._taken = self._taken, None  # a job that fails while it is being cancelled is ended by both
        if taken is not None:
            self._observer.worked(time.perf_counter() - taken)


def _end(scheduler: weakref.ref[Scheduler], thread: Thread) -> None:
    """At the interpreter's end: a thread that is inside OpenVINO, or lets go of a model, when Python ends aborts the process."""
    if (left := scheduler()) is not None:
        left.abandon()
    thread.join(LONGEST_STEP)


def _closing() -> Unavailable:
    return Unavailable("The server is shutting down.", retry_after=RETRY_AFTER_CLOSE)


def _again(reason: AntiphonError) -> AntiphonError:
    # A fresh object each time: it is raised in many threads, and raising writes to the object.
    if isinstance(reason, Unavailable):
        return Unavailable(str(reason), retry_after=reason.retry_after)
    failure = EngineFailed(str(reason))
    failure.__cause__ = reason.__cause__
    return failure
