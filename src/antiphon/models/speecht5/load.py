"""Load a SpeechT5 folder and its vocoder, checkpoints or OpenVINO models: configs, voices, graphs."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError
from antiphon.languages import CODES
from antiphon.models.folder import ModelFolder, format_of
from antiphon.models.speecht5.config import (
    SpeechT5Config,
    VocoderConfig,
    check_mels,
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
from antiphon.runtime.openvino import Device
from antiphon.runtime.replicas import replica_slots, slots_line
from antiphon.types.options import MAX_SPEED, MIN_SPEED, Report, WeightFormat
from antiphon.types.results import ModelInfo
from antiphon.weights.config_file import CONFIG_FILE
from antiphon.weights.openvino_ir.files import VOCODER
from antiphon.weights.openvino_ir.source import IrWeights
from antiphon.weights.safetensors import open_checkpoint
from antiphon.weights.shapes import check_shapes, making_graphs
from antiphon.weights.source import Weights

_VOCODER = "vocoder"
_LANGUAGE = "en"  # of voices that are not named after a language


def check_ir(path: Path) -> None:
    """Raise NotNative for an OpenVINO model that `load` cannot read."""
    check_tokenizer(path)
    open_ir(path, read_config(path), "auto")


def load(
    folder: ModelFolder,
    *,
    name: str,
    runtime: Device,
    weight_format: WeightFormat,
    slots: int,
    report: Report,
    vocoder: Path | None = None,
    speaker: tuple[str, Path] | None = None,
    voices: tuple[tuple[str, Path], ...] = (),
    speeds: tuple[float, float] = (MIN_SPEED, MAX_SPEED),
    rules: StopRule | None = None,
) -> tuple[SpeechT5Session, ...]:
    """Build and compile the graphs of a folder; the sessions that come back share them.

    The vocoder is in the subfolder `vocoder`, or among the files of an OpenVINO model, unless another folder is given.
    `voices` are names and files of additional voices; `speaker` is one that becomes the default. Raises ConfigError or
    WeightError naming the missing or wrong file or tensor, and NotNative for an OpenVINO model that only OpenVINO GenAI
    can read.
    """
    path = folder.path
    config = read_config(path)
    exported = folder.format == "openvino"
    if exported:
        check_tokenizer(path)
    sound_folder = _find_vocoder(path, vocoder)
    sound, sound_weights = _read_vocoder(sound_folder, path)
    check_mels(sound, sound_folder / (CONFIG_FILE if sound_weights is None else VOCODER), config, path)
    tokenizer = read_tokenizer(path, config)
    known = read_voices(path, config.speaker, speaker, voices)
    report(
        f"{name}: speecht5, {config.encoder_layers} + {config.decoder_layers} layers of {config.width}, from "
        f"{'the OpenVINO model in ' if exported else ''}{path}, vocoder from {sound_folder}, voices: {', '.join(known.names)}"
    )
    began = time.monotonic()
    with _open(folder, config, weight_format) as weights:
        transformer, stored = _compile_transformer(path, config, runtime, weights)
    sounding = nullcontext(sound_weights) if sound_weights is not None else open_checkpoint(sound_folder, weight_format)
    with sounding as weights:
        graphs = SpeechT5Graphs(**transformer, vocoder=_compile_vocoder(sound_folder, sound, runtime, weights))
    info = replace(_info(path, name, runtime, stored, known.names, config, sound), speeds=speeds)
    report(
        f"{name}: native engine on {info.device}, computing in {info.precision}, {info.weight_format} weights, "
        f"{slots_line(slots, runtime.streams)}, compiled in {time.monotonic() - began:.1f} s"
    )

    def session(share: int) -> SpeechT5Session:
        runner = SpeechT5Runner(config, graphs, share, runtime.precision)
        hifigan = Vocoder(config, sound, graphs.postnet, graphs.vocoder)
        return SpeechT5Session(info, config, tokenizer, known, runner, hifigan, rules or StopRule(), share)

    return tuple(session(share) for share in replica_slots(slots, runtime.streams))


def _info(
    path: Path,
    name: str,
    runtime: Device,
    weight_format: str,
    voices: tuple[str, ...],
    config: SpeechT5Config,
    sound: VocoderConfig,
) -> ModelInfo:
    # A voice named after a language is for that language: a checkpoint has no other place to record it.
    language_of = {voice: CODES.get(voice.lower()) for voice in voices}
    default = language_of[voices[0]] or _LANGUAGE
    known = [code for code in language_of.values() if code]
    return ModelInfo(
        name=name,
        family="speecht5",
        path=path,
        backend="native",
        device=runtime.name,
        precision=runtime.precision,
        weight_format=weight_format,
        languages=tuple(dict.fromkeys([default, *known])) if known else (),
        tasks=("speak",),
        default_language=default,
        voices=voices,
        # OpenAI's voice names never select a voice of another language.
        openai_voices=tuple(voice for voice, code in language_of.items() if code in (None, default)),
        sample_rate=sound.sample_rate,
        reads_digits=False,
        longest_sentence=longest_sentence(config.text_positions),
    )


def _find_vocoder(folder: Path, given: Path | None) -> Path:
    if given is not None:
        if not given.is_dir():
            contents = f"{CONFIG_FILE} and model.safetensors"
            raise ConfigError(f"{given}: no such folder; a vocoder is a folder with {contents}.", setting="vocoder")
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
    """The vocoder's config, and its weights if the config was derived from an OpenVINO graph."""
    if has_vocoder(folder) and (folder == model or format_of(folder) != "safetensors"):
        return open_vocoder_ir(folder)
    return read_vocoder_config(folder), None


def _open(folder: ModelFolder, config: SpeechT5Config, weight_format: WeightFormat) -> AbstractContextManager[Weights]:
    if folder.format == "openvino":
        return nullcontext(open_ir(folder.path, config, weight_format))
    return open_checkpoint(folder.path, weight_format)


def _compile_transformer(
    folder: Path, config: SpeechT5Config, runtime: Device, weights: Weights
) -> tuple[dict[str, Any], str]:
    check_shapes(folder, stored_shapes(config, weights), weights)
    kept = weights.format_of("speecht5.decoder.wrapped_decoder.layers.0.feed_forward.intermediate_dense.weight")
    # In f32 the encoder is bound by arithmetic, where int8 weights only cost time; see whisper/load.py.
    reading = weights.expanded() if runtime.precision == "f32" else weights
    with making_graphs(folder):
        return {
            "encoder": runtime.compile(encoder_graph(config, reading, runtime.precision)),
            "step": runtime.compile(step_graph(config, weights, runtime.precision), fuse_attention=False),
            # In f32 whatever the device's precision: the 8 bits of bf16 are audible.
            "postnet": runtime.compile(postnet_graph(config, weights), precision="f32"),
        }, kept


def _compile_vocoder(folder: Path, sound: VocoderConfig, runtime: Device, weights: Weights) -> Any:
    check_shapes(folder, stored_vocoder_shapes(sound, weights), weights)
    with making_graphs(folder):
        return runtime.compile(vocoder_graph(sound, weights), precision="f32")
