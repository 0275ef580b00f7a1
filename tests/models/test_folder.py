"""The family, task and weight format of a model folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.models.folder import inspect, lacks_vocoder


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["WhisperForConditionalGeneration"]}, "speech2text"),
        ({"architectures": ["Qwen3ASRForConditionalGeneration"]}, "speech2text"),
        ({"architectures": ["SeamlessM4Tv2Model"]}, "speech2text"),
        ({"architectures": ["SpeechT5ForTextToSpeech"]}, "text2speech"),
        ({"architectures": ["ParlerTTSForConditionalGeneration"]}, "text2speech"),
        ({"architectures": None, "istftnet": {}, "n_mels": 80}, "text2speech"),  # Kokoro
        ({"model_type": "speecht5"}, "text2speech"),
        ({"model_type": "speecht5", "architectures": ["SpeechT5ForSpeechToText"]}, None),
        ({"architectures": ["SpeechT5HifiGan"]}, None),
        ({"architectures": ["SpeechT5ForSpeechToText"]}, None),
        ({"architectures": ["LlamaForCausalLM"], "n_mels": 80}, None),
        ({}, None),
    ],
)
def test_task_by_config(tmp_path: Path, config: dict[str, object], task: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert inspect(tmp_path).task == task


def test_folder_without_a_config_has_no_task(tmp_path: Path) -> None:
    folder = inspect(tmp_path)
    assert (folder.format, folder.family, folder.task) == (None, None, None)


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "whisper"}, "whisper"),
        ({"architectures": ["WhisperForConditionalGeneration"]}, "whisper"),
        ({"architectures": ["SpeechT5ForTextToSpeech"]}, "speecht5"),
        ({"model_type": "qwen3_asr"}, "qwen3_asr"),
        ({"model_type": "fun_asr"}, "fun_asr"),
        ({"istftnet": {}, "n_mels": 80, "vocab": {}}, "kokoro"),
        ({"model_type": "kokoro"}, "kokoro"),
        ({"architectures": ["SeamlessM4Tv2Model"]}, None),
        ({"n_mels": 80, "vocab": {}}, None),
    ],
)
def test_family_by_config(tmp_path: Path, config: dict[str, object], family: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    folder = inspect(tmp_path)
    assert (folder.family.name if folder.family else None) == family


@pytest.mark.parametrize(
    ("files", "form"),
    [
        (["model.safetensors"], "safetensors"),
        (["model.safetensors.index.json"], "safetensors"),
        (["openvino_encoder_model.xml"], "openvino"),
        (["openvino_model.xml"], "openvino"),
        (["openvino_decoder_model.xml", "model.safetensors"], "safetensors"),
        (["pytorch_model.bin", "openvino_tokenizer.xml"], None),
    ],
)
def test_format_by_files(tmp_path: Path, files: list[str], form: str | None) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert inspect(tmp_path).format == form


def test_broken_config_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config.json: not valid JSON"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "paths", "lacks"),
    [
        ("SpeechT5ForTextToSpeech", ["model.safetensors"], True),
        ("SpeechT5ForTextToSpeech", ["model.safetensors", "vocoder/model.safetensors"], False),
        ("SpeechT5ForTextToSpeech", ["openvino_encoder_model.xml"], False),  # an IR brings its own
        ("SpeechT5HifiGan", ["model.safetensors"], False),
    ],
)
def test_only_a_text_to_speech_checkpoint_lacks_a_vocoder(
    tmp_path: Path, architecture: str, paths: list[str], lacks: bool
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    assert lacks_vocoder(tmp_path, paths) is lacks
