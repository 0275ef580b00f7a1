"""The shapes of a SpeechT5 checkpoint and of its HiFi-GAN vocoder, read from their `config.json` files and checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from antiphon.errors import ConfigError
from antiphon.weights.config_file import CONFIG_FILE, read_json

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")

_SPARE_POSITIONS = 8  # for the end token, and for characters that become several tokens

ReadT = TypeVar("ReadT")


def longest_sentence(text_positions: int) -> int:
    """The most characters a sentence may have to fit into `text_positions` tokens."""
    return max(1, text_positions - _SPARE_POSITIONS)


@dataclass(frozen=True, slots=True)
class SpeechT5Config:
    """Shapes of one text-to-speech checkpoint.

    `reduction` is the number of mel frames a decoder step makes. `prenet_dropout` applies at inference too: transformers
    keeps a unit with this probability and scales it by 1 / (1 - prenet_dropout).
    """

    vocabulary: int
    width: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn: int
    relative_positions: int  # distances beyond this share one learned vector
    decoder_layers: int
    decoder_heads: int
    decoder_ffn: int
    activation: str
    epsilon: float
    mels: int
    reduction: int
    prenet_layers: int
    prenet_units: int
    prenet_dropout: float
    postnet_layers: int
    postnet_units: int
    postnet_kernel: int
    speaker: int  # values of a speaker embedding
    text_positions: int
    speech_positions: int
    end: int  # token id

    @property
    def head_width(self) -> int:
        """Width of one decoder head, which is what the caches hold."""
        return self.width // self.decoder_heads


@dataclass(frozen=True, slots=True)
class VocoderConfig:
    """Shapes of one HiFi-GAN (Kong et al. 2020, section 2.2 and table 5)."""

    mels: int
    sample_rate: int
    channels: int  # halved by every upsampling
    rates: tuple[int, ...]
    kernels: tuple[int, ...]
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]  # one tuple for each block kernel
    slope: float
    normalize: bool

    @property
    def hop(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.rates)


def read_config(folder: Path) -> SpeechT5Config:
    """Read `config.json` of a checkpoint folder. Raises ConfigError naming the file and the key that is wrong."""
    path = folder / CONFIG_FILE
    config = read_json(path)
    architectures = config.get("architectures") or ["SpeechT5ForTextToSpeech"]
    if "SpeechT5ForTextToSpeech" not in architectures:
        raise ConfigError(f"{path}: architectures is {architectures}; only SpeechT5ForTextToSpeech is served.")
    result = _read(path, "SpeechT5", lambda: _config(config))
    _check_config(path, config, result)
    return result


def read_vocoder_config(folder: Path) -> VocoderConfig:
    """Read `config.json` of a HiFi-GAN folder. Raises ConfigError naming the file and the key that is wrong."""
    path = folder / CONFIG_FILE
    config = read_json(path)
    result = _read(path, "SpeechT5HifiGan", lambda: _vocoder_config(config))
    check_vocoder(path, result)
    return result


def check_mels(vocoder: VocoderConfig, file: Path, config: SpeechT5Config, folder: Path) -> None:
    """Raise ConfigError if the vocoder, described by `file`, takes other spectrograms than the model in `folder` makes."""
    if vocoder.mels != config.mels:
        raise ConfigError(
            f"{file}: model_in_dim is {vocoder.mels}, but {folder / CONFIG_FILE} says num_mel_bins {config.mels}; the "
            "vocoder is another model's."
        )


def _config(config: dict[str, Any]) -> SpeechT5Config:
    return SpeechT5Config(
        vocabulary=config["vocab_size"],
        width=config["hidden_size"],
        encoder_layers=config["encoder_layers"],
        encoder_heads=config["encoder_attention_heads"],
        encoder_ffn=config["encoder_ffn_dim"],
        relative_positions=config["encoder_max_relative_position"],
        decoder_layers=config["decoder_layers"],
        decoder_heads=config["decoder_attention_heads"],
        decoder_ffn=config["decoder_ffn_dim"],
        activation=config["hidden_act"],
        epsilon=float(config["layer_norm_eps"]),
        mels=config["num_mel_bins"],
        reduction=config["reduction_factor"],
        prenet_layers=config["speech_decoder_prenet_layers"],
        prenet_units=config["speech_decoder_prenet_units"],
        prenet_dropout=float(config["speech_decoder_prenet_dropout"]),
        postnet_layers=config["speech_decoder_postnet_layers"],
        postnet_units=config["speech_decoder_postnet_units"],
        postnet_kernel=config["speech_decoder_postnet_kernel"],
        speaker=config["speaker_embedding_dim"],
        text_positions=config["max_text_positions"],
        speech_positions=config["max_speech_positions"],
        end=config["eos_token_id"],
    )


def _vocoder_config(config: dict[str, Any]) -> VocoderConfig:
    return VocoderConfig(
        mels=config["model_in_dim"],
        sample_rate=config["sampling_rate"],
        channels=config["upsample_initial_channel"],
        rates=tuple(config["upsample_rates"]),
        kernels=tuple(config["upsample_kernel_sizes"]),
        block_kernels=tuple(config["resblock_kernel_sizes"]),
        block_dilations=tuple(tuple(dilations) for dilations in config["resblock_dilation_sizes"]),
        slope=float(config["leaky_relu_slope"]),
        normalize=bool(config["normalize_before"]),
    )


def _read(path: Path, model: str, read: Callable[[], ReadT]) -> ReadT:
    try:
        return read()
    except KeyError as error:
        raise ConfigError(f"{path}: key {error} is missing; this is not a whole {model} checkpoint.") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: a value has the wrong type ({error}).") from error


_COUNTS = (
    "vocab_size",
    "hidden_size",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "encoder_max_relative_position",
    "decoder_layers",
    "decoder_attention_heads",
    "decoder_ffn_dim",
    "num_mel_bins",
    "reduction_factor",
    "speech_decoder_prenet_layers",
    "speech_decoder_prenet_units",
    "speech_decoder_postnet_layers",
    "speech_decoder_postnet_units",
    "speech_decoder_postnet_kernel",
    "speaker_embedding_dim",
    "max_text_positions",
    "max_speech_positions",
)


def _check_config(path: Path, config: dict[str, Any], result: SpeechT5Config) -> None:
    for key in _COUNTS:
        _check_count(path, key, config[key])
    for side, heads in (("encoder", result.encoder_heads), ("decoder", result.decoder_heads)):
        if result.width % heads:
            raise ConfigError(
                f"{path}: hidden_size {result.width} is not a multiple of {side}_attention_heads {heads}."
            )
    if result.width % 2:
        raise ConfigError(f"{path}: hidden_size {result.width} is odd; sines and cosines of positions come in pairs.")
    if result.activation not in ACTIVATIONS:
        raise ConfigError(f"{path}: hidden_act {result.activation!r} is not served; served: {', '.join(ACTIVATIONS)}.")
    if result.postnet_kernel % 2 == 0:
        raise ConfigError(f"{path}: speech_decoder_postnet_kernel {result.postnet_kernel} is even; it must be odd.")
    if not 0 <= result.prenet_dropout < 1:
        raise ConfigError(f"{path}: speech_decoder_prenet_dropout {result.prenet_dropout} is not in [0, 1).")
    if result.end not in range(result.vocabulary):
        raise ConfigError(f"{path}: eos_token_id {result.end} lies outside the vocabulary of {result.vocabulary}.")


def check_vocoder(path: Path, result: VocoderConfig) -> None:
    """Raise ConfigError naming the file and the key if the shapes do not make a vocoder."""
    for key, value in (
        ("model_in_dim", result.mels),
        ("sampling_rate", result.sample_rate),
        ("upsample_initial_channel", result.channels),
    ):
        _check_count(path, key, value)
    dilations = [dilation for group in result.block_dilations for dilation in group]
    for key, values in (
        ("upsample_rates", result.rates),
        ("upsample_kernel_sizes", result.kernels),
        ("resblock_kernel_sizes", result.block_kernels),
        ("resblock_dilation_sizes", dilations),
    ):
        if not values:
            raise ConfigError(f"{path}: {key} is empty.")
        for value in values:
            _check_count(path, key, value)
    if len(result.rates) != len(result.kernels):
        raise ConfigError(f"{path}: upsample_rates and upsample_kernel_sizes are not of one length.")
    if len(result.block_kernels) != len(result.block_dilations):
        raise ConfigError(f"{path}: resblock_kernel_sizes and resblock_dilation_sizes are not of one length.")
    if result.channels >> len(result.rates) < 1:
        raise ConfigError(
            f"{path}: upsample_initial_channel {result.channels} cannot be halved for every upsample rate."
        )
    for rate, kernel in zip(result.rates, result.kernels, strict=True):
        # Otherwise a frame is not a whole number of samples, and chunks of frames do not make chunks of audio.
        if kernel < rate or (kernel - rate) % 2:
            raise ConfigError(f"{path}: upsample kernel {kernel} does not exceed its rate {rate} by an even number.")
    for kernel in result.block_kernels:
        if kernel % 2 == 0:
            raise ConfigError(f"{path}: resblock_kernel_sizes has {kernel}, an even number; they must be odd.")


def _check_count(path: Path, key: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{path}: {key} is {value!r}, not a whole number above zero.")
