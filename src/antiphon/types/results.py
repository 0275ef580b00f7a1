"""What a model or a request produced."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.options import MAX_SPEED, MIN_SPEED, ModelTask, Task

# What a window's text must not reach if it is to be relied on: Whisper's own thresholds (Radford et al. 2022, section 4.5).
MOST_REPETITION, LEAST_LOGPROB = 2.4, -1.0


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
    speeds: tuple[float, float] = (MIN_SPEED, MAX_SPEED)
    no_words: str = ""
