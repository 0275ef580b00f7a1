"""Units of work, and the events that a session answers with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform
from antiphon.types.options import SpeakOptions, TranscribeOptions
from antiphon.types.results import WindowResult

# What is read aloud at 155 words a minute, as audiobooks are, at six characters a word with its space: 15.5 a second.
SECONDS_PER_CHARACTER = 1 / 15


@dataclass(frozen=True, slots=True, eq=False)
class Unit(ABC):
    """The thing the scheduler queues and a session works on: a part of one request. Compared by identity."""

    request: int

    @property
    @abstractmethod
    def seconds(self) -> float:
        """The audio it takes in or is about to give: what the scheduler reckons with."""


@dataclass(frozen=True, slots=True, eq=False)
class Window(Unit):
    """A window of audio to be heard.

    `samples` is mono float32 at 16 kHz, at most 480,000 of them, and may be read from a file whenever it is looked at;
    `start` is the first one's index in the file.
    `timestamps` may differ from the request's: a window whose end is a hard cut needs them to know where to go on.
    `history` is the newest of the ids that the windows before it sampled, if it shall know them.
    """

    samples: Waveform
    start: int
    timestamps: bool
    options: TranscribeOptions
    history: tuple[int, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True, eq=False)
class Sentence(Unit):
    """A sentence to be spoken, the `index`-th of its request; `voice` is a name the model has."""

    text: str
    voice: str
    index: int
    options: SpeakOptions

    @property
    def seconds(self) -> float:
        return len(self.text) * SECONDS_PER_CHARACTER


@dataclass(frozen=True, slots=True)
class LanguageDetected:
    """The language heard in a window, told as soon as it is known so that the request's other windows can start."""

    unit: Window
    language: str
    probability: float


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """The next samples of a sentence, mono at the model's rate; a sentence's chunks come in order."""

    unit: Sentence
    samples: Samples


@dataclass(frozen=True, slots=True)
class Finished:
    """A window's end: its result."""

    unit: Window
    result: WindowResult


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence's end: all of its audio was handed out."""

    unit: Sentence


@dataclass(frozen=True, slots=True)
class Failed:
    """A unit's end: the error that took it."""

    unit: Unit
    error: Exception


Event = LanguageDetected | AudioChunk | Finished | Spoken | Failed
