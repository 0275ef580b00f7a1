"""The genai backend: from an OpenVINO IR folder to a session over `openvino_genai`'s pipeline, on any device of OpenVINO.

One request at a time: it is for devices and families that have no graphs of our own. It must not know queues or HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from antiphon.errors import ConfigError
from antiphon.genai.asr import LanguageModelHearing, WhisperHearing
from antiphon.genai.folder import ModelFolder, read_folder
from antiphon.genai.session import PipelineSession
from antiphon.genai.toolkit import InstalledGenAI, Toolkit, cause_of, check_device, spell_precision
from antiphon.genai.tts import Speaking, kokoro_language, kokoro_voices, speak, speecht5_voices
from antiphon.languages import normalise
from antiphon.models.session import AnySession
from antiphon.models.speecht5.config import longest_sentence
from antiphon.types.options import Report
from antiphon.types.results import ModelInfo

NO_PROPERTIES: Mapping[str, object] = MappingProxyType({})

# Qwen3-ASR's languages, where the folder's config does not list them, by the names it was trained with.
_QWEN_LANGUAGES = (
    "Chinese, English, Cantonese, Arabic, German, French, Spanish, Portuguese, Indonesian, Italian, Korean, Russian, Thai, "
    "Vietnamese, Japanese, Turkish, Hindi, Malay, Dutch, Swedish, Danish, Finnish, Polish, Czech, Filipino, Persian, Greek, "
    "Romanian, Hungarian, Macedonian"
)


@dataclass(frozen=True, slots=True)
class _Opening:
    """What every family's session is made of besides its pipeline."""

    name: str
    folder: ModelFolder
    device: str
    reason: str
    precision: str
    toolkit: Toolkit
    reopen: Callable[[], Any]


def load(
    folder: Path,
    *,
    name: str,
    device: str,
    reason: str,
    word_timestamps: bool = False,
    plugin_config: Mapping[str, object] = NO_PROPERTIES,
    cache_dir: Path | None = None,
    speaker: tuple[str, Path] | None = None,
    report: Report = lambda line: None,
    toolkit: Toolkit | None = None,
) -> AnySession:
    """Open the pipeline of the IR in `folder` on `device`; `reason` says why it is not the native engine.

    `plugin_config` are OpenVINO properties for the device; its CACHE_DIR stands before `cache_dir`. For a model that
    speaks there may be one more `speaker`: its name and the file of its voice. `toolkit` stands in for the libraries.

    Raises ConfigError naming the folder, file or flag and the fix.
    """
    began = time.monotonic()
    toolkit = toolkit or InstalledGenAI()
    target, model = check(folder, device, toolkit)
    properties = {**({"CACHE_DIR": str(cache_dir)} if cache_dir is not None else {}), **plugin_config}
    hint = properties.get("INFERENCE_PRECISION_HINT")
    words = {"word_timestamps": True} if word_timestamps and model.family == "whisper" else {}
    opening = _Opening(
        name=name,
        folder=model,
        device=target,
        reason=reason,
        precision=spell_precision(str(hint)) if hint else toolkit.precision(target),
        toolkit=toolkit,
        reopen=lambda: _open_pipeline(toolkit, model, target, properties, words),
    )
    report(f"{name}: {model.family} from {folder}, by openvino_genai: {reason}")
    if word_timestamps and model.family != "whisper":
        report(f"{name}: {model.family} tells no times of words; requests cannot ask for them")
    if model.family == "speecht5" or model.family == "kokoro":
        session = _load_voice(opening, speaker)
    elif speaker is not None:
        raise ConfigError(f"--speaker: {folder} holds {model.family}, which does not speak.")
    else:
        session = _load_ears(opening, word_timestamps)
    report(
        f"{name}: genai backend on {target}, computing in {opening.precision}, {model.weight_format} weights, one request "
        f"at a time, ready in {time.monotonic() - began:.1f} s"
    )
    return session


def check(folder: Path, device: str, toolkit: Toolkit | None = None) -> tuple[str, ModelFolder]:
    """The device as OpenVINO spells it, and what the folder holds. ConfigError naming what is missing."""
    # The device first: no export would help one that is not there.
    return check_device(device, (toolkit or InstalledGenAI()).devices()), read_folder(folder)


