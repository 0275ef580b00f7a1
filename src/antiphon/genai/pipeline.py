"""Load an OpenVINO IR folder with an OpenVINO GenAI pipeline, on any OpenVINO device.

A pipeline processes one request at a time. It serves devices other than the CPU, and families without native graphs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from antiphon.errors import ConfigError
from antiphon.genai.asr import ADAPTERS
from antiphon.genai.folder import check_files
from antiphon.genai.runtime import InstalledGenAI, PipelineKind, Runtime, cause_of, check_device, spell_precision
from antiphon.genai.session import PipelineSession
from antiphon.genai.tts import VOICES, SpeechAdapter, synthesise
from antiphon.models.folder import ModelFolder
from antiphon.models.session import AnySession
from antiphon.models.speecht5.config import longest_sentence
from antiphon.types.options import MAX_SPEED, MIN_SPEED, GraphTask, Report
from antiphon.types.results import ModelInfo

NO_PROPERTIES: Mapping[str, object] = MappingProxyType({})
_PIPELINES: Mapping[GraphTask, PipelineKind] = MappingProxyType(
    {"speech2text": "ASRPipeline", "text2speech": "Text2SpeechPipeline"}
)


@dataclass(frozen=True, slots=True)
class _Model:
    """What the session of every family needs besides its pipeline."""

    info: ModelInfo
    folder: ModelFolder
    runtime: Runtime
    open: Callable[[], Any]


def load(
    folder: ModelFolder,
    *,
    name: str,
    device: str,
    reason: str,
    word_timestamps: bool = False,
    plugin_config: Mapping[str, object] = NO_PROPERTIES,
    cache_dir: Path | None = None,
    speaker: tuple[str, Path] | None = None,
    speeds: tuple[float, float] = (MIN_SPEED, MAX_SPEED),
    report: Report = lambda line: None,
    runtime: Runtime | None = None,
) -> AnySession:
    """Open the pipeline for the IR in `folder` on `device`; `reason` says why the native engine does not serve it.

    `plugin_config` holds OpenVINO properties for the device; its CACHE_DIR has priority over `cache_dir`. `speaker` is the
    name and file of one more voice. Raises ConfigError naming the folder, file or setting and the fix.
    """
    began = time.monotonic()
    runtime = runtime or InstalledGenAI()
    family = folder.served_family()
    target, weight_format = check(folder, device, runtime)
    properties = {**({"CACHE_DIR": str(cache_dir)} if cache_dir is not None else {}), **plugin_config}
    hint = properties.get("INFERENCE_PRECISION_HINT")
    precision = spell_precision(str(hint)) if hint else runtime.precision(target)
    words = word_timestamps and "words" in family.takes
    info = ModelInfo(
        name=name,
        family=family.name,
        path=folder.path,
        backend="genai",
        device=target,
        precision=precision,
        weight_format=weight_format,
        languages=(),
        tasks=(),
        default_language="en",
        reason=reason,
        speeds=speeds,
    )
    options = {**properties, **({"word_timestamps": True} if words else {})}
    model = _Model(info, folder, runtime, lambda: _open_pipeline(runtime, folder, target, properties, options))
    report(f"{name}: {family.name} from {folder.path}, by openvino_genai: {reason}")
    if word_timestamps and not words:
        report(f"{name}: {family.name} does not give word timestamps; requests cannot ask for them")
    session = _load_tts(model, speaker) if family.task == "text2speech" else _load_asr(model, words=words)
    report(
        f"{name}: genai backend on {target}, computing in {precision}, {weight_format} weights, one request at a time, "
        f"ready in {time.monotonic() - began:.1f} s"
    )
    return session


def check(folder: ModelFolder, device: str, runtime: Runtime | None = None) -> tuple[str, str]:
    """The device as OpenVINO spells it, and the weight format. Raises ConfigError for a missing device or file."""
    # The device first: an export would not help if it is missing.
    return check_device(device, (runtime or InstalledGenAI()).devices()), check_files(folder)


def _open_pipeline(
    runtime: Runtime, folder: ModelFolder, device: str, properties: Mapping[str, object], options: Mapping[str, object]
) -> Any:
    """The pipeline for the folder's task; `options` are the device's `properties` and the pipeline's own."""
    try:
        return runtime.pipeline(_PIPELINES[folder.served_family().task], folder.path, device, options)
    except (RuntimeError, TypeError, ValueError) as error:
        given = f" with plugin_config {', '.join(properties)}" if properties else ""
        raise ConfigError(
            f"{folder.path}: openvino_genai cannot open it on {device}{given}: {cause_of(error)}."
        ) from error


def _load_asr(model: _Model, *, words: bool) -> AnySession:
    pipeline = model.open()
    adapter = ADAPTERS[model.info.family](model.folder, pipeline, model.runtime)
    no_word_times_reason = ""
    if "words" not in model.folder.served_family().takes:
        no_word_times_reason = f"{model.info.family} does not give any"
    elif not words:
        no_word_times_reason = "the server must be started, or the model exported, with enable_word_timestamps"
    elif not pipeline.get_generation_config().alignment_heads:
        no_word_times_reason = f"{model.folder.path / 'generation_config.json'} has no alignment_heads"
    info = replace(
        model.info,
        languages=tuple(adapter.languages),
        tasks=adapter.tasks,
        default_language=adapter.default_language,
        no_word_times_reason=no_word_times_reason,
    )
    return PipelineSession(info, pipeline, model.open, adapter)


def _load_tts(model: _Model, speaker: tuple[str, Path] | None) -> AnySession:
    pipeline = model.open()
    family = VOICES[model.info.family]
    shape = tuple(int(size) for size in pipeline.get_speaker_embedding_shape())
    voices = family.read(model.folder.path, speaker, shape, model.runtime)
    positions = model.folder.config.get("max_text_positions")
    default = voices.names[0]
    language = family.language(default, None)
    try:
        # Only a synthesised text shows the sample rate, and whether the pipeline can read a text at all.
        _, rate = synthesise(pipeline, "a", voices.tensors[default], language)
    except RuntimeError as error:
        raise ConfigError(
            f"{model.folder.path}: openvino_genai opens it on {model.info.device}, but cannot speak: {cause_of(error)}."
        ) from error
    info = replace(
        model.info,
        tasks=("speak",),
        default_language=language or "en",
        voices=voices.names,
        openai_voices=voices.openai_voices,
        sample_rate=rate,
        reads_digits=family.reads_digits,
        longest_sentence=longest_sentence(positions) if isinstance(positions, int) else None,
    )
    return PipelineSession(info, pipeline, model.open, SpeechAdapter(voices, family.language, rate))
