"""From a SpeechT5 checkpoint folder and its vocoder's to a session: configs, tokenizer, voices, graphs, compiled.

It must not know how a folder was found or which thread will run the session.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError
from antiphon.models.base import Report, Runtime
from antiphon.models.speecht5.config import (
    CONFIG,
    SpeechT5Config,
    VocoderConfig,
    read_config,
    read_vocoder_config,
)
from antiphon.models.speecht5.graph import read_graph, step_graph
from antiphon.models.speecht5.graph_sound import postnet_graph, vocoder_graph
from antiphon.models.speecht5.runner import Graphs, Runner
from antiphon.models.speecht5.session import Rules, SpeechT5Session
from antiphon.models.speecht5.shapes import expected_shapes, stored_vocoder_shapes
from antiphon.models.speecht5.tokens import read_tokenizer
from antiphon.models.speecht5.vocoder import Vocoder
from antiphon.models.speecht5.voices import read_voices
from antiphon.types import ModelInfo, WeightFormat
from antiphon.weights.checkpoint import open_checkpoint
from antiphon.weights.fit import check_shapes, making_graphs

_VOCODER = "vocoder"


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
    rules: Rules | None = None,
) -> SpeechT5Session:
    """Build and compile the graphs of the checkpoint in `folder` and of its vocoder.

    The vocoder is in `folder / "vocoder"` unless another folder is given; `speaker` is the name and file of one more
    voice, which becomes the default. Raises ConfigError or WeightError naming what is missing or wrong.
    """
    config = read_config(folder)
    sound_folder = _find_vocoder(folder, vocoder)
    sound = read_vocoder_config(sound_folder)
    if sound.mels != config.mels:
        raise ConfigError(
            f"{sound_folder / CONFIG}: model_in_dim is {sound.mels}, but {folder / CONFIG} says num_mel_bins "
            f"{config.mels}; the vocoder is another model's."
        )
    tokenizer = read_tokenizer(folder, config)
    voices = read_voices(folder, config.speaker, speaker)
    report(
        f"{name}: speecht5, {config.encoder_layers} + {config.decoder_layers} layers of {config.width}, from {folder}, "
        f"vocoder from {sound_folder}, voices: {', '.join(voices.names)}"
    )
    began = time.monotonic()
    transformer, kept = _compile_transformer(folder, config, runtime, weight_format)
    graphs = Graphs(**transformer, vocoder=_compile_vocoder(sound_folder, sound, runtime))
    info = _info(folder, name, runtime, kept, sound.sample_rate, voices.names)
    report(
        f"{name}: native engine on {info.device}, computing in {info.precision}, {info.weight_format} weights, "
        f"{slots} slots, compiled in {time.monotonic() - began:.1f} s"
    )
    return SpeechT5Session(
        info,
        config,
        tokenizer,
        voices,
        Runner(config, graphs, slots, runtime.precision),
        Vocoder(config, sound, graphs.postnet, graphs.vocoder),
        rules or Rules(),
        slots,
    )


def _info(
    folder: Path, name: str, runtime: Runtime, weight_format: str, sample_rate: int, voices: tuple[str, ...]
) -> ModelInfo:
    return ModelInfo(
        name=name,
        family="speecht5",
        path=folder,
        backend="native",
        device=runtime.name,
        precision=runtime.precision,
        weight_format=weight_format,
        languages=(),
        tasks=("speak",),
        default_language="en",
        voices=voices,
        stand_ins=voices,
        sample_rate=sample_rate,
        reads_digits=False,
    )


def _find_vocoder(folder: Path, given: Path | None) -> Path:
    if given is not None:
        if not given.is_dir():
            raise ConfigError(f"{given}: no such folder; a vocoder is a folder with {CONFIG} and model.safetensors.")
        return given
    if not (folder / _VOCODER).is_dir():
        raise ConfigError(
            f"{folder}: no vocoder; put a HiFi-GAN (such as microsoft/speecht5_hifigan) into {folder / _VOCODER}, "
            "or give its folder."
        )
    return folder / _VOCODER


def _compile_transformer(
    folder: Path, config: SpeechT5Config, runtime: Runtime, weight_format: WeightFormat
) -> tuple[dict[str, Any], str]:
    with open_checkpoint(folder, weight_format) as weights:
        check_shapes(folder, expected_shapes(config), weights)
        kept = weights.format_of("speech_decoder_postnet.feat_out.weight")
        # In f32 a whole text is bound by arithmetic, where int8 weights only cost; see whisper/load.py.
        reading = weights.expanded() if runtime.precision == "f32" else weights
        with making_graphs(folder):
            return {
                "read": runtime.compile(read_graph(config, reading, runtime.precision)),
                "step": runtime.compile(step_graph(config, weights, runtime.precision), fuse_attention=False),
                # In f32 whatever the device's precision: bf16's 8 bits would be heard.
                "postnet": runtime.compile(postnet_graph(config, weights), precision="f32"),
            }, kept


def _compile_vocoder(folder: Path, sound: VocoderConfig, runtime: Runtime) -> Any:
    with open_checkpoint(folder) as weights:
        check_shapes(folder, stored_vocoder_shapes(sound, weights), weights)
        with making_graphs(folder):
            return runtime.compile(vocoder_graph(sound, weights), precision="f32")
