"""eSpeak NG behind the session protocol: a sentence that joins is spoken, whole, in the next step.

It must not know requests, queues or sound files.
"""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.models.espeak.synthesiser import Synthesiser
from antiphon.models.session import AnySession
from antiphon.types.events import AudioChunk, Event, Sentence, SentenceFinished
from antiphon.types.results import ModelInfo


class EspeakSession:
    """The session protocol (`models/base.py`) over the library, which speaks one sentence at a time.

    There is nothing to batch; a step speaks the one that has waited longest, so that no caller waits for all the others.
    """

    twins: Sequence[AnySession] = ()

    def __init__(self, info: ModelInfo, synthesiser: Synthesiser, slots: int) -> None:
        self.info = info
        self.slots = slots
        self._synthesiser = synthesiser
        self._flight: list[Sentence] = []

    def join(self, units: Sequence[Sentence]) -> list[Event]:
        self._flight += units
        return []

    def step(self) -> list[Event]:
        if not self._flight:
            return []
        unit = self._flight[0]
        samples = self._synthesiser.speak(unit.text, unit.voice)
        self.leave(unit)
        return [AudioChunk(unit, samples), SentenceFinished(unit)] if len(samples) else [SentenceFinished(unit)]

    def leave(self, unit: Sentence) -> None:
        self._flight = [each for each in self._flight if each is not unit]

    def rest(self) -> None:
        """It holds nothing between two sentences."""
