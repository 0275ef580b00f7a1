"""Load a Whisper folder, a checkpoint or an OpenVINO model: read config and tokenizer, build and compile the graphs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

from antiphon.models.folder import ModelFolder
from antiphon.models.whisper.config import WhisperConfig, parse_config, read_config
from antiphon.models.whisper.ctranslate2 import CTranslate2Checkpoint, read_configs
from antiphon.models.whisper.graph import align_graph, encoder_graph, features_graph, step_graph
from antiphon.models.whisper.ir import open_ir
from antiphon.models.whisper.runner import WhisperGraphs, WhisperRunner
from antiphon.models.whisper.session import WhisperSession
from antiphon.models.whisper.tokens import read_tokenizer
from antiphon.runtime.openvino import Device
from antiphon.runtime.replicas import replica_slots, slots_line
from antiphon.types.options import AudioContext, Report, Task, WeightFormat
from antiphon.types.results import ModelInfo
from antiphon.weights.ctranslate2 import MODEL_FILE
from antiphon.weights.quantized import QuantizedWeights
from antiphon.weights.safetensors import open_checkpoint
from antiphon.weights.shapes import check_shapes, making_graphs
from antiphon.weights.source import Weights

logger = logging.getLogger(__name__)


def check_ir(path: Path) -> None:
    """Raise NotNative for an OpenVINO model that `load` cannot read."""
    open_ir(path, "auto")


def load(
    folder: ModelFolder,
    *,
    name: str,
    runtime: Device,
    weight_format: WeightFormat,
    slots: int,
    report: Report,
    words: bool = False,
    audio_context: AudioContext = "full",
) -> tuple[WhisperSession, ...]:
    """Build and compile the graphs of a folder; the sessions that come back share them.

    With `words`, the alignment graph for word timestamps is compiled now, not at the first request for them. With the
    `audio_context` "auto", the graphs take windows of any length, and short clips are encoded at about their own length.

    Raises ConfigError or WeightError naming the missing or wrong file or tensor, and NotNative for an OpenVINO model
    that only OpenVINO GenAI can read.
    """
    path = folder.path
    config = _read_config(folder)
    began = time.monotonic()
    auto = audio_context == "auto"
    with _open(folder, weight_format) as weights:
        tokenizer = read_tokenizer(path, config)
        check_shapes(path, _checked_shapes(config), weights)
        stored = weights.format_of(f"model.decoder.layers.{config.decoder_layers - 1}.fc1.weight")
        report(
            f"{name}: whisper, {config.encoder_layers} + {config.decoder_layers} layers of {config.width}, from "
            f"{'the OpenVINO model in ' if folder.format == 'openvino' else ''}{path}"
        )
        with making_graphs(path):
            # Cached: the sessions share one alignment graph.
            align = cache(partial(_compile_align, folder, name, config, runtime, weight_format, any_length=auto))
            graphs = _compile(config, runtime, weights, align, audio_context)
    info = _info(path, name, runtime, stored, config)
    report(
        f"{name}: native engine on {info.device}, computing in {info.precision}, {info.weight_format} weights, "
        f"{slots_line(slots, runtime.streams)}, {'an audio context as long as the audio, ' if auto else ''}"
        f"compiled in {time.monotonic() - began:.1f} s"
    )

    def session(share: int) -> WhisperSession:
        runner = WhisperRunner(config, graphs, share, runtime.precision)
        if words:
            runner.prepare_align()
        return WhisperSession(info, config, tokenizer, runner, share, audio_context)

    return tuple(session(share) for share in replica_slots(slots, runtime.streams))


def _info(path: Path, name: str, runtime: Device, weight_format: str, config: WhisperConfig) -> ModelInfo:
    languages = tuple(config.tokens.languages)
    return ModelInfo(
        name=name,
        family="whisper",
        path=path,
        backend="native",
        device=runtime.name,
        precision=runtime.precision,
        weight_format=weight_format,
        languages=languages,
        tasks=_tasks(config),
        default_language=languages[0] if languages and "en" not in languages else "en",
    )


def _read_config(folder: ModelFolder) -> WhisperConfig:
    if folder.format == "ctranslate2":
        return parse_config(folder.path / MODEL_FILE, *read_configs(folder.path))
    return read_config(folder.path)


def _open(folder: ModelFolder, weight_format: WeightFormat) -> AbstractContextManager[Weights]:
    if folder.format == "openvino":
        return nullcontext(open_ir(folder.path, weight_format))
    if folder.format == "ctranslate2":
        return nullcontext(QuantizedWeights(CTranslate2Checkpoint(folder.path), weight_format))
    return open_checkpoint(folder.path, weight_format)


def _compile(
    config: WhisperConfig,
    runtime: Device,
    weights: Weights,
    align: Callable[[], Any],
    context: AudioContext,
) -> WhisperGraphs:
    """All graphs but `align`. With the context "auto", one graph serves every length, so that weights are in memory once."""
    auto = context == "auto"
    # In f32 the encoder is bound by arithmetic: int8 weights slow it by 10 % (whisper-base, AVX2). In bf16 they do not.
    encoder_weights = weights.expanded() if runtime.precision == "f32" else weights
    return WhisperGraphs(
        features=runtime.compile(features_graph(config, any_length=auto), precision="f32"),
        encoder=runtime.compile(encoder_graph(config, encoder_weights, runtime.precision, any_length=auto)),
        step=runtime.compile(step_graph(config, weights, runtime.precision, any_length=auto), fuse_attention=False),
        align=align,
        context=context,
    )


def _compile_align(
    folder: ModelFolder,
    name: str,
    config: WhisperConfig,
    runtime: Device,
    weight_format: WeightFormat,
    *,
    any_length: bool,
) -> Any:
    """The alignment graph. It holds its weights a second time, so it is compiled when words are first requested."""
    began = time.monotonic()
    if config.alignment.guessed:
        logger.warning(
            "%s: generation_config.json names no alignment_heads that this model has; word timestamps use all heads of the later "
            "half of the layers, and are less exact",
            name,
        )
    with _open(folder, weight_format) as weights, making_graphs(folder.path):
        graph = runtime.compile(
            align_graph(config, weights, runtime.precision, any_length=any_length), fuse_attention=False
        )
    logger.info("%s: word timestamps are ready, compiled in %.1f s", name, time.monotonic() - began)
    return graph


def _tasks(config: WhisperConfig) -> tuple[Task, ...]:
    return ("transcribe", "translate") if config.multilingual else ("transcribe",)


def _checked_shapes(config: WhisperConfig) -> dict[str, tuple[int, ...]]:
    """The tensors whose shapes most often disagree with a wrong config.json."""
    return {
        "model.encoder.conv1.weight": (config.width, config.mels, 3),
        "model.encoder.embed_positions.weight": (config.source_positions, config.width),
        "model.decoder.embed_tokens.weight": (config.vocabulary, config.width),
        "model.decoder.embed_positions.weight": (config.target_positions, config.width),
        f"model.encoder.layers.{config.encoder_layers - 1}.fc1.weight": (config.encoder_ffn, config.width),
        f"model.decoder.layers.{config.decoder_layers - 1}.fc1.weight": (config.decoder_ffn, config.width),
    }
