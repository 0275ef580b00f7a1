"""One synthesis request: its sentences as units, and their audio put back into the order of the text.

Pure bookkeeping on the worker thread; it must not know models, sound formats or who listens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from antiphon.synthesis.normalise.numbers import spell_numbers
from antiphon.synthesis.sentences import LONGEST, split_sentences
from antiphon.synthesis.voices import language_of
from antiphon.types.audio import Samples
from antiphon.types.events import AudioChunk, Event, Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions
from antiphon.types.results import ModelInfo

SENTENCE_PAUSE = 0.2  # seconds of silence between two sentences; models end a sentence with its last sound

Listener = Callable[[Samples], None]


class SpeakPlan:
    """The state machine of one request (`scheduler/job.py`'s Plan).

    Sentences are spoken side by side; `listener` gets the audio of the first as it is made, and that of the others as soon as
    all before them is complete. It is called on the worker thread: it must be quick and must not raise.
    """

    def __init__(
        self, request: int, sentences: Sequence[str], voice: str, options: SpeakOptions, rate: int, listener: Listener
    ) -> None:
        self._units = [Sentence(request, text, voice, index, options) for index, text in enumerate(sentences)]
        self._held: dict[int, list[Samples]] = {index: [] for index in range(len(sentences))}
        self._complete: set[int] = set()
        self._speaking = 0  # the sentence whose audio goes straight to the listener
        self._pause = np.zeros(round(SENTENCE_PAUSE * rate), np.float32)
        self._listener = listener
        self._error: Exception | None = None

    @property
    def expected(self) -> int:
        return len(self._units)

    @property
    def seconds(self) -> float:
        return sum(unit.seconds for unit in self._units)

    @property
    def done(self) -> bool:
        return self._error is not None or self._speaking == len(self._units)

    def start(self) -> Sequence[Sentence]:
        return self._units

    def receive(self, event: Event) -> Sequence[Sentence]:
        match event:
            case AudioChunk(unit, samples):
                if unit.index == self._speaking:
                    self._listener(samples)
                else:
                    self._held[unit.index].append(samples)
            case SentenceFinished(unit):
                self._complete.add(unit.index)
                self._go_on()
            case Failed(_, error):
                self._error = error
            case _:
                raise TypeError(f"a sentence cannot end in {type(event).__name__}")
        return ()

    def result(self) -> None:
        if self._error is not None:
            raise self._error

    def _go_on(self) -> None:
        """Let the next sentences be heard, as far as those before them are complete."""
        while self._speaking in self._complete:
            self._speaking += 1
            if self._speaking < len(self._units):
                self._listener(self._pause)
                for samples in self._held.pop(self._speaking):
                    self._listener(samples)


def sentences_of(text: str, info: ModelInfo, voice: str) -> list[str]:
    """The sentences of `text` as the model can read them: short enough, and without digits if it reads none."""
    language = language_of(info, voice)
    longest = min(LONGEST, info.longest_sentence or LONGEST)
    sentences = split_sentences(text, language, longest=longest)
    if info.reads_digits:
        return sentences
    # Spelt sentence by sentence, as "1999. five" no longer looks like a sentence end; then split again, as spelling
    # makes a sentence longer.
    spelt = [spell_numbers(sentence, language) for sentence in sentences]
    return [
        part
        for sentence in spelt
        for part in split_sentences(sentence, language, first_longest=longest, longest=longest)
    ]
