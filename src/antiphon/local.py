"""The Python API: a model in this process, without a server. `antiphon.load("folder").transcribe("talk.mp3").text`

It knows files and arrays and the service; it must not know model families or HTTP.
"""

from __future__ import annotations

import logging
import sys
import weakref
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.decode import decode
from antiphon.errors import InvalidAudio
from antiphon.models.session import AnySession
from antiphon.service import SpeechService
from antiphon.types.audio import Samples, Waveform
from antiphon.types.options import (
    AudioContext,
    Precision,
    SpeakOptions,
    TranscribeOptions,
    Vad,
    VadOptions,
    WeightFormat,
)
from antiphon.types.results import ModelInfo, Transcript

logger = logging.getLogger(__name__)

Audio = str | PathLike[str] | bytes | NDArray[Any]


class Model:
    """A loaded model. Calls from many threads decode together, in one batch. Close it, or use it in a `with` block."""

    def __init__(self, session: AnySession) -> None:
        # Callers here wait in threads of their own, so the queue needs no bound against a crowd.
        self._service = SpeechService(max_waiting=sys.maxsize)
        self._service.load(session)
        # A model that is dropped, not closed, must not keep its thread and its weights.
        self._finalizer = weakref.finalize(self, self._service.abandon)

    @property
    def info(self) -> ModelInfo:
        return self._service.info()[0]

    def transcribe(
        self,
        audio: Audio,
        *,
        language: str | None = None,
        prompt: str | None = None,
        temperature: float = 0.0,
        max_new_tokens: int | None = None,
        timestamps: bool = False,
        words: bool = False,
        seed: int = 0,
        condition_on_previous_text: bool = False,
        vad: Vad | VadOptions = "auto",
    ) -> Transcript:
        """What is said in a file, in a container's bytes, or in mono float32 samples at 16 kHz.

        `timestamps` asks for the times of segments, `words` for those of words; neither changes what is heard. With
        `condition_on_previous_text` the windows of a long file are decoded one by one, each told the text before it.
        `vad` is how speech is found: by voice activity in files of more than 30 s ("auto") or in all ("always"), by
        loudness ("energy"), or not at all ("none").
        """
        options = TranscribeOptions(
            "transcribe",
            language,
            prompt,
            temperature,
            max_new_tokens,
            timestamps=timestamps,
            words=words,
            seed=seed,
            condition_on_previous_text=condition_on_previous_text,
            vad=vad if isinstance(vad, VadOptions) else VadOptions(vad),
        )
        return self._service.transcribe_blocking(_samples(audio), self.info.name, options)

    def translate(
        self,
        audio: Audio,
        *,
        language: str | None = None,
        prompt: str | None = None,
        temperature: float = 0.0,
        max_new_tokens: int | None = None,
        timestamps: bool = False,
        words: bool = False,
        seed: int = 0,
        condition_on_previous_text: bool = False,
        vad: Vad | VadOptions = "auto",
    ) -> Transcript:
        """What is said, in English; `language` is the one spoken. The rest is as `transcribe` has it."""
        options = TranscribeOptions(
            "translate",
            language,
            prompt,
            temperature,
            max_new_tokens,
            timestamps=timestamps,
            words=words,
            seed=seed,
            condition_on_previous_text=condition_on_previous_text,
            vad=vad if isinstance(vad, VadOptions) else VadOptions(vad),
        )
        return self._service.transcribe_blocking(_samples(audio), self.info.name, options)

    def speak(self, text: str, *, voice: str | None = None, language: str | None = None, seed: int = 0) -> Samples:
        """`text` spoken aloud: mono float32 at `info.sample_rate`."""
        return self._service.speak_blocking(text, self.info.name, SpeakOptions(voice, language, seed))

    def close(self) -> None:
        """Finish the calls under way, refuse new ones, and end the model's thread."""
        self._finalizer.detach()
        self._service.close(drain=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def load(
    name_or_folder: str | PathLike[str],
    *,
    precision: Precision = "auto",
    weight_format: WeightFormat = "auto",
    device: str = "CPU",
    slots: int = 16,
    vocoder: str | PathLike[str] | None = None,
    audio_context: AudioContext = "full",
) -> Model:
    """Load a model by its name or folder. `slots` is how many windows or sentences are decoded side by side.

    A SpeechT5 model's `vocoder` is the folder of that name in its own, unless another is given. A Whisper model's
    `audio_context` "auto" makes short clips cheaper: about as much of a window of 30 s is heard as there is audio.
    """
    from antiphon.loader import load_session  # brings OpenVINO in, which only loading needs

    session = load_session(
        fspath(name_or_folder),
        precision=precision,
        weight_format=weight_format,
        device=device,
        slots=slots,
        name=None,
        report=logger.info,
        vocoder=None if vocoder is None else Path(vocoder),
        audio_context=audio_context,
    )
    return Model(session)


def _samples(audio: Audio) -> Waveform:
    if isinstance(audio, np.ndarray):
        return _array(audio)
    if isinstance(audio, bytes):
        return decode(audio)
    return decode(Path(audio))


def _array(audio: NDArray[Any]) -> Samples:
    if audio.ndim != 1:
        raise InvalidAudio(
            f"The array has shape {audio.shape}; give one channel, for instance audio.mean(axis=channel_axis)."
        )
    if audio.dtype != np.float32:
        raise InvalidAudio(
            f"The array is {audio.dtype}; give float32 from -1 to 1 at 16 kHz, "
            "for instance audio.astype(numpy.float32) / 32768 for 16-bit samples."
        )
    if not np.isfinite(audio).all():
        raise InvalidAudio("The array holds NaN or infinity; give finite float32 samples.")
    return np.ascontiguousarray(audio)
