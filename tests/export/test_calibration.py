"""Calibration audio of an int8 export: windows of the files of a folder, or built-in synthetic speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from antiphon.benchmark.clips import to_wav
from antiphon.benchmark.sentences import SENTENCES as MEASURED
from antiphon.cli.export import speakers
from antiphon.errors import ConfigError
from antiphon.export.calibration import SENTENCES, WINDOWS, calibration_windows
from antiphon.types.audio import WINDOW_SAMPLES, Samples
from tests.support.held_out import HELD_OUT, HELD_OUT_SPANISH


def tone(seconds: float, height: float) -> Samples:
    return (0.1 * np.sin(height * np.arange(round(seconds * 16_000)))).astype(np.float32)


def test_calibration_windows_are_from_all_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.wav").write_bytes(to_wav(tone(65, 0.1)))
    (tmp_path / "deep" / "b.wav").write_bytes(to_wav(tone(2, 0.2)))
    windows = calibration_windows(tmp_path, speakers)
    assert [len(one) for one in windows] == [WINDOW_SAMPLES, WINDOW_SAMPLES, 5 * 16_000, 2 * 16_000]


def test_calibration_windows_of_a_long_file_are_limited(tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(to_wav(np.zeros((WINDOWS + 3) * WINDOW_SAMPLES, np.float32)))
    assert len(calibration_windows(tmp_path, speakers)) == WINDOWS


def test_calibration_folder_without_audio_is_a_config_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=f"^calibration: {folder}: no folder with audio files"):
            calibration_windows(folder, speakers)
    (tmp_path / "notes.txt").write_text("not audio")
    with pytest.raises(ConfigError, match=r"^calibration: .*notes\.txt: "):
        calibration_windows(tmp_path, speakers)


def test_calibration_uses_a_built_in_voice_by_default() -> None:
    windows = calibration_windows(None, speakers)
    assert len(windows) == WINDOWS
    assert all(4 * 16_000 <= len(one) <= WINDOW_SAMPLES and one.dtype == np.float32 for one in windows)
    assert all(0.01 < np.abs(one).max() <= 1.2 for one in windows)
    loudness = [float(np.abs(one).max()) for one in windows]
    assert max(loudness) > 2 * min(loudness)


def test_calibration_texts_are_not_benchmark_or_held_out_texts() -> None:
    calibration_texts = {text for texts in SENTENCES.values() for text in texts}
    assert calibration_texts.isdisjoint({*MEASURED, *HELD_OUT, *HELD_OUT_SPANISH})
