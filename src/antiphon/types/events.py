"""Units of work, and the events a session returns for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform
from antiphon.types.options import SpeakOptions, TranscribeOptions
from antiphon.types.results import WindowResult

# 155 words a minute, the pace of audiobooks, at six characters a word with its space: 15.5 characters a second.
SECONDS_PER_CHARACTER = 1 / 15


@dataclass(frozen=True, slots=True, eq=False)
class Unit(ABC):
    """The part of a request that the scheduler queues and a session works on. Compared by identity."""

    request: int

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Seconds of audio in, or estimated seconds of audio out. The scheduler measures load in these."""


@dataclass(frozen=True, slots=True, eq=False)
class Window(Unit):
    """A window of audio to transcribe.

    `samples` is mono float32 at 16 kHz, at most 480,000 of them, and may be read from disk each time it is sliced;
    `start` is the index of the first one in the file. `options.timestamps` may be set although the request did not set
    it: a window that ends in a hard cut needs timestamps to know where to continue. `history` holds the newest token ids
    sampled in the windows before this one, for the prompt; empty unless conditioning on previous text is on.
    """

    samples: Waveform
    start: int
    options: TranscribeOptions
    history: tuple[int, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True, eq=False)
class Sentence(Unit):
    """A sentence to synthesise, the `index`-th of its request; `voice` is one of the model's voices."""

    text: str
    voice: str
    index: int
    options: SpeakOptions

    @property
    def seconds(self) -> float:
        return len(self.text) * SECONDS_PER_CHARACTER


@dataclass(frozen=True, slots=True)
class LanguageDetected:
    """The language of a window, sent before the window ends so that the request's other windows can start."""

    unit: Window
    language: str
    probability: float


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """The next samples of a sentence, mono at the model's rate; the chunks of a sentence come in order."""

    unit: Sentence
    samples: Samples


@dataclass(frozen=True, slots=True)
class WindowFinished:
    """The end of a window, with its result."""

    unit: Window
    result: WindowResult


@dataclass(frozen=True, slots=True)
class SentenceFinished:
    """The end of a sentence: all of its audio has been sent."""

    unit: Sentence


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a unit that failed, with the error."""

    unit: Unit
    error: Exception


Event = LanguageDetected | AudioChunk | WindowFinished | SentenceFinished | Failed
