"""What a caller asks of one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Task = Literal["transcribe", "translate"]


ModelTask = Literal["transcribe", "translate", "speak"]


GraphTask = Literal["speech2text", "text2speech"]  # what OVMS calls the two jobs a model can have


Precision = Literal["auto", "bf16", "f32"]


WeightFormat = Literal["auto", "fp32", "fp16", "int8"]


AudioContext = Literal["full", "auto"]  # whole windows are heard, or about as much as there is audio


Vad = Literal["auto", "always", "energy", "none"]


Report = Callable[[str], None]  # receives one line of progress while a model loads or an export runs


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


MIN_SPEED, MAX_SPEED = 0.25, 4.0  # of speech, times the voice's own; a model may allow less


@dataclass(frozen=True, slots=True)
class SpeakOptions:
    """What a caller asks of one synthesis request.

    `voice` is a name the model lists or one of OpenAI's, None for its default; `language` chooses a voice where voices are
    languages; `seed` makes what is random about a voice repeatable. `speed` keeps the pitch.
    """

    voice: str | None = None
    language: str | None = None
    seed: int = 0
    speed: float = 1.0
