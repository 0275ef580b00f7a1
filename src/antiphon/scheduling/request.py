"""A request in the scheduler: the plan it carries out, its policy, and the future that is resolved when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, Protocol, TypeVar

from antiphon.errors import AntiphonError
from antiphon.scheduling.hooks import NULL_HOOKS, Hooks
from antiphon.scheduling.policy import DEFAULT_POLICY, SchedulingPolicy
from antiphon.types.cancellation import never
from antiphon.types.events import Event, Unit

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
AntiphonErrorT = TypeVar("AntiphonErrorT", bound=AntiphonError)
Stalled = Callable[[], bool]


class Plan(Protocol[Result_co]):
    """The pure state machine of one request. Called from one thread at a time."""

    @property
    def expected(self) -> int:
        """Estimated number of units of the request."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds of audio in these units."""
        ...

    @property
    def done(self) -> bool:
        """True once `result` may be called; units that have not ended are then not needed any more."""
        ...

    def start(self) -> Sequence[Unit]:
        """The first units; empty only if the plan is done."""
        ...

    def receive(self, event: Event) -> Sequence[Unit]:
        """Process an event of one of the units; returns the units to continue with."""
        ...

    def result(self) -> Result_co:
        """The answer; raises the error that ended the request."""
        ...


class ScheduledRequest:
    """One request in the queue. Compared by identity.

    `answered` is resolved when the request ends: without an error if the plan is done, with the reason otherwise.
    `expected` units have room reserved at admission. `done` is the plan's `done` between two events, never within one.
    While `stalled` returns True, no more of its units are taken; it must be quick, and may be called from any thread.
    """

    def __init__(
        self,
        plan: Plan[Any],
        policy: SchedulingPolicy = DEFAULT_POLICY,
        hooks: Hooks = NULL_HOOKS,
        stalled: Stalled = never,
    ) -> None:
        self.stalled = stalled
        self.policy = policy
        self.expected = plan.expected
        self.seconds = plan.seconds
        self.done = plan.done
        self.answered: Future[None] = Future()
        self.answered.set_running_or_notify_cancel()  # so that only `start` and `end` resolve it
        self._plan = plan
        self._hooks = hooks
        self._lock = Lock()  # replicas may deliver two events at the same time
        self._started_at = time.perf_counter()
        self._first_slot_at: float | None = None

    def start(self) -> Sequence[Unit]:
        """The first units; empty if the plan is done without any, which resolves `answered`."""
        units = self._plan.start()
        self.done = self._plan.done
        self._started_at = time.perf_counter()
        if self.done:
            self.answered.set_result(None)
        return units

    def receive(self, event: Event) -> Sequence[Unit]:
        """Give the plan an event; returns the units to continue with. Called by the workers."""
        with self._lock:
            units = self._plan.receive(event)
            self.done = self._plan.done
        return units

    @property
    def taken(self) -> bool:
        """True once one of its units has had a slot."""
        return self._first_slot_at is not None

    def take(self) -> None:
        """Note that one of its units got a slot. Called under the scheduler's lock."""
        if self._first_slot_at is None:
            self._first_slot_at = time.perf_counter()
            self._hooks.record("ovms_wait_for_infer_req_time_us", self._first_slot_at - self._started_at)

    def end(self, reason: Exception) -> None:
        """Resolve `answered`. Called once, under the scheduler's lock, by the caller that removed it from the queue."""
        if self._first_slot_at is not None:
            self._hooks.record("ovms_inference_time_us", time.perf_counter() - self._first_slot_at)
        if self.done:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(reason)


def copy_error(error: AntiphonErrorT) -> AntiphonErrorT:
    """A new error object of the same content, for each caller that raises it: raising writes to the object."""
    copied = type(error).__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied
