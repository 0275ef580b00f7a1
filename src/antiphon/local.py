"""The Python API: a model in this process, without a server. `antiphon.load("folder").transcribe("talk.mp3").text`"""

from __future__ import annotations

import logging
import weakref
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.decode import decode
from antiphon.errors import InvalidAudio
from antiphon.loader import DEFAULT_RECOGNISER
from antiphon.model_server import ModelServer
from antiphon.models.session import AnySession
from antiphon.service import SpeakRequest, SpeechService, TranscribeRequest
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
    """A loaded model. Calls from several threads are batched together. Close it, or use it in a `with` block."""

    def __init__(self, *sessions: AnySession) -> None:
        self._models = ModelServer()  # without limits: each caller waits in its own thread
        self._service = SpeechService(self._models)
        self._info = self._models.add(*sessions)
        # A model that is dropped without `close` must not keep its thread and its weights.
        self._finalizer = weakref.finalize(self, self._models.abandon)

    @property
    def info(self) -> ModelInfo:
        return self._info

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
        """Transcribe a file, a file's bytes, or mono float32 samples at 16 kHz, in the language spoken.

        `timestamps` asks for segment times, `words` for word times; neither changes the text. With
        `condition_on_previous_text` the windows of a long file are decoded one by one, each with the text before it as
        its prompt. `vad` is how speech is found: by voice activity in audio of more than 30 s ("auto") or in all of it
        ("always"), by loudness ("energy"), or not at all ("none").
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
        return self._recognise(audio, options)

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
        """Translate speech into English; `language` is the one spoken. The other arguments are those of `transcribe`."""
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
        return self._recognise(audio, options)

    def speak(
        self, text: str, *, voice: str | None = None, language: str | None = None, seed: int = 0, speed: float = 1.0
    ) -> Samples:
        """`text` as speech: mono float32 samples at `info.sample_rate`. `speed` keeps the pitch."""
        options = SpeakOptions(voice, language, seed, speed)
        with self._service.admit(SpeakRequest(self._info.name, text, options)) as admitted:
            return admitted.speak_blocking()

    def _recognise(self, audio: Audio, options: TranscribeOptions) -> Transcript:
        with self._service.admit(TranscribeRequest(self._info.name, options)) as admitted:
            return admitted.transcribe_blocking(_samples(audio))

    def close(self) -> None:
        """Refuse new calls, finish those under way, and end the model's thread."""
        self._finalizer.detach()
        self._models.close(drain=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def load(
    name_or_folder: str | PathLike[str] = DEFAULT_RECOGNISER,
    *,
    precision: Precision = "auto",
    weight_format: WeightFormat = "auto",
    device: str = "CPU",
    slots: int = 16,
    vocoder: str | PathLike[str] | None = None,
    audio_context: AudioContext = "full",
) -> Model:
    """Load a model by its folder, or by its name: "espeak", or a catalogue name, which is downloaded the first time.

    `slots` is how many windows or sentences are decoded in one batch. `vocoder` is a SpeechT5 model's vocoder folder; its
    default is the folder of that name inside the model's. A Whisper model's `audio_context` "auto" makes short clips
    cheaper: only about as much of the 30 s window is encoded as there is audio.
    """
    from antiphon.loader import LoadOptions, load_sessions

    options = LoadOptions(
        precision=precision,
        weight_format=weight_format,
        device=device,
        slots=slots,
        report=logger.info,
        vocoder=None if vocoder is None else Path(vocoder),
        audio_context=audio_context,
    )
    return Model(*load_sessions(fspath(name_or_folder), options))


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
