"""For the tests of the queue: units, requests, deadlines and a measured throughput."""

from __future__ import annotations

import numpy as np

from antiphon.scheduling.policy import DEFAULT_POLICY, Deadline, SchedulingPolicy
from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import ScheduledRequest
from antiphon.types.events import Window
from antiphon.types.options import TranscribeOptions
from tests.support.scheduling import EndlessPlan


def make_unit(start: int = 0) -> Window:
    return Window(request=0, samples=np.zeros(0, np.float32), start=start, options=TranscribeOptions())


def make_units(count: int) -> list[Window]:
    return [make_unit(start) for start in range(count)]


def make_request(
    expected: int = 0, *, seconds: float = 0.0, policy: SchedulingPolicy = DEFAULT_POLICY
) -> ScheduledRequest:
    return ScheduledRequest(EndlessPlan(expected=expected, seconds=seconds), policy)


def make_sound(seconds: float) -> Window:
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return Window(request=0, samples=samples, start=0, options=TranscribeOptions())


def due(at: float) -> SchedulingPolicy:
    return SchedulingPolicy(deadline=Deadline(at, at, "x-request-timeout"))


def measure(queue: Queue, *, seconds: float, throughput: float) -> None:
    """Let the queue measure `throughput` under full load, on `seconds` of audio."""
    units = [make_sound(seconds / 4) for _ in range(4)]
    queue.admit(make_request(seconds=seconds), units, now=0.0)
    for _ in units:
        (unit,) = queue.take(1)
        queue.finish(unit)
        queue.record_work(seconds / 4 / throughput)
