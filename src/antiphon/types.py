"""The frozen values that cross layers: audio, units of work, what came of them, and the finished transcript.

Nothing here computes more than a property; nothing here knows a model family, HTTP or a thread.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz; every recognition family here hears 16 kHz mono
WINDOW_SECONDS = 30
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE  # 480,000
# What is read aloud at 155 words a minute, as audiobooks are, at six characters a word with its space: 15.5 a second.
SECONDS_PER_CHARACTER = 1 / 15

# What a window's text must not reach if it is to be relied on: Whisper's own thresholds (Radford et al. 2022, section 4.5).
MOST_REPETITION, LEAST_LOGPROB = 2.4, -1.0

Samples = NDArray[np.float32]


class Waveform(Protocol):
    """Mono float32 at 16 kHz, of which any stretch can be had: an array, or what was too long to be kept as one."""

    def __len__(self) -> int: ...

    def __getitem__(self, stretch: slice, /) -> Samples: ...


Task = Literal["transcribe", "translate"]
ModelTask = Literal["transcribe", "translate", "speak"]
GraphTask = Literal["speech2text", "text2speech"]  # what OVMS calls the two jobs a model can have
Precision = Literal["auto", "bf16", "f32"]
WeightFormat = Literal["auto", "fp32", "fp16", "int8"]
AudioContext = Literal["full", "auto"]  # whole windows are heard, or about as much as there is audio
Vad = Literal["auto", "always", "energy", "none"]


@dataclass(frozen=True, slots=True)
class VadOptions:
    """How a file is searched for speech before it is heard.

    `mode` "auto" has voice activity plan what is longer than a window, "always" shorter files too; "energy" goes by
    loudness alone; "none" skips nothing and cuts nowhere but after 30 s. From `threshold` a frame's probability is
    speech, which lasts while it is above `threshold` - 0.15; `padding` (s) is kept before speech where sound is skipped;
    no pause shorter than `silence` (s) is cut in, None for the shortest that either way of looking finds.
    """

    mode: Vad = "auto"
    threshold: float = 0.35
    padding: float = 0.3
    silence: float | None = None


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """What a caller asks of one recognition request.

    `language` is a code the model knows, or None to detect it. `temperature` 0 is greedy; above it, sampling from `seed`.
    `max_new_tokens` caps a window's answer; `min_new_tokens` holds the end token back (benchmarks force a length with it).
    `timestamps` asks for segment times; without it a window is one segment. `words` asks for the times of words too,
    which changes no text. With `condition_on_previous_text` windows are decoded one after the other, each with the text
    before it in its prompt.
    """

    task: Task = "transcribe"
    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0
    max_new_tokens: int | None = None
    min_new_tokens: int = 0
    timestamps: bool = False
    seed: int = 0
    words: bool = False
    condition_on_previous_text: bool = False
    vad: VadOptions = VadOptions()


@dataclass(frozen=True, slots=True)
class SpeakOptions:
    """What a caller asks of one synthesis request.

    `voice` is a name the model lists or one of OpenAI's, None for its default; `language` chooses a voice where voices are
    languages; `seed` makes what is random about a voice repeatable.
    """

    voice: str | None = None
    language: str | None = None
    seed: int = 0


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
class Word:
    """A word and its marks as they stand in the text, leading space kept; when it is said, in seconds.

    `probability` is the mean of what the model gives its tokens; 0 where the backend does not tell.
    """

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text inside a window: seconds from the window's start, text as decoded (leading space kept).

    The texts of its `words`, if they were asked for, make up its own; their times are the window's too, and may lie a
    little outside the piece.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What a session made of one unit.

    `tokens` are the sampled ids without prompt and end token. `resume` is where, in seconds from the window's start, decoding
    would have to go on: the window's end unless the model closed its last segment earlier (the abandoned tail).
    """

    language: str
    pieces: tuple[Piece, ...]
    tokens: tuple[int, ...]
    resume: float
    avg_logprob: float
    no_speech_prob: float
    temperature: float

    @property
    def compression_ratio(self) -> float:
        """Bytes of the text over its bytes when compressed, Whisper's measure of repetition; 0.0 for no text."""
        encoded = "".join(piece.text for piece in self.pieces).strip().encode()
        return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0

    @property
    def doubtful(self) -> bool:
        """Whether the model was at a loss: it repeats itself, or chose among unlikely tokens."""
        return self.compression_ratio > MOST_REPETITION or self.avg_logprob < LEAST_LOGPROB


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


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the transcript; seconds from the start of the file. Scores are the window's, as Whisper reports them.

    `seek` is the start of the window it came from, in 10 ms frames. Where `words` were asked for it begins with the
    first of them and ends with the last.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcript:
    """A finished recognition request. `language` is a code ("en"), `duration` is seconds of decoded audio."""

    task: Task
    language: str
    duration: float
    text: str
    segments: tuple[Segment, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments, if they were asked for."""
        return tuple(word for segment in self.segments for word in segment.words)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the outside may know of a loaded model.

    `languages` are codes, empty for one that takes none (".en" models). A model that speaks lists its `voices`, its own
    default first, and the rate its samples come at; `stand_ins` are the voices that names of OpenAI's are given, in turn;
    `reads_digits` is False for one that can only say letters, `longest_sentence` how many characters it can be given at
    once, if that is limited. `reason` says why the backend is not the native one,
    `no_words` why the times of words cannot be had, and what would mend it; `speeds` are the least and the greatest that
    speech may be asked for at.
    """

    name: str
    family: str
    path: Path
    backend: str
    device: str
    precision: str
    weight_format: str
    languages: tuple[str, ...]
    tasks: tuple[ModelTask, ...]
    default_language: str
    voices: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    sample_rate: int = SAMPLE_RATE
    reads_digits: bool = True
    longest_sentence: int | None = None
    reason: str = ""
    speeds: tuple[float, float] = (0.25, 4.0)
    no_words: str = ""
