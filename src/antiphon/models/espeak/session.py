"""The eSpeak NG session: each step synthesises one whole sentence."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.models.espeak.synthesiser import Synthesiser
from antiphon.types.events import AudioChunk, Event, Sentence, SentenceFinished
from antiphon.types.results import ModelInfo


class EspeakSession:
    """The session protocol over the library, which cannot batch: sentences are synthesised in order of arrival."""

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
        self._flight = [sentence for sentence in self._flight if sentence is not unit]

    def rest(self) -> None:
        """The library holds no memory between two sentences."""
