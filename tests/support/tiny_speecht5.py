"""A tiny SpeechT5 checkpoint folder with its vocoder, made with numpy alone: random weights, a toy alphabet.

The same seed gives the same folder everywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig
from antiphon.models.speecht5.shapes import expected_shapes, expected_vocoder_shapes

Tensors = dict[str, NDArray[np.float32]]

SHAPE = SpeechT5Config(
    vocabulary=81,
    width=32,
    encoder_layers=2,
    encoder_heads=4,
    encoder_ffn=48,
    relative_positions=6,
    decoder_layers=2,
    decoder_heads=2,
    decoder_ffn=48,
    activation="gelu",
    epsilon=1e-5,
    mels=12,
    reduction=2,
    prenet_layers=2,
    prenet_units=16,
    prenet_dropout=0.5,
    postnet_layers=3,
    postnet_units=16,
    postnet_kernel=5,
    speaker=8,
    text_positions=90,
    speech_positions=150,
    end=2,
)
SOUND = VocoderConfig(
    mels=12,
    sample_rate=4_000,
    channels=16,
    rates=(8, 4, 2),
    kernels=(16, 8, 4),
    block_kernels=(3, 5),
    block_dilations=((1, 3), (1, 3)),
    slope=0.1,
    normalize=True,
)
LETTERS = "▁abcdefghijklmnopqrstuvwxyz .,?!'"
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")


def write_tiny(folder: Path, *, seed: int = 0, config: SpeechT5Config = SHAPE, sound: VocoderConfig = SOUND) -> Path:
    """Write the checkpoint, its vocoder and two voices."""
    (folder / "vocoder").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_json(config)))
    save_file(random_tensors(config, seed), folder / "model.safetensors")
    (folder / "vocoder" / "config.json").write_text(json.dumps(vocoder_json(sound)))
    save_file(random_vocoder(sound, seed), folder / "vocoder" / "model.safetensors")
    write_tokenizer(folder)
    for index, name in enumerate(("ada", "bob")):
        write_voice(folder / "voices" / f"{name}.bin", config.speaker, seed + index)
    return folder


def write_voice(path: Path, values: int, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(np.random.default_rng(seed).standard_normal(values).astype("<f4").tobytes())
    return path


def config_json(config: SpeechT5Config) -> dict[str, Any]:
    return {
        "model_type": "speecht5",
        "architectures": ["SpeechT5ForTextToSpeech"],
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "encoder_layers": config.encoder_layers,
        "encoder_attention_heads": config.encoder_heads,
        "encoder_ffn_dim": config.encoder_ffn,
        "encoder_max_relative_position": config.relative_positions,
        "decoder_layers": config.decoder_layers,
        "decoder_attention_heads": config.decoder_heads,
        "decoder_ffn_dim": config.decoder_ffn,
        "hidden_act": config.activation,
        "layer_norm_eps": config.epsilon,
        "num_mel_bins": config.mels,
        "reduction_factor": config.reduction,
        "speech_decoder_prenet_layers": config.prenet_layers,
        "speech_decoder_prenet_units": config.prenet_units,
        "speech_decoder_prenet_dropout": config.prenet_dropout,
        "speech_decoder_postnet_layers": config.postnet_layers,
        "speech_decoder_postnet_units": config.postnet_units,
        "speech_decoder_postnet_kernel": config.postnet_kernel,
        "speaker_embedding_dim": config.speaker,
        "max_text_positions": config.text_positions,
        "max_speech_positions": config.speech_positions,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": config.end,
    }


def vocoder_json(sound: VocoderConfig) -> dict[str, Any]:
    return {
        "model_type": "hifigan",
        "architectures": ["SpeechT5HifiGan"],
        "model_in_dim": sound.mels,
        "sampling_rate": sound.sample_rate,
        "upsample_initial_channel": sound.channels,
        "upsample_rates": sound.rates,
        "upsample_kernel_sizes": sound.kernels,
        "resblock_kernel_sizes": sound.block_kernels,
        "resblock_dilation_sizes": sound.block_dilations,
        "leaky_relu_slope": sound.slope,
        "normalize_before": sound.normalize,
    }


def random_tensors(config: SpeechT5Config, seed: int) -> Tensors:
    """Weights in Hugging Face's names and shapes, spread enough that the speech varies."""
    tensors = _random(expected_shapes(config), seed)
    # Wide swings: sentences stop after 1 to 90 steps, some never.
    tensors["speech_decoder_postnet.prob_out.weight"] *= 12
    tensors["speech_decoder_postnet.prob_out.bias"][:] = 11
    return tensors


def random_vocoder(sound: VocoderConfig, seed: int) -> Tensors:
    return _random(expected_vocoder_shapes(sound), seed)


def _random(shapes: dict[str, tuple[int, ...]], seed: int) -> Tensors:
    generator = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, shape in shapes.items():
        drawn = generator.standard_normal(shape)
        if name.endswith(("running_var", "scale")):
            drawn = 0.5 + np.abs(drawn)
        elif name.endswith(("norm.weight", "alpha")):
            drawn = 1 + 0.1 * drawn
        elif len(shape) > 1 and "embed_" not in name:
            drawn = drawn / np.sqrt(np.prod(shape[1:]))
        elif len(shape) == 1:
            drawn = 0.1 * drawn
        tensors[name] = np.asarray(drawn, np.float32)
    return tensors


def write_tokenizer(folder: Path) -> None:
    """A `tokenizer.json` with one token for each letter; a space is the mark "▁", as in SpeechT5's own."""
    names = [*SPECIALS, *LETTERS]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.save(str(folder / "tokenizer.json"))
