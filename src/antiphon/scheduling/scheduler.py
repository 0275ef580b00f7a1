"""The scheduler of one model: hands requests from asyncio tasks and threads to the worker threads of its sessions."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import time
import traceback
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition, Thread
from typing import Any

from antiphon.errors import AntiphonError, Cancelled, EngineFailed, Overloaded, Unavailable
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import NULL_HOOKS, GuardedHooks, Hooks
from antiphon.scheduling.policy import DEFAULT_POLICY, SchedulingPolicy
from antiphon.scheduling.queue import UNLIMITED, Limits, Queue
from antiphon.scheduling.request import Plan, Result, ScheduledRequest, Stalled, copy_error
from antiphon.scheduling.worker import REST_AFTER_S, Worker
from antiphon.types.cancellation import never

logger = logging.getLogger(__name__)

MAX_EXIT_WAIT_S = 30.0  # how long the end of the process waits for a worker thread
MAX_LAST_STEP_S = 5.0  # how long `close` waits, after its time limit, for steps that have begun
RETRY_AFTER_CLOSE_S = 5.0  # a server that drains is usually back after a restart
RETRY_AFTER_DEATH_S = 5.0  # about what a starter model takes to load


class Scheduler:
    """One model: its sessions, which are replicas, a worker thread for each, and one queue. Thread-safe.

    Requests may be submitted before `start`; they then wait. After `close`, or if a worker thread dies, everything that
    still waits fails and new requests are refused. New requests are refused too while the model is `suspend`ed.
    """

    def __init__(
        self,
        sessions: Sequence[AnySession],
        *,
        limits: Limits = UNLIMITED,
        joins_per_step: int = 1,
        hooks: Hooks = NULL_HOOKS,
        rest_after_s: float = REST_AFTER_S,
    ) -> None:
        self.info = sessions[0].info
        self.slots = sum(session.slots for session in sessions)
        self.hooks = hooks = GuardedHooks(hooks)
        self._changed = Condition()
        self._queue = Queue(limits, workers=len(sessions))
        self._workers = [
            Worker(
                session,
                self._queue,
                self._changed,
                index,
                joins_per_step=joins_per_step,
                hooks=hooks,
                rest_after_s=rest_after_s,
            )
            for index, session in enumerate(sessions)
        ]
        self._threads = [
            Thread(target=self._run_worker, args=(worker,), name=f"antiphon-{self.info.name}", daemon=True)
            for worker in self._workers
        ]
        self._refusal: AntiphonError | None = None  # why new requests are refused, for good
        self._suspension: Unavailable | None = None  # why they are refused for now
        message = f"The worker of {self.info.name} died; the log has the details."
        self._death = Unavailable(message, retry_after=RETRY_AFTER_DEATH_S)  # made now: there may be no memory then
        self._dead = False

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
            return len(self._queue.requests)

    @property
    def full(self) -> bool:
        """True if `check_room` would raise; no refusal is recorded."""
        with self._changed:
            return (self._refusal or self._suspension) is not None or self._queue.full

    # The next few do not take the lock, as a worker that does not go on may have it.

    @property
    def dead(self) -> bool:
        """True if a worker thread ended by an error. It is not started again."""
        return self._dead

    @property
    def failure(self) -> Unavailable | None:
        """Why requests are refused, if not because the scheduler was closed: a thread died, or the model is suspended."""
        return self._death if self._dead else self._suspension

    @property
    def suspended(self) -> bool:
        """True from `suspend` with a reason to `suspend` without."""
        return self._suspension is not None

    @property
    def stopped(self) -> bool:
        """True if no worker thread runs."""
        return not any(thread.is_alive() for thread in self._threads)

    def progress(self) -> tuple[int | None, ...]:
        """That of each worker. If it stays the same number, the worker is stuck."""
        running = zip(self._workers, self._threads, strict=False)  # no workers once they have been released
        return tuple(worker.progress if thread.is_alive() else None for worker, thread in running)

    def stack(self, worker_index: int) -> str:
        """Where the thread of a worker is, one line of code for each call; empty if it has ended."""
        frame = sys._current_frames().get(self._threads[worker_index].ident or 0)
        return "" if frame is None else "".join(traceback.format_stack(frame))

    def suspend(self, reason: Unavailable | None) -> None:
        """Refuse new requests with `reason`, or no longer if it is None. Those that were admitted stay."""
        self._suspension = reason

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
            atexit.register(_join_at_exit, weakref.ref(self), thread)

    def close(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Refuse new requests and end the worker threads, with `drain` after everything that was admitted is done.

        After `timeout` seconds the rest fails with `Unavailable`, as everything does without `drain`. A thread that then
        does not end within `MAX_LAST_STEP_S` is left behind, and `stopped` stays False. Once all threads have ended, the
        sessions are released.
        """
        if not drain or self._threads[0].ident is None:
            self.abandon()
        if self._threads[0].ident is None:  # never started
            return
        self._stop(drain)
        self._join(timeout)
        if not self.stopped:
            self.abandon()
            self._join(MAX_LAST_STEP_S)
        if self.stopped:
            self._workers.clear()
        else:
            logger.error("%s: a worker thread does not end; it is left behind", self.info.name)

    def abandon(self) -> None:
        """Refuse new requests, end all others, and let the worker threads end: `close` without waiting."""
        self._stop(drain=False)
        self._end_all(_shutting_down())  # a worker that is stuck would not do it

    def check_room(self) -> None:
        """Raise what `permit` would raise now."""
        with self._admitting():
            self._queue.check_room()

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Room for a request, from before its file is decoded until it has its answer; raises what `submit` raises."""
        with self._admitting():
            self._queue.acquire_permit()
        try:
            yield
        finally:
            with self._changed:
                self._queue.release_permit()

    def submit(self, request: ScheduledRequest) -> None:
        """Start a request and admit its first units, or raise `Overloaded`, `DeadlineMissed`, `Unavailable` or
        `EngineFailed`."""
        units = request.start()
        if not request.done:
            with self._admitting():
                self._queue.admit(request, units, now=time.monotonic())
                self._changed.notify_all()

    def cancel(self, request: ScheduledRequest) -> None:
        """Drop a request's waiting units and free its slots; one that has ended is ignored."""
        with self._changed:
            if self._queue.cancel(request):
                request.end(Cancelled("The request was cancelled."))
                self._changed.notify_all()  # for the worker that has its units

    def resume(self) -> None:
        """Take units again of requests that were stalled and are not any more."""
        with self._changed:
            resumed = [self._queue.set_paused(request, request.stalled()) for request in self._queue.requests]
            if any(resumed):
                self._changed.notify_all()

    async def run(
        self, plan: Plan[Result], policy: SchedulingPolicy = DEFAULT_POLICY, stalled: Stalled = never
    ) -> Result:
        """Carry out a plan; cancelling the awaiting task cancels its work.

        While `stalled` returns True, no more units of the plan are taken; call `resume` when it no longer does.
        """
        with self._submitted(plan, policy, stalled) as answered:
            await asyncio.wrap_future(answered)
        return plan.result()

    def run_blocking(self, plan: Plan[Result], policy: SchedulingPolicy = DEFAULT_POLICY) -> Result:
        """Carry out a plan in the calling thread; an interrupt there cancels its work."""
        with self._submitted(plan, policy) as answered:
            answered.result()
        return plan.result()

    @contextmanager
    def _submitted(self, plan: Plan[Any], policy: SchedulingPolicy, stalled: Stalled = never) -> Iterator[Future[None]]:
        """Submit a request for a plan; it is cancelled if its caller stops waiting."""
        request = ScheduledRequest(plan, policy, self.hooks, stalled)
        self.submit(request)
        try:
            yield request.answered
        except BaseException:
            self.cancel(request)
            raise

    @contextmanager
    def _admitting(self) -> Iterator[None]:
        """The lock, for an admission; refusals are recorded."""
        with self._changed:
            if (refusal := self._refusal or self._suspension) is not None:
                raise copy_error(refusal)
            try:
                yield
            except Overloaded as error:
                self.hooks.record("antiphon_refused_total", reason=error.reason)
                raise

    def _join(self, timeout: float | None) -> None:
        """Wait until all worker threads have ended, at most `timeout` seconds in total."""
        until = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def _stop(self, drain: bool) -> None:
        with self._changed:
            self._refusal = self._refusal or _shutting_down()
            for worker in self._workers:
                worker.stopping = "drained" if drain else "now"
            self._changed.notify_all()

    def _run_worker(self, worker: Worker) -> None:
        try:
            worker.run()
            self._end_all(_shutting_down())
            worker.leave_cancelled()
        except BaseException as error:  # not swallowed: every caller gets it as the cause
            self._dead = True
            logger.critical("%s: a worker thread died; this is a bug", self.info.name, exc_info=True)
            failure = EngineFailed(str(self._death))
            failure.__cause__ = error
            self._end_all(self._death, in_flight=failure)
            self._stop(drain=False)  # the other workers too: all their requests were ended

    def _end_all(self, reason: AntiphonError, in_flight: AntiphonError | None = None) -> None:
        """End all requests and refuse new ones with `reason`; `in_flight` is for those that had a slot."""
        with self._changed:
            self._refusal = self._refusal or reason
            for request in self._queue.requests:
                self._queue.cancel(request)
                request.end(copy_error(in_flight if in_flight is not None and request.taken else reason))


def _join_at_exit(scheduler: weakref.ref[Scheduler], thread: Thread) -> None:
    """At interpreter exit: a thread that is inside OpenVINO, or that frees a model, would abort the process."""
    if (alive := scheduler()) is not None:
        alive.abandon()
    thread.join(MAX_EXIT_WAIT_S)


def _shutting_down() -> Unavailable:
    return Unavailable("The server is shutting down.", retry_after=RETRY_AFTER_CLOSE_S)
