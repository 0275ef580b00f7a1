"""Both config.json files: what is read, and the line that names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.models.speecht5.config import read_config, read_vocoder_config
from tests.support.tiny_speecht5 import SHAPE, SOUND, config_json, vocoder_json


def write(folder: Path, content: dict[str, Any], changes: dict[str, Any]) -> Path:
    changed = {key: value for key, value in (content | changes).items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(changed))
    return folder


def test_shapes_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, config_json(SHAPE), {})) == SHAPE
    assert read_vocoder_config(write(tmp_path, vocoder_json(SOUND), {})) == SOUND
    assert SOUND.hop == 64
    assert SHAPE.head_width == 16


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
def test_supported_activations_are_accepted(tmp_path: Path, activation: str) -> None:
    assert read_config(write(tmp_path, config_json(SHAPE), {"hidden_act": activation})).activation == activation


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": ...}, "key 'hidden_size' is missing"),
        ({"reduction_factor": ...}, "key 'reduction_factor' is missing"),
        ({"reduction_factor": 0}, "reduction_factor is 0, not a whole number above zero"),
        ({"encoder_layers": 2.5}, "encoder_layers is 2.5, not a whole number above zero"),
        ({"num_mel_bins": "80"}, "num_mel_bins is '80', not a whole number above zero"),
        ({"max_text_positions": None}, "max_text_positions is None, not a whole number above zero"),
        ({"layer_norm_eps": "small"}, "a value has the wrong type"),
        ({"speech_decoder_prenet_dropout": None}, "a value has the wrong type"),
        ({"encoder_attention_heads": 5}, "hidden_size 32 is not a multiple of encoder_attention_heads 5"),
        ({"decoder_attention_heads": 3}, "hidden_size 32 is not a multiple of decoder_attention_heads 3"),
        (
            {"hidden_size": 33, "encoder_attention_heads": 3, "decoder_attention_heads": 3},
            "hidden_size 33 is odd",
        ),
        ({"hidden_act": "tanh"}, "hidden_act 'tanh' is not served; served: gelu, gelu_new, relu, silu"),
        ({"speech_decoder_postnet_kernel": 4}, "speech_decoder_postnet_kernel 4 is even"),
        ({"speech_decoder_prenet_dropout": 1.0}, "speech_decoder_prenet_dropout 1.0 is not in [0, 1)"),
        ({"eos_token_id": 81}, "eos_token_id 81 lies outside the vocabulary of 81"),
        ({"eos_token_id": [2]}, "eos_token_id [2] lies outside the vocabulary of 81"),
        ({"architectures": ["SpeechT5ForSpeechToText"]}, "only SpeechT5ForTextToSpeech is served"),
    ],
    ids=str,
)
def test_wrong_key_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, config_json(SHAPE), changes))
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_in_dim": ...}, "key 'model_in_dim' is missing; this is not a whole SpeechT5HifiGan checkpoint"),
        ({"sampling_rate": 0}, "sampling_rate is 0"),
        ({"upsample_rates": []}, "upsample_rates is empty"),
        ({"upsample_rates": 4}, "a value has the wrong type"),
        ({"upsample_rates": [8, 4]}, "upsample_rates and upsample_kernel_sizes are not of one length"),
        ({"resblock_kernel_sizes": [3]}, "resblock_kernel_sizes and resblock_dilation_sizes are not of one length"),
        ({"resblock_kernel_sizes": [3, 4]}, "resblock_kernel_sizes has 4, an even number"),
        ({"resblock_dilation_sizes": [[1, 0], [1, 3]]}, "resblock_dilation_sizes is 0"),
        ({"upsample_kernel_sizes": [16, 8, 3]}, "upsample kernel 3 does not exceed its rate 2 by an even number"),
        ({"upsample_kernel_sizes": [16, 2, 4]}, "upsample kernel 2 does not exceed its rate 4 by an even number"),
        ({"upsample_initial_channel": 7}, "upsample_initial_channel 7 cannot be halved for every upsample rate"),
    ],
    ids=str,
)
def test_wrong_key_of_the_vocoder_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_vocoder_config(write(tmp_path, vocoder_json(SOUND), changes))
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert says in str(caught.value)
