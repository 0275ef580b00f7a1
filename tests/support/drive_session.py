"""Drives a session: units in, results out, joining at given steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon.models.session import Session
from antiphon.types.events import Event, Failed, Sentence, SentenceFinished, Window, WindowFinished
from antiphon.types.options import TranscribeOptions
from antiphon.types.results import WindowResult


def make_unit(samples: np.ndarray, *, timestamps: bool = False, start: int = 0, **options: object) -> Window:
    """A unit of a new request, with `TranscribeOptions` by name."""
    return Window(0, samples, start, TranscribeOptions(timestamps=timestamps, **options))  # type: ignore[arg-type]


def drive(session: Session, units: Sequence[Window], joins: Sequence[int] | None = None) -> list[WindowResult]:
    """The result of each unit; unit i joins after `joins[i]` steps (all at once if not given)."""
    steps = list(joins or [0] * len(units))
    waiting = sorted(zip(steps, range(len(units)), strict=True))
    results: dict[int, WindowResult] = {}
    step = 0
    while len(results) < len(units):
        ready = [index for due, index in waiting if due <= step]
        waiting = [(due, index) for due, index in waiting if due > step]
        events = session.join([units[index] for index in ready]) if ready else []
        events += session.step()
        for event in events:
            assert not isinstance(event, Failed), event
            if isinstance(event, WindowFinished):
                results[next(i for i, unit in enumerate(units) if unit is event.unit)] = event.result
        step += 1
    return [results[index] for index in range(len(units))]


def speak(session: Session, units: Sequence[Sentence]) -> list[Event]:
    """The events of `units`, which have joined, until each of them has ended."""
    events: list[Event] = []
    while sum(isinstance(event, Failed | SentenceFinished) for event in events) < len(units):
        events += session.step()
    return events
