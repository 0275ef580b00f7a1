"""Voices: their names, the default, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from antiphon.errors import ConfigError
from antiphon.models.speecht5.voices import read_voices
from tests.support.tiny_speecht5 import write_voice


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("cleo", "ada", "bob")):
        write_voice(tmp_path / "voices" / f"{name}.bin", 512, index)
    return tmp_path


def test_default_voice_is_the_first_by_name(folder: Path) -> None:
    assert read_voices(folder, 512).names == ("ada", "bob", "cleo")


def test_voice_named_default_is_the_default(folder: Path) -> None:
    write_voice(folder / "voices" / "default.bin", 512)
    assert read_voices(folder, 512).names == ("default", "ada", "bob", "cleo")


def test_given_speaker_is_the_default_and_may_replace_a_voice(folder: Path) -> None:
    write_voice(folder / "voices" / "default.bin", 512)
    given = write_voice(folder / "given.bin", 512, 9)
    voices = read_voices(folder, 512, ("bob", given))
    assert voices.names == ("bob", "ada", "cleo", "default")
    values = np.fromfile(given, "<f4")
    np.testing.assert_allclose(voices.embeddings["bob"], values / np.linalg.norm(values), rtol=1e-6)


def test_given_speaker_is_enough_for_a_model_without_voices(tmp_path: Path) -> None:
    assert read_voices(tmp_path, 8, ("solo", write_voice(tmp_path / "v" / "x.bin", 8))).names == ("solo",)


def test_embeddings_have_unit_length(folder: Path) -> None:
    for values in read_voices(folder, 512).embeddings.values():
        assert values.dtype == np.float32
        assert np.linalg.norm(values) == pytest.approx(1, abs=1e-6)


def test_only_bin_files_are_voices(folder: Path) -> None:
    np.save(folder / "voices" / "other.npy", np.ones(512, np.float32))
    (folder / "voices" / "README.md").write_text("voices")
    assert "other" not in read_voices(folder, 512).names


def test_model_without_voices_is_an_error_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_voices(tmp_path, 512)
    assert str(caught.value) == (
        f"{tmp_path}: no voice; put a speaker embedding (512 float32 values, 2048 bytes) into "
        f"{tmp_path / 'voices'}/NAME.bin, or give one."
    )


@pytest.mark.parametrize("size", [0, 2047, 4096])
def test_file_of_another_size_is_named_with_the_right_size(folder: Path, size: int) -> None:
    path = folder / "voices" / "bob.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(ConfigError) as caught:
        read_voices(folder, 512)
    assert str(caught.value).startswith(f"{path}: {size} bytes, but")
    assert "512 float32 values, 2048 bytes" in str(caught.value)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_zero_or_nan_speaker_embedding_is_refused(folder: Path, value: float) -> None:
    np.full(512, value, "<f4").tofile(folder / "voices" / "bob.bin")
    with pytest.raises(ConfigError, match=r"bob\.bin: the values are all zero or not finite"):
        read_voices(folder, 512)


def test_missing_voice_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.bin: the voice cannot be read \(No such file"):
        read_voices(tmp_path, 512, ("gone", tmp_path / "gone.bin"))
