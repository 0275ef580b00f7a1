"""One synthesis request as a state machine: its sentences are the units, their audio is returned in the order of the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from antiphon.synthesis.normalise.numbers import spell_numbers
from antiphon.synthesis.sentences import MAX_SENTENCE, split_sentences
from antiphon.synthesis.voices import language_of
from antiphon.types.audio import Samples
from antiphon.types.events import AudioChunk, Event, Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions
from antiphon.types.results import ModelInfo

SENTENCE_PAUSE_S = 0.2  # of silence between two sentences; models end a sentence with its last sound
# Of audio held for sentences that are complete out of order; beyond it no more sentences should begin. A batch of sixteen
# sentences that are synthesised at the same speed holds about this much when the first of them is complete.
MAX_HELD_S = 60.0

Listener = Callable[[Samples], None]


class SpeakPlan:
    """The state of one request.

    Sentences are synthesised concurrently. `listener` gets the audio of the first one as it is made, that of the others once
    all sentences before them are complete. It is called on the worker thread: it must be fast and must not raise.
    """

    def __init__(
        self, request: int, sentences: Sequence[str], voice: str, options: SpeakOptions, rate: int, listener: Listener
    ) -> None:
        self._units = [Sentence(request, text, voice, index, options) for index, text in enumerate(sentences)]
        self._held: dict[int, list[Samples]] = {index: [] for index in range(len(sentences))}
        self._complete: set[int] = set()
        self._current = 0  # the sentence whose audio goes straight to the listener
        self._pause = np.zeros(round(SENTENCE_PAUSE_S * rate), np.float32)
        self._listener = listener
        self._error: Exception | None = None
        self.held_samples = 0  # of complete or later sentences, while an earlier one is not complete

    @property
    def expected(self) -> int:
        return len(self._units)

    @property
    def seconds(self) -> float:
        return sum(unit.seconds for unit in self._units)

    @property
    def done(self) -> bool:
        return self._error is not None or self._current == len(self._units)

    def start(self) -> Sequence[Sentence]:
        return self._units

    def receive(self, event: Event) -> Sequence[Sentence]:
        match event:
            case AudioChunk(unit, samples):
                if unit.index == self._current:
                    self._listener(samples)
                else:
                    self._held[unit.index].append(samples)
                    self.held_samples += len(samples)
            case SentenceFinished(unit):
                self._complete.add(unit.index)
                self._advance()
            case Failed(_, error):
                self._error = error
            case _:
                raise TypeError(f"A sentence cannot receive {type(event).__name__}.")
        return ()

    def result(self) -> None:
        if self._error is not None:
            raise self._error

    def _advance(self) -> None:
        """Send the audio held for the next sentences, as far as those before them are complete."""
        while self._current in self._complete:
            self._current += 1
            if self._current < len(self._units):
                self._listener(self._pause)
                for samples in self._held.pop(self._current):
                    self.held_samples -= len(samples)
                    self._listener(samples)


def sentences_of(text: str, info: ModelInfo, voice: str) -> list[str]:
    """Split `text` into sentences that the model can read: short enough, and without digits if it cannot read them."""
    language = language_of(info, voice)
    longest = min(MAX_SENTENCE, info.longest_sentence or MAX_SENTENCE)
    sentences = split_sentences(text, language, max_length=longest)
    if info.reads_digits:
        return sentences
    # Numbers are spelled out after the split, because "1999. five" no longer looks like the end of a sentence; then the
    # sentences are split again, because they are longer.
    spelled = [spell_numbers(sentence, language) for sentence in sentences]
    return [
        part
        for sentence in spelled
        for part in split_sentences(sentence, language, max_first=longest, max_length=longest)
    ]
