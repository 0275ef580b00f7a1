"""Samples that go in block by block come out in any stretch, from memory or from a file without a name."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.sample_store import SampleStore, Stretch
from antiphon.errors import Unavailable
from antiphon.types.audio import Waveform


def blocks(count: int, size: int = 1000) -> list[np.ndarray]:
    return [np.arange(first * size, (first + 1) * size, dtype=np.float32) for first in range(count)]


def filled(most_in_memory: int, count: int = 10) -> SampleStore:
    spool = SampleStore(most_in_memory)
    for block in blocks(count):
        spool.append(block)
    return spool


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_what_is_short_is_an_array() -> None:
    samples = filled(10_000).finished()
    assert isinstance(samples, np.ndarray)
    np.testing.assert_array_equal(samples, np.concatenate(blocks(10)))


@pytest.mark.parametrize(
    "stretch", [slice(0, 10), slice(2_500, 7_501), slice(9_990, None), slice(9_990, 20_000), slice(5, 5)]
)
def test_any_stretch_of_what_is_long_can_be_had(stretch: slice) -> None:
    samples = filled(3_500).finished()
    assert isinstance(samples, SampleStore)
    assert len(samples) == 10_000
    np.testing.assert_array_equal(samples[stretch], np.concatenate(blocks(10))[stretch])


def test_a_stretch_has_no_step() -> None:
    with pytest.raises(ValueError, match="no step"):
        _ = filled(10).finished()[::2]


def test_nothing_of_what_is_long_stays_in_memory() -> None:
    spool = filled(100, count=400)
    assert len(spool._buffer) <= 1 << 20
    spool.finished()
    assert not spool._buffer


def test_the_file_has_no_name_and_is_gone_with_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_files()
    samples = filled(100).finished()
    assert open_files() == before + 1
    assert not list(tmp_path.iterdir())
    del samples
    gc.collect()
    assert open_files() == before


def test_a_disk_without_room_is_told_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(Unavailable, match=r"no room for the decoded audio in .*missing .*TMPDIR"):
        filled(100)


def test_the_file_lives_as_long_as_a_stretch_of_it_and_no_longer() -> None:
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
def test_a_part_is_read_like_the_whole(whole: Waveform, part: slice) -> None:
    stretch = Stretch(whole, 1_234, 2_234)
    assert len(stretch) == 1_000
    np.testing.assert_array_equal(stretch[part], np.arange(1_234, 2_234)[part])


def test_a_part_has_no_step() -> None:
    with pytest.raises(ValueError, match="no step"):
        _ = Stretch(filled(10).finished(), 0, 5)[::2]
