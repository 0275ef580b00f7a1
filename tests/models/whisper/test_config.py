"""A checkpoint's JSON files: what is read, what is derived, and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tests.support.tiny_whisper as tiny
from antiphon.errors import ConfigError
from antiphon.models.whisper.config import read_config
from tests.support.tiny_whisper import IDS, VOCABULARY, write_tiny


def write(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_ids_come_from_the_generation_config(tiny_folder: Path) -> None:
    tokens = read_config(tiny_folder).tokens
    assert tokens.languages == {"en": IDS["<|en|>"], "es": IDS["<|es|>"]}
    assert (tokens.end, tokens.start) == (IDS["<|endoftext|>"], IDS["<|startoftranscript|>"])
    assert (tokens.translate, tokens.transcribe) == (IDS["<|translate|>"], IDS["<|transcribe|>"])
    assert (tokens.previous, tokens.no_speech) == (IDS["<|startofprev|>"], IDS["<|nospeech|>"])
    assert tokens.timestamp_begin == tokens.no_timestamps + 1 == VOCABULARY - 1501


def test_ids_that_are_missing_follow_from_the_order_of_the_vocabulary(tmp_path: Path) -> None:
    generation = tiny.generation_config()
    for key in ("no_timestamps_token_id", "prev_sot_token_id", "task_to_id"):
        del generation[key]
    tokens = read_config(write(tmp_path, tiny.config(), generation)).tokens
    assert tokens.no_timestamps == IDS["<|notimestamps|>"]
    assert tokens.previous == IDS["<|startofprev|>"]
    assert (tokens.translate, tokens.transcribe) == (IDS["<|translate|>"], IDS["<|transcribe|>"])


def test_english_only_model_has_no_languages(tmp_path: Path) -> None:
    config = read_config(write_tiny(tmp_path, languages=False))
    assert not config.multilingual
    assert config.tokens.transcribe is None
    assert config.tokens.translate is None


@pytest.mark.parametrize(("value", "expected"), [(50, 50), (1, 50), (None, None), (25, 25)])
def test_stale_max_initial_timestamp_is_corrected(tmp_path: Path, value: int | None, expected: int | None) -> None:
    generation = tiny.generation_config() | {"max_initial_timestamp_index": value}
    assert read_config(write(tmp_path, tiny.config(), generation)).max_initial_timestamp == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": None}, "d_model"),
        ({"d_model": "30"}, "d_model is '30', not a whole number"),
        ({"encoder_layers": 0}, "encoder_layers is 0"),
        ({"encoder_attention_heads": 7}, "d_model 30 is not a multiple of encoder_attention_heads 7"),
        ({"max_source_positions": 750}, "max_source_positions 750"),
        ({"activation_function": "relu"}, "activation_function relu"),
        ({"vocab_size": 100}, "outside the vocabulary of 100"),
    ],
)
def test_wrong_config_names_file_and_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = {key: value for key, value in (tiny.config() | change).items() if value is not None}
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(write(tmp_path, config, tiny.generation_config()))
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"alignment_heads": [[1]]},
        {"alignment_heads": 7},
        {"suppress_tokens": 5},
        {"lang_to_id": ["en"]},
        {"task_to_id": ["translate"]},
        {"eos_token_id": []},
    ],
)
def test_values_of_the_wrong_type_are_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"generation_config\.json: a value has the wrong type"):
        read_config(write(tmp_path, tiny.config(), tiny.generation_config() | change))


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ConfigError, match=r"config\.json: not valid JSON"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="not a JSON object"):
        read_config(tmp_path)


def test_alignment_heads_are_read(tmp_path: Path) -> None:
    named = tiny.generation_config() | {"alignment_heads": [[1, 2], [0, 0]]}
    assert read_config(write(tmp_path, tiny.config(), named)).alignment.chosen == ((0, 0), (1, 2))
    assert read_config(write(tmp_path, tiny.config(), tiny.generation_config())).alignment.guessed
