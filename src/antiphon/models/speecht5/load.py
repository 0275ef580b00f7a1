"""From a SpeechT5 folder and its vocoder's, checkpoints or OpenVINO exports, to a session: configs, voices, graphs, compiled.

It must not know how a folder was found or which thread will run the session.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError
from antiphon.languages import CODES
from antiphon.models.session import Runtime
from antiphon.models.speecht5.config import (
    SpeechT5Config,
    VocoderConfig,
    longest_sentence,
    read_config,
    read_vocoder_config,
)
from antiphon.models.speecht5.graph import encoder_graph, step_graph
from antiphon.models.speecht5.graph_sound import postnet_graph, vocoder_graph
from antiphon.models.speecht5.ir import check_tokenizer, has_vocoder, open_ir, open_vocoder_ir
from antiphon.models.speecht5.runner import SpeechT5Graphs, SpeechT5Runner
from antiphon.models.speecht5.session import SpeechT5Session, StopRule
from antiphon.models.speecht5.shapes import stored_shapes, stored_vocoder_shapes
from antiphon.models.speecht5.tokens import read_tokenizer
from antiphon.models.speecht5.vocoder import Vocoder
from antiphon.models.speecht5.voices import read_voices
from antiphon.runtime.replicas import side_by_side, slots_line
from antiphon.types.options import Report, WeightFormat
from antiphon.types.results import ModelInfo
from antiphon.weights.config_file import CONFIG_FILE
from antiphon.weights.openvino_ir.files import VOCODER, has_ir
from antiphon.weights.openvino_ir.source import IrWeights
from antiphon.weights.safetensors import has_checkpoint, open_checkpoint
from antiphon.weights.shapes import check_shapes, making_graphs
from antiphon.weights.source import Weights

_VOCODER = "vocoder"
_LANGUAGE = "en"  # what a voice speaks whose name does not say


def load(
    folder: Path,
    *,
    name: str,
    runtime: Runtime,
    weight_format: WeightFormat,
    slots: int,
    report: Report,
    vocoder: Path | None = None,
    speaker: tuple[str, Path] | None = None,
    voices: tuple[tuple[str, Path], ...] = (),
    rules: StopRule | None = None,
) -> SpeechT5Session:
    """Build and compile the graphs of the checkpoint in `folder`, or of the OpenVINO model where there is no checkpoint.

    The vocoder is in `folder / "vocoder"`, or beside an OpenVINO model, unless another folder is given; `voices` are
    names and files of more voices, `speaker` one that becomes the default. Raises ConfigError or WeightError naming what
    is missing or wrong, NotNative for an OpenVINO model that only its own runtime can read.
    """
    config = read_config(folder)
    exported = has_ir(folder) and not has_checkpoint(folder)
    if exported:
        check_tokenizer(folder)
    sound_folder = _find_vocoder(folder, vocoder)
    sound, sound_weights = _read_vocoder(sound_folder, folder)
    if sound.mels != config.mels:
        raise ConfigError(
            f"{sound_folder / (CONFIG_FILE if sound_weights is None else VOCODER)}: model_in_dim is {sound.mels}, but "
            f"{folder / CONFIG_FILE} says num_mel_bins {config.mels}; the vocoder is another model's."
        )
    tokenizer = read_tokenizer(folder, config)
    known = read_voices(folder, config.speaker, speaker, voices)
    report(
        f"{name}: speecht5, {config.encoder_layers} + {config.decoder_layers} layers of {config.width}, from "
        f"{'the OpenVINO model in ' if exported else ''}{folder}, vocoder from {sound_folder}, voices: {', '.join(known.names)}"
    )
    began = time.monotonic()
    with _open(folder, config, weight_format, exported=exported) as weights:
        transformer, kept = _compile_transformer(folder, config, runtime, weights)
    stored = nullcontext(sound_weights) if sound_weights is not None else open_checkpoint(sound_folder, weight_format)
    with stored as weights:
        graphs = SpeechT5Graphs(**transformer, vocoder=_compile_vocoder(sound_folder, sound, runtime, weights))
    info = _info(folder, name, runtime, kept, known.names, config, sound)
    report(
        f"{name}: native engine on {info.device}, computing in {info.precision}, {info.weight_format} weights, "
        f"{slots_line(slots, runtime)}, compiled in {time.monotonic() - began:.1f} s"
    )

    def session(share: int, twins: Sequence[SpeechT5Session]) -> SpeechT5Session:
        runner = SpeechT5Runner(config, graphs, share, runtime.precision)
        sounding = Vocoder(config, sound, graphs.postnet, graphs.vocoder)
        return SpeechT5Session(info, config, tokenizer, known, runner, sounding, rules or StopRule(), share, twins)

    return side_by_side(session, slots, runtime)


def _info(
    folder: Path,
    name: str,
    runtime: Runtime,
    weight_format: str,
    voices: tuple[str, ...],
    config: SpeechT5Config,
    sound: VocoderConfig,
) -> ModelInfo:
    # A voice called after a language speaks it: a checkpoint has no other place to say so.
    spoken = {voice: CODES.get(voice.lower()) for voice in voices}
    default = spoken[voices[0]] or _LANGUAGE
    known = [code for code in spoken.values() if code]
    return ModelInfo(
        name=name,
        family="speecht5",
        path=folder,
        backend="native",
        device=runtime.name,
        precision=runtime.precision,
        weight_format=weight_format,
        languages=tuple(dict.fromkeys([default, *known])) if known else (),
        tasks=("speak",),
        default_language=default,
        voices=voices,
        # Nobody who asks for one of OpenAI's voices means another language.
        stand_ins=tuple(voice for voice, code in spoken.items() if code in (None, default)),
        sample_rate=sound.sample_rate,
        reads_digits=False,
        longest_sentence=longest_sentence(config.text_positions),
    )


def _find_vocoder(folder: Path, given: Path | None) -> Path:
    if given is not None:
        if not given.is_dir():
            raise ConfigError(
                f"{given}: no such folder; a vocoder is a folder with {CONFIG_FILE} and model.safetensors.",
                setting="vocoder",
            )
        return given
    if (folder / _VOCODER).is_dir():
        return folder / _VOCODER
    if has_vocoder(folder):
        return folder
    raise ConfigError(
        f"{folder}: no vocoder; put a HiFi-GAN (such as microsoft/speecht5_hifigan) into {folder / _VOCODER}, "
        "or give its folder."
    )


def _read_vocoder(folder: Path, model: Path) -> tuple[VocoderConfig, IrWeights | None]:
    """What the vocoder looks like; its weights too where that is read from them. Beside a model there is no other."""
    if has_vocoder(folder) and (folder == model or not has_checkpoint(folder)):
        return open_vocoder_ir(folder)
    return read_vocoder_config(folder), None


def _open(
    folder: Path, config: SpeechT5Config, weight_format: WeightFormat, *, exported: bool
) -> AbstractContextManager[Weights]:
    return nullcontext(open_ir(folder, config, weight_format)) if exported else open_checkpoint(folder, weight_format)


def _compile_transformer(
    folder: Path, config: SpeechT5Config, runtime: Runtime, weights: Weights
) -> tuple[dict[str, Any], str]:
    check_shapes(folder, stored_shapes(config, weights), weights)
    kept = weights.format_of("speecht5.decoder.wrapped_decoder.layers.0.feed_forward.intermediate_dense.weight")
    # In f32 a whole text is bound by arithmetic, where int8 weights only cost; see whisper/load.py.
    reading = weights.expanded() if runtime.precision == "f32" else weights
    with making_graphs(folder):
        return {
            "encoder": runtime.compile(encoder_graph(config, reading, runtime.precision)),
            "step": runtime.compile(step_graph(config, weights, runtime.precision), fuse_attention=False),
            # In f32 whatever the device's precision: bf16's 8 bits would be heard.
            "postnet": runtime.compile(postnet_graph(config, weights), precision="f32"),
        }, kept


def _compile_vocoder(folder: Path, sound: VocoderConfig, runtime: Runtime, weights: Weights) -> Any:
    check_shapes(folder, stored_vocoder_shapes(sound, weights), weights)
    with making_graphs(folder):
        return runtime.compile(vocoder_graph(sound, weights), precision="f32")
