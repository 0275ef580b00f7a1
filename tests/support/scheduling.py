"""Shared by the scheduler's tests: plans, a running scheduler, a session that blocks in its step, and recorded metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event as Gate
from typing import Any

import numpy as np

from antiphon.scheduling.scheduler import Scheduler
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Failed, Window, WindowFinished
from antiphon.types.options import TranscribeOptions


class OneUnit:
    """The smallest plan: one unit, whose text is the answer."""

    expected = 1
    seconds = 0.0

    def __init__(self, seconds: float) -> None:
        samples = np.zeros(round(seconds * 16_000), np.float32)
        self.unit = Window(0, samples, 0, TranscribeOptions(language="en"))
        self.answer: str | Exception | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None

    def start(self) -> Sequence[Window]:
        return [self.unit]

    def receive(self, event: Event) -> Sequence[Window]:
        if isinstance(event, WindowFinished):
            self.answer = event.result.pieces[0].text
        elif isinstance(event, Failed):
            self.answer = event.error
        return []

    def result(self) -> str:
        assert self.answer is not None
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@contextmanager
def running(session: FakeSession, **options: Any) -> Iterator[Scheduler]:
    """A started scheduler over one session, closed at the end."""
    scheduler = Scheduler([session], **options)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.close(drain=False)


class EndlessPlan:
    """A plan that is never done: it keeps its events and returns the next of the given lists of units for each."""

    done = False

    def __init__(self, *following: Sequence[Window], expected: int = 0, seconds: float = 0.0) -> None:
        self.expected = expected
        self.seconds = seconds
        self.events: list[Event] = []
        self._following = iter(following)

    def start(self) -> Sequence[Window]:
        raise AssertionError("these tests admit the first units themselves")

    def receive(self, event: Event) -> Sequence[Window]:
        self.events.append(event)
        return next(self._following, ())

    def result(self) -> None:
        raise AssertionError("the plan is never done")


class RecordingHooks:
    """Keeps what is recorded, in order: the metric, its value, and its label if it has one."""

    def __init__(self) -> None:
        self.records: list[tuple[str, float, str | None]] = []

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        self.records.append((metric, value, next(iter(labels.values()), None)))

    def values(self, metric: str) -> list[float]:
        return [value for name, value, _label in self.records if name == metric]

    def labels(self, metric: str) -> list[str | None]:
        return [label for name, _value, label in self.records if name == metric]


class Holder:
    """Blocks the worker in its first step until `go_on` is set."""

    def __init__(self) -> None:
        self.reached = Gate()
        self.go_on = Gate()

    def __call__(self) -> None:
        self.reached.set()
        assert self.go_on.wait(60)
