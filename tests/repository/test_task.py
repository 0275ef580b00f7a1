"""What a folder's config.json is taken to say of its task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.repository.task import lacks_vocoder, task_of


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["WhisperForConditionalGeneration"]}, "speech2text"),
        ({"architectures": ["Qwen3ASRForConditionalGeneration"]}, "speech2text"),
        ({"architectures": ["SeamlessM4Tv2Model"]}, "speech2text"),
        ({"architectures": ["SpeechT5ForTextToSpeech"]}, "text2speech"),
        ({"architectures": ["ParlerTTSForConditionalGeneration"]}, "text2speech"),
        ({"architectures": None, "n_mels": 80}, "text2speech"),  # Kokoro
        ({"architectures": ["SpeechT5HifiGan"]}, None),
        ({"architectures": ["SpeechT5ForSpeechToText"]}, None),
        ({"architectures": ["LlamaForCausalLM"], "n_mels": 80}, None),
        ({}, None),
    ],
)
def test_the_architecture_decides(tmp_path: Path, config: dict[str, object], task: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert task_of(tmp_path) == task


def test_a_folder_without_a_config_says_nothing(tmp_path: Path) -> None:
    assert task_of(tmp_path) is None


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config.json: cannot be read as JSON"):
        task_of(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "paths", "lacks"),
    [
        ("SpeechT5ForTextToSpeech", ["model.safetensors"], True),
        ("SpeechT5ForTextToSpeech", ["model.safetensors", "vocoder/model.safetensors"], False),
        ("SpeechT5ForTextToSpeech", ["openvino_encoder_model.xml"], False),  # an IR brings its own
        ("SpeechT5HifiGan", ["model.safetensors"], False),
    ],
)
def test_only_a_checkpoint_that_speaks_lacks_a_vocoder(
    tmp_path: Path, architecture: str, paths: list[str], lacks: bool
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    assert lacks_vocoder(tmp_path, paths) is lacks
