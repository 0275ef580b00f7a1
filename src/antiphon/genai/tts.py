"""Synthesis with `openvino_genai.Text2SpeechPipeline`: calls, voices and languages of SpeechT5 and Kokoro.

The seed of a request has no effect: the pipeline does not take one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import ConfigError, EngineFailed, InvalidParameter, quoted
from antiphon.genai.runtime import Runtime
from antiphon.languages import normalise
from antiphon.models.speecht5.voices import DEFAULT, FOLDER, read_floats, read_voices
from antiphon.types.audio import Samples
from antiphon.types.events import AudioChunk, Event, Sentence, SentenceFinished

Floats = NDArray[np.float32]
Speaker = tuple[str, Path]  # a voice's name and its file

# By the first letter of a Kokoro voice ("af_heart"): the language it was trained on.
KOKORO_LANGUAGES: Mapping[str, str] = MappingProxyType(
    {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
)
# For OpenAI's thirteen voice names in alphabetical order: the voice of the same name, or a similar one.
_KOKORO_STAND_INS = (
    "af_alloy",
    "am_michael",
    "bm_george",
    "am_fenrir",
    "af_bella",
    "am_echo",
    "bm_fable",
    "af_heart",
    "af_nova",
    "am_onyx",
    "af_sarah",
    "af_sky",
    "am_puck",
)
_KOKORO_DEFAULT = "af_heart"  # the voice with the best grade in Kokoro's own list


@dataclass(frozen=True, slots=True)
class PipelineVoices:
    """The voices of a model by name, the default first, as tensors for the pipeline; None is the pipeline's own voice.

    `openai_voices` are the voices that OpenAI's voice names stand for.
    """

    tensors: Mapping[str, Any]
    openai_voices: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)


@dataclass(frozen=True, slots=True)
class VoiceFamily:
    """How the voices of a family are read from a folder, and the language that a voice reads, if the pipeline takes one."""

    read: Callable[[Path, Speaker | None, tuple[int, ...], Runtime], PipelineVoices]
    language: Callable[[str, str | None], str | None]
    reads_digits: bool


@dataclass(frozen=True, slots=True)
class SpeechAdapter:
    """Synthesises sentences with a pipeline. `language` chooses a language by the voice and the request."""

    voices: PipelineVoices
    language: Callable[[str, str | None], str | None]
    sample_rate: int

    def check(self, unit: Sentence) -> None:
        if unit.voice not in self.voices.tensors:
            raise InvalidParameter(
                f"The model has no voice {quoted(unit.voice)}; it has {', '.join(self.voices.names)}.", param="voice"
            )
        self.language(unit.voice, unit.options.language)

    def run(self, pipeline: Any, unit: Sentence) -> list[Event]:
        language = self.language(unit.voice, unit.options.language)
        samples, rate = synthesise(pipeline, unit.text, self.voices.tensors[unit.voice], language)
        if rate != self.sample_rate:
            raise EngineFailed(f"The pipeline answered at {rate} Hz, where it was {self.sample_rate} before.")
        return [AudioChunk(unit, samples), SentenceFinished(unit)] if len(samples) else [SentenceFinished(unit)]


def synthesise(pipeline: Any, text: str, voice: Any, language: str | None) -> tuple[Samples, int]:
    """The samples of a text and their rate; `language` is None for a pipeline that does not take one."""
    # Speed 1: time stretching is the same for every family, and comes after the model.
    options = {"language": language, "speed": 1.0} if language is not None else {}
    # The binding accepts UTF-8 only, which has no lone surrogates.
    clean = text.encode("utf-8", "replace").decode("utf-8")
    answer = pipeline.generate(clean, **options) if voice is None else pipeline.generate(clean, voice, **options)
    parts = [
        np.array(speech.data, np.float32).reshape(-1) for speech in answer.speeches
    ]  # copied: the buffer is reused
    return np.concatenate([np.zeros(0, np.float32), *parts]), int(answer.output_sample_rate)


def speecht5_voices(folder: Path, speaker: Speaker | None, shape: tuple[int, ...], runtime: Runtime) -> PipelineVoices:
    """The voices in `voices/*.bin` and `speaker`; without any, the pipeline's own voice."""
    if speaker is None and not any((folder / FOLDER).glob("*.bin")):
        return PipelineVoices({DEFAULT: None}, (DEFAULT,))
    embeddings = read_voices(folder, int(np.prod(shape)), speaker).embeddings
    tensors = {name: runtime.tensor(values.reshape(shape)) for name, values in embeddings.items()}
    return PipelineVoices(tensors, tuple(tensors))


def kokoro_voices(folder: Path, speaker: Speaker | None, shape: tuple[int, ...], runtime: Runtime) -> PipelineVoices:
    """The voices in `voices/*.bin` and `speaker`. Raises ConfigError without any, and for a file of another size."""
    paths = {path.stem: path for path in sorted((folder / FOLDER).glob("*.bin"))}
    if speaker is not None:
        paths[speaker[0]] = speaker[1]
    if not paths:
        raise ConfigError(f"{folder / FOLDER}: no voice; copy Kokoro's voices there, each as NAME.bin.")
    first = speaker[0] if speaker else next((name for name in (DEFAULT, _KOKORO_DEFAULT) if name in paths), min(paths))
    names = [first, *(name for name in paths if name != first)]
    tensors = {name: runtime.tensor(_read(paths[name], shape)) for name in names}
    return PipelineVoices(tensors, tuple(name if name in tensors else first for name in _KOKORO_STAND_INS))


def kokoro_language(voice: str, language: str | None = None) -> str:
    """The language that Kokoro reads: the requested one, else that of the voice ("en-us" for "af_heart")."""
    if language is None:
        # Voices of other languages, and user-provided ones, read English; in OVMS all voices do.
        letter = voice[0] if len(voice) > 2 and voice[2] == "_" else ""
        return KOKORO_LANGUAGES.get(letter, KOKORO_LANGUAGES["a"])
    code = language.strip().lower().replace("_", "-")
    supported = tuple(KOKORO_LANGUAGES.values())
    same = [known for known in supported if normalise(code) is not None and normalise(known) == normalise(code)]
    if code not in supported and not same:
        raise InvalidParameter(
            f"language {quoted(language)} is not one that Kokoro reads; valid: {', '.join(supported)}.",
            param="language",
        )
    return code if code in supported else same[0]


def _no_language(voice: str, language: str | None) -> None:
    """SpeechT5 takes no language: it reads letters."""


VOICES: Mapping[str, VoiceFamily] = MappingProxyType(
    {
        "speecht5": VoiceFamily(speecht5_voices, _no_language, reads_digits=False),
        "kokoro": VoiceFamily(kokoro_voices, kokoro_language, reads_digits=True),
    }
)


def _read(path: Path, shape: tuple[int, ...]) -> Floats:
    styles = read_floats(path, int(np.prod(shape))).reshape(shape)
    if not np.isfinite(styles).all():
        raise ConfigError(f"{path}: values that are not finite; copy the voice again.")
    return styles
