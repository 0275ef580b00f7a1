"""The eSpeak NG session: one sentence after the other, each by the helper process."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.errors import EngineFailed
from antiphon.models.espeak.synthesiser import Synthesiser
from antiphon.types.events import AudioChunk, Event, Failed, Sentence, SentenceFinished
from antiphon.types.results import ModelInfo

STEP_S = 0.05  # a usual sentence takes a tenth of it; between two steps the worker removes cancelled units


class EspeakSession:
    """The session protocol over the helper, which cannot batch: sentences are synthesised in order of arrival.

    A step returns what was synthesised within STEP_S. A sentence that leaves in the middle ends the helper.
    """

    def __init__(self, info: ModelInfo, synthesiser: Synthesiser, slots: int) -> None:
        self.info = info
        self.slots = slots
        self.synthesiser = synthesiser
        self._flight: list[Sentence] = []
        self._current: Sentence | None = None  # the one that the helper speaks

    def join(self, units: Sequence[Sentence]) -> list[Event]:
        self._flight += units
        return []

    def step(self) -> list[Event]:
        if not self._flight:
            return []
        unit = self._flight[0]
        try:
            if self._current is None:
                self.synthesiser.start(unit.text, unit.voice)
                self._current = unit
            speech = self.synthesiser.read(STEP_S)
        except EngineFailed as error:  # concerns this sentence only
            self._end(unit)
            return [Failed(unit, error)]
        events: list[Event] = [AudioChunk(unit, speech.samples)] if len(speech.samples) else []
        if speech.finished:
            self._end(unit)
            events.append(SentenceFinished(unit))
        return events

    def leave(self, unit: Sentence) -> None:
        if unit is self._current:
            self.synthesiser.stop()
        self._end(unit)

    def rest(self) -> None:
        """The library holds no memory between two sentences."""

    def _end(self, unit: Sentence) -> None:
        self._flight = [sentence for sentence in self._flight if sentence is not unit]
        if unit is self._current:
            self._current = None
