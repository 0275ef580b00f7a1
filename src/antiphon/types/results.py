"""Results: words, segments and transcripts, and the description of a loaded model."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.options import MAX_SPEED, MIN_SPEED, ModelTask, Task

# A window whose text compresses better, or whose mean log-probability is lower, is unreliable (Radford et al. 2022,
# section 4.5).
COMPRESSION_RATIO_THRESHOLD = 2.4
LOGPROB_THRESHOLD = -1.0


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its punctuation, as in the text (leading space kept), and its times in seconds.

    `probability` is the mean over its tokens; 0 if the backend does not report it.
    """

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A timed part of a window's text: seconds from the start of the window, text as decoded (leading space kept).

    `words`, if requested, concatenate to `text`; their times also count from the start of the window, and may lie slightly
    outside the piece.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The result of one window.

    `tokens` are the sampled ids without prompt and end token. `resume`, in seconds from the start of the window, is where
    decoding has to continue: the window's end, unless the model closed its last segment earlier.
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
        """Size of the text over its size when compressed, Whisper's measure of repetition; 0.0 for no text."""
        encoded = "".join(piece.text for piece in self.pieces).strip().encode()
        return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0

    @property
    def is_unreliable(self) -> bool:
        """True if the text is repetitive or its tokens were unlikely."""
        return self.compression_ratio > COMPRESSION_RATIO_THRESHOLD or self.avg_logprob < LOGPROB_THRESHOLD


@dataclass(frozen=True, slots=True)
class Segment:
    """A timed part of the transcript; seconds from the start of the file. Scores are the window's, as Whisper reports them.

    `seek` is the start of its window, in 10 ms frames. If `words` were requested, the segment starts with the first and
    ends with the last of them.
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
    """The result of a transcription request. `language` is a code ("en"), `duration` is seconds of decoded audio."""

    task: Task
    language: str
    duration: float
    text: str
    segments: tuple[Segment, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments, if they were requested."""
        return tuple(word for segment in self.segments for word in segment.words)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Description of a loaded model.

    `languages` are codes, empty for models without language tokens (".en"). `reason` says why the model does not run on
    the native backend, `no_word_times_reason` why it has no word times and how to get them.

    For speech: `voices`, the default first; `openai_voices`, the voices used for OpenAI's names, in turn; `sample_rate` of
    the output; `reads_digits`, False if numbers must be spelled out first; `longest_sentence` in characters, if
    limited; `speeds`, the lowest and highest allowed speed.
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
    openai_voices: tuple[str, ...] = ()
    sample_rate: int = SAMPLE_RATE
    reads_digits: bool = True
    longest_sentence: int | None = None
    reason: str = ""
    speeds: tuple[float, float] = (MIN_SPEED, MAX_SPEED)
    no_word_times_reason: str = ""
