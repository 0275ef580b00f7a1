"""The options of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Task = Literal["transcribe", "translate"]
ModelTask = Literal["transcribe", "translate", "speak"]
GraphTask = Literal["speech2text", "text2speech"]  # the task names OVMS uses
Precision = Literal["auto", "bf16", "f32"]
WeightFormat = Literal["auto", "fp32", "fp16", "int8"]
AudioContext = Literal["full", "auto"]  # encode 30 s for every window, or only as much as its audio needs
Vad = Literal["auto", "always", "energy", "none"]

Report = Callable[[str], None]  # receives one line of progress while a model loads or an export runs


@dataclass(frozen=True, slots=True)
class VadOptions:
    """How a file is scanned for speech before it is transcribed.

    `mode` "auto" plans files longer than one window with voice activity detection (VAD), "always" shorter ones too;
    "energy" uses the signal level alone; "none" skips nothing and cuts every 30 s. A frame is speech if its probability
    reaches `threshold`; speech lasts while it stays above `threshold` - 0.15. `padding` (s) is kept before speech where
    audio is skipped. Files are not cut in pauses shorter than `silence` (s); None is the shortest pause either method finds.
    """

    mode: Vad = "auto"
    threshold: float = 0.35
    padding: float = 0.3
    silence: float | None = None


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """The options of one transcription or translation request.

    `language` is a code the model supports, or None to detect it. `temperature` 0 is greedy; above it, sampling from `seed`.
    `max_new_tokens` limits the tokens of a window; `min_new_tokens` suppresses the end token (benchmarks force a length
    with it). `timestamps` requests segment times; without it a window is one segment. `words` requests word times as well
    and does not change the text. With `condition_on_previous_text` windows are decoded one after the other, each with the
    preceding text in its prompt.
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
    """The options of one synthesis request.

    `voice` is one of the model's voices or of OpenAI's names, None for the default; `language` selects a voice for models
    whose voices are languages; `seed` makes random elements of a voice reproducible. `speed` keeps the pitch.
    """

    voice: str | None = None
    language: str | None = None
    seed: int = 0
    speed: float = 1.0
