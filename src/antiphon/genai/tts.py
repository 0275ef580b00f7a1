"""Sentences asked of `openvino_genai.Text2SpeechPipeline`, and the voices of its families: SpeechT5 and Kokoro.

It must not know how a pipeline is opened or which thread runs it. A request's seed changes nothing: neither family takes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import ConfigError, EngineFailed, InvalidParameter
from antiphon.languages import normalise
from antiphon.models.speecht5.voices import DEFAULT, FOLDER, read_floats, read_voices
from antiphon.types.audio import Samples
from antiphon.types.events import AudioChunk, Event, Sentence, SentenceFinished

Floats = NDArray[np.float32]
Speaker = tuple[str, Path]  # a voice's name and its file

# The first letter of a Kokoro voice ("af_heart") is the language that it was trained on.
KOKORO_LANGUAGES: Mapping[str, str] = MappingProxyType(
    {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
)
# What OpenAI's thirteen names mean, in their alphabetical order: the voice of that name, or one of the kind it suggests.
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
_KOKORO_FIRST = "af_heart"  # the voice that its makers rate best


@dataclass(frozen=True, slots=True)
class Voices:
    """A model's voices by name, its default first. What the pipeline is given of each; None is the one built into it."""

    tensors: Mapping[str, Any]
    stand_ins: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)


@dataclass(frozen=True, slots=True)
class Speaking:
    """How a sentence is asked for. `kokoro` has languages; SpeechT5 reads letters whatever they mean."""

    voices: Voices
    kokoro: bool
    sample_rate: int

    def check(self, unit: Sentence) -> None:
        if unit.voice not in self.voices.tensors:
            raise InvalidParameter(
                f"The model has no voice {unit.voice!r}; it has {', '.join(self.voices.names)}.", param="voice"
            )
        if self.kokoro:
            kokoro_language(unit.voice, unit.options.language)

    def run(self, pipeline: Any, unit: Sentence) -> list[Event]:
        language = kokoro_language(unit.voice, unit.options.language) if self.kokoro else None
        samples, rate = speak(pipeline, unit.text, self.voices.tensors[unit.voice], language)
        if rate != self.sample_rate:
            raise EngineFailed(f"The pipeline answered at {rate} Hz, where it was {self.sample_rate} before.")
        return [AudioChunk(unit, samples), SentenceFinished(unit)] if len(samples) else [SentenceFinished(unit)]


def speak(pipeline: Any, text: str, voice: Any, language: str | None) -> tuple[Samples, int]:
    """The sound of a text and its rate; `language` is Kokoro's, and None for SpeechT5."""
    # Speed 1: the service stretches what comes out, for every family alike.
    asked = {"language": language, "speed": 1.0} if language is not None else {}
    # A lone surrogate is no UTF-8, and the binding takes nothing else.
    clean = text.encode("utf-8", "replace").decode("utf-8")
    answer = pipeline.generate(clean, **asked) if voice is None else pipeline.generate(clean, voice, **asked)
    parts = [np.array(speech.data, np.float32).reshape(-1) for speech in answer.speeches]  # copied: it is used again
    return np.concatenate([np.zeros(0, np.float32), *parts]), int(answer.output_sample_rate)


def speecht5_voices(folder: Path, speaker: Speaker | None, shape: tuple[int, ...], toolkit: Any) -> Voices:
    """Those of `voices/*.bin` and the one given, or else the one that the pipeline has built in."""
    if speaker is None and not any((folder / FOLDER).glob("*.bin")):
        return Voices({DEFAULT: None}, (DEFAULT,))
    embeddings = read_voices(folder, int(np.prod(shape)), speaker).embeddings
    tensors = {name: toolkit.tensor(values.reshape(shape)) for name, values in embeddings.items()}
    return Voices(tensors, tuple(tensors))


def kokoro_voices(folder: Path, speaker: Speaker | None, shape: tuple[int, ...], toolkit: Any) -> Voices:
    """Those of `voices/*.bin` and the one given. ConfigError for a file of another size and for a model without any."""
    paths = {path.stem: path for path in sorted((folder / FOLDER).glob("*.bin"))}
    if speaker is not None:
        paths[speaker[0]] = speaker[1]
    if not paths:
        raise ConfigError(f"{folder / FOLDER}: no voice; copy Kokoro's voices there, each as NAME.bin.")
    first = speaker[0] if speaker else next((name for name in (DEFAULT, _KOKORO_FIRST) if name in paths), min(paths))
    names = [first, *(name for name in paths if name != first)]
    tensors = {name: toolkit.tensor(_read(paths[name], shape)) for name in names}
    return Voices(tensors, tuple(name if name in tensors else first for name in _KOKORO_STAND_INS))


def kokoro_language(voice: str, asked: str | None = None) -> str:
    """What Kokoro is told to read: the language asked for, else the voice's own ("af_heart" has en-us)."""
    if asked is None:
        # Voices of other languages (and a speaker of one's own) read English, as every voice does in the peer.
        letter = voice[0] if len(voice) > 2 and voice[2] == "_" else ""
        return KOKORO_LANGUAGES.get(letter, KOKORO_LANGUAGES["a"])
    wanted = asked.strip().lower().replace("_", "-")
    known = tuple(KOKORO_LANGUAGES.values())
    kindred = [code for code in known if normalise(wanted) is not None and normalise(code) == normalise(wanted)]
    found = wanted if wanted in known else next(iter(kindred), None)
    if found is None:
        raise InvalidParameter(
            f"language {asked!r} is not one that Kokoro reads; valid: {', '.join(known)}.", param="language"
        )
    return found


def _read(path: Path, shape: tuple[int, ...]) -> Floats:
    styles = read_floats(path, int(np.prod(shape))).reshape(shape)
    if not np.isfinite(styles).all():
        raise ConfigError(f"{path}: values that are not finite; copy the voice again.")
    return styles