def _open_pipeline(
    toolkit: Toolkit,
    model: ModelFolder,
    device: str,
    properties: Mapping[str, object],
    extras: Mapping[str, object],
) -> Any:
    """The pipeline for a folder's family; `extras` are what it takes besides the device's properties."""
    kind: Any = "Text2SpeechPipeline" if model.family in ("speecht5", "kokoro") else "ASRPipeline"
    try:
        return toolkit.pipeline(kind, model.path, device, {**properties, **extras})
    except (RuntimeError, TypeError, ValueError) as error:
        asked = f" with --plugin_config {', '.join(properties)}" if properties else ""
        raise ConfigError(
            f"{model.path}: openvino_genai cannot open it on {device}{asked}: {cause_of(error)}."
        ) from error


def _load_ears(opening: _Opening, word_timestamps: bool) -> AnySession:
    pipeline = opening.reopen()
    hearing = _whisper(opening, pipeline) if opening.folder.family == "whisper" else _language_model(opening.folder)
    no_words = f"{opening.folder.family} tells none"
    if opening.folder.family == "whisper":
        named = bool(pipeline.get_generation_config().alignment_heads)
        no_words = "" if named else f"{opening.folder.path / 'generation_config.json'} names no alignment_heads"
        if not word_timestamps:
            no_words = "the server must be started, or the model exported, with --enable_word_timestamps"
    info = _info(
        opening,
        languages=tuple(hearing.languages),
        tasks=hearing.tasks,
        default_language=hearing.default_language,
        no_words=no_words,
    )
    return PipelineSession(info, pipeline, opening.reopen, hearing)


def _whisper(opening: _Opening, pipeline: Any) -> WhisperHearing:
    generation = pipeline.get_generation_config()
    tokens = sorted(generation.lang_to_id, key=generation.lang_to_id.get) if generation.is_multilingual else []
    languages = {token.strip("<|>"): token for token in tokens}
    if generation.is_multilingual and not languages:
        raise ConfigError(
            f"{opening.folder.path / 'generation_config.json'}: multilingual, but without lang_to_id; take the model's own."
        )
    return WhisperHearing(
        languages=languages,
        default_language="en" if "en" in languages or not languages else next(iter(languages)),
        target_positions=int(opening.folder.config.get("max_target_positions", 448)),
        end=int(generation.eos_token_id),
        first_pass=opening.toolkit.first_pass,
    )


def _language_model(folder: ModelFolder) -> LanguageModelHearing:
    if folder.family == "fun_asr":
        # It hears its languages mixed and names none, so there is none to choose and none to settle on for a file.
        return LanguageModelHearing({}, "zh", takes_context=False)
    listed = folder.config.get("support_languages") or _QWEN_LANGUAGES.split(", ")
    codes = {normalise(str(language)): str(language) for language in listed}
    languages = {code: language for code, language in codes.items() if code is not None}
    default = "en" if "en" in languages else next(iter(languages), "en")
    return LanguageModelHearing(languages, default, takes_context=True)


def _load_voice(opening: _Opening, speaker: tuple[str, Path] | None) -> AnySession:
    pipeline = opening.reopen()
    kokoro = opening.folder.family == "kokoro"
    shape = tuple(int(size) for size in pipeline.get_speaker_embedding_shape())
    read = kokoro_voices if kokoro else speecht5_voices
    voices = read(opening.folder.path, speaker, shape, opening.toolkit)
    positions = opening.folder.config.get("max_text_positions")
    first = voices.names[0]
    language = kokoro_language(first) if kokoro else None
    try:
        # Only a spoken word tells the rate, and whether a text can be read at all.
        _, rate = speak(pipeline, "a", voices.tensors[first], language)
    except RuntimeError as error:
        raise ConfigError(
            f"{opening.folder.path}: openvino_genai opens it on {opening.device}, but cannot speak: {cause_of(error)}."
        ) from error
    info = _info(
        opening,
        tasks=("speak",),
        default_language=language or "en",
        voices=voices.names,
        stand_ins=voices.stand_ins,
        sample_rate=rate,
        reads_digits=kokoro,
        longest_sentence=longest_sentence(positions) if isinstance(positions, int) else None,
    )
    return PipelineSession(info, pipeline, opening.reopen, Speaking(voices, kokoro, rate))


def _info(opening: _Opening, *, languages: tuple[str, ...] = (), **chosen: Any) -> ModelInfo:
    return ModelInfo(
        name=opening.name,
        family=opening.folder.family,
        path=opening.folder.path,
        backend="genai",
        device=opening.device,
        precision=opening.precision,
        weight_format=opening.folder.weight_format,
        languages=languages,
        reason=opening.reason,
        **chosen,
    )
