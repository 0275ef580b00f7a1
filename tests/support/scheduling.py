"""What tests of the scheduler share: the smallest plan, a scheduler that is closed again, and a session held in its step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event as Gate
from typing import Any

import numpy as np

from antiphon.scheduling.scheduler import Scheduler
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Failed, Finished, Window
from antiphon.types.options import TranscribeOptions


class OneUnit:
    """The smallest plan: one unit, answered with its text."""

    expected = 1
    seconds = 0.0

    def __init__(self, seconds: float) -> None:
        samples = np.zeros(round(seconds * 16_000), np.float32)
        self.unit = Window(0, samples, 0, False, TranscribeOptions(language="en"))
        self.answer: str | Exception | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None

    def start(self) -> Sequence[Window]:
        return [self.unit]

    def receive(self, event: Event) -> Sequence[Window]:
        if isinstance(event, Finished):
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
    scheduler = Scheduler(session, **options)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.close(drain=False)


class Holder:
    """Holds the worker in its first step until told to go on."""

    def __init__(self) -> None:
        self.reached = Gate()
        self.go_on = Gate()

    def __call__(self) -> None:
        self.reached.set()
        assert self.go_on.wait(60)
