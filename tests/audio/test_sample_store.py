"""SampleStore: blocks in, any slice out, from memory or from a temporary file."""

from __future__ import annotations

import gc
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.sample_store import SampleSlice, SampleStore
from antiphon.errors import Unavailable
from antiphon.types.audio import Waveform


def blocks(count: int, size: int = 1000) -> list[np.ndarray]:
    return [np.arange(first * size, (first + 1) * size, dtype=np.float32) for first in range(count)]


def filled(max_in_memory: int, count: int = 10) -> SampleStore:
    store = SampleStore(max_in_memory)
    for block in blocks(count):
        store.append(block)
    return store


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_short_audio_is_an_array() -> None:
    samples = filled(10_000).finished()
    assert isinstance(samples, np.ndarray)
    np.testing.assert_array_equal(samples, np.concatenate(blocks(10)))


@pytest.mark.parametrize(
    "stretch", [slice(0, 10), slice(2_500, 7_501), slice(9_990, None), slice(9_990, 20_000), slice(5, 5)]
)
def test_any_slice_of_long_audio(stretch: slice) -> None:
    samples = filled(3_500).finished()
    assert isinstance(samples, SampleStore)
    assert len(samples) == 10_000
    np.testing.assert_array_equal(samples[stretch], np.concatenate(blocks(10))[stretch])


def test_store_slice_with_a_step_raises() -> None:
    with pytest.raises(ValueError, match="cannot have a step of 2"):
        _ = filled(10).finished()[::2]


def test_long_audio_is_not_kept_in_memory() -> None:
    store = filled(100, count=400)
    assert len(store._buffer) <= 1 << 20
    store.finished()
    assert not store._buffer


def test_file_has_no_name_and_is_deleted_with_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_files()
    samples = filled(100).finished()
    assert open_files() == before + 1
    assert not list(tmp_path.iterdir())
    del samples
    gc.collect()
    assert open_files() == before


def test_full_disk_is_unavailable_and_only_the_log_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(Unavailable, match="no room for the audio") as refused:
        filled(100)
    assert "missing" not in str(refused.value)
    assert refused.value.retry_after == 60
    assert re.search(r"Temporary files in .*missing cannot be written .*TMPDIR", caplog.text)


def test_file_is_deleted_with_the_last_slice() -> None:
    before = open_files()
    stretch = filled(100).finished()[2_500:7_500]
    gc.collect()
    np.testing.assert_array_equal(stretch, np.concatenate(blocks(10))[2_500:7_500])
    del stretch
    gc.collect()
    assert open_files() == before


@pytest.mark.parametrize("whole", [filled(10_000).finished(), filled(100).finished()], ids=["in memory", "in a file"])
@pytest.mark.parametrize(
    "part", [slice(None), slice(5), slice(100, 300), slice(-3, None), slice(900, 5_000), slice(7, 2)]
)
def test_sample_slice_reads_like_an_array(whole: Waveform, part: slice) -> None:
    stretch = SampleSlice(whole, 1_234, 2_234)
    assert len(stretch) == 1_000
    np.testing.assert_array_equal(stretch[part], np.arange(1_234, 2_234)[part])


def test_sample_slice_with_a_step_raises() -> None:
    with pytest.raises(ValueError, match="cannot have a step of 2"):
        _ = SampleSlice(filled(10).finished(), 0, 5)[::2]
