"""From a Whisper folder, a checkpoint or its OpenVINO export, to a session: config, tokenizer, graphs, compiled.

It must not know how a folder was found or which thread will run the session.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

from antiphon.models.session import Runtime
from antiphon.models.whisper.config import WhisperConfig, read_config
from antiphon.models.whisper.graph import align_graph, encoder_graph, features_graph, step_graph
from antiphon.models.whisper.ir import open_ir
from antiphon.models.whisper.runner import WhisperGraphs, WhisperRunner
from antiphon.models.whisper.session import WhisperSession
from antiphon.models.whisper.tokens import read_tokenizer
from antiphon.runtime.replicas import side_by_side, slots_line
from antiphon.types.options import AudioContext, Report, Task, WeightFormat
from antiphon.types.results import ModelInfo
from antiphon.weights.openvino_ir.files import has_ir
from antiphon.weights.safetensors import has_checkpoint, open_checkpoint
from antiphon.weights.shapes import check_shapes, making_graphs
from antiphon.weights.source import Weights

logger = logging.getLogger(__name__)


def load(
    folder: Path,
    *,
    name: str,
    runtime: Runtime,
    weight_format: WeightFormat,
    slots: int,
    report: Report,
    words: bool = False,
    audio_context: AudioContext = "full",
) -> WhisperSession:
    """Build and compile the graphs of the checkpoint in `folder`, or of the OpenVINO model where there is no checkpoint.

    With `words` the graph that times words is made now, not when somebody first asks for them.
    With the `audio_context` "auto" the graphs are made for windows of any length, and short ones are heard as such.

    Raises ConfigError or WeightError naming the file or tensor that is missing or wrong, NotNative for an OpenVINO
    model that only its own runtime can read.
    """
    config = read_config(folder)
    began = time.monotonic()
    auto = audio_context == "auto"
    exported = has_ir(folder) and not has_checkpoint(folder)
    with _open(folder, weight_format, exported=exported) as weights:
        tokenizer = read_tokenizer(folder, config)
        check_shapes(folder, _telling_shapes(config), weights)
        kept = weights.format_of(f"model.decoder.layers.{config.decoder_layers - 1}.fc1.weight")
        report(
            f"{name}: whisper, {config.encoder_layers} + {config.decoder_layers} layers of {config.width}, from "
            f"{'the OpenVINO model in ' if exported else ''}{folder}"
        )
        with making_graphs(folder):
            timing = partial(
                _compile_align, folder, name, config, runtime, weight_format, exported=exported, any_length=auto
            )
            align = cache(timing)  # once for all sessions
            graphs = _compile(config, runtime, weights, align, audio_context)
    info = _info(folder, name, runtime, kept, config)
    report(
        f"{name}: native engine on {info.device}, computing in {info.precision}, {info.weight_format} weights, "
        f"{slots_line(slots, runtime)}, {'an audio context as long as the audio, ' if auto else ''}"
        f"compiled in {time.monotonic() - began:.1f} s"
    )

    def session(share: int, twins: Sequence[WhisperSession]) -> WhisperSession:
        runner = WhisperRunner(config, graphs, share, runtime.precision)
        if words:
            runner.prepare_align()
        return WhisperSession(info, config, tokenizer, runner, share, audio_context, twins)

    return side_by_side(session, slots, runtime)


def _info(folder: Path, name: str, runtime: Runtime, weight_format: str, config: WhisperConfig) -> ModelInfo:
    languages = tuple(config.tokens.languages)
    return ModelInfo(
        name=name,
        family="whisper",
        path=folder,
        backend="native",
        device=runtime.name,
        precision=runtime.precision,
        weight_format=weight_format,
        languages=languages,
        tasks=_tasks(config),
        default_language=languages[0] if languages and "en" not in languages else "en",
    )


def _open(folder: Path, weight_format: WeightFormat, *, exported: bool) -> AbstractContextManager[Weights]:
    return nullcontext(open_ir(folder, weight_format)) if exported else open_checkpoint(folder, weight_format)


def _compile(
    config: WhisperConfig,
    runtime: Runtime,
    weights: Weights,
    align: Callable[[], Any],
    context: AudioContext,
) -> WhisperGraphs:
    """All graphs but `align`. Of any length, they are compiled once for all lengths: weights are held once."""
    auto = context == "auto"
    # In f32 the encoder is bound by arithmetic: int8 weights slow it by 10 % (whisper-base, AVX2). In bf16 they do not.
    hearing = weights.expanded() if runtime.precision == "f32" else weights
    return WhisperGraphs(
        features=runtime.compile(features_graph(config, any_length=auto), precision="f32"),
        encoder=runtime.compile(encoder_graph(config, hearing, runtime.precision, any_length=auto)),
        step=runtime.compile(step_graph(config, weights, runtime.precision, any_length=auto), fuse_attention=False),
        align=align,
        context=context,
    )


def _compile_align(
    folder: Path,
    name: str,
    config: WhisperConfig,
    runtime: Runtime,
    weight_format: WeightFormat,
    *,
    exported: bool,
    any_length: bool,
) -> Any:
    """The graph that times words. Its weights are held a second time, so it is not made before somebody asks for words."""
    began = time.monotonic()
    if config.alignment.guessed:
        logger.warning(
            "%s: generation_config.json names no alignment_heads that this model has; the times of words come from all "
            "heads of the later half of its layers, and are rougher",
            name,
        )
    with _open(folder, weight_format, exported=exported) as weights, making_graphs(folder):
        graph = runtime.compile(
            align_graph(config, weights, runtime.precision, any_length=any_length), fuse_attention=False
        )
    logger.info("%s: ready to time words, compiled in %.1f s", name, time.monotonic() - began)
    return graph


def _tasks(config: WhisperConfig) -> tuple[Task, ...]:
    return ("transcribe", "translate") if config.multilingual else ("transcribe",)


def _telling_shapes(config: WhisperConfig) -> dict[str, tuple[int, ...]]:
    """The tensors that a wrong config most often contradicts."""
    return {
        "model.encoder.conv1.weight": (config.width, config.mels, 3),
        "model.encoder.embed_positions.weight": (config.source_positions, config.width),
        "model.decoder.embed_tokens.weight": (config.vocabulary, config.width),
        "model.decoder.embed_positions.weight": (config.target_positions, config.width),
        f"model.encoder.layers.{config.encoder_layers - 1}.fc1.weight": (config.encoder_ffn, config.width),
        f"model.decoder.layers.{config.decoder_layers - 1}.fc1.weight": (config.decoder_ffn, config.width),
    }
