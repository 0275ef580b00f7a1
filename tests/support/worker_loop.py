"""For the tests of the worker loop: windows, admitted requests, and a loop that runs until the queue is idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Condition

import numpy as np

from antiphon.scheduling.hooks import NULL_HOOKS
from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Window
from antiphon.types.options import TranscribeOptions
from tests.support.scheduling import EndlessPlan, RecordingHooks


def make_unit(seconds: float = 1.0, language: str | None = "en") -> Window:
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return Window(request=0, samples=samples, start=0, options=TranscribeOptions(language=language))


def make_request(*following: Sequence[Window], seconds: float = 0.0) -> tuple[ScheduledRequest, EndlessPlan]:
    """A request, and its plan, which keeps the events and asks for one list of further units per event."""
    plan = EndlessPlan(*following, seconds=seconds)
    return ScheduledRequest(plan), plan


def admit(queue: Queue, units: Sequence[Window], *following: Sequence[Window], seconds: float = 0.0) -> EndlessPlan:
    """Admit a new request with these units; returns its plan."""
    request, plan = make_request(*following, seconds=seconds)
    queue.admit(request, units, now=0.0)
    return plan


def reason_of(request: ScheduledRequest) -> BaseException | None:
    """The error that ended a request."""
    return request.answered.exception(timeout=0)


def run_dry(
    session: FakeSession, queue: Queue, *, joins_per_step: int = 1, hooks: RecordingHooks | None = None
) -> None:
    """Run the loop until the queue is idle."""
    worker = Worker(session, queue, Condition(), joins_per_step=joins_per_step, hooks=hooks or NULL_HOOKS)
    worker.stopping = "drained"
    worker.run()
    assert queue.idle


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)
