"""Truncation: lengths in headers, and the trailing data of real files, which is not damage."""

from __future__ import annotations

import io

import pytest

from antiphon.audio.decode import decode
from antiphon.audio.truncation import MAX_HEADERS, announced_mpeg_frames, find_truncation, mpeg_frame
from antiphon.errors import InvalidAudio
from tests.support.sounds import make_audio


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("fffb90c4", 417),  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 144 * 128000 / 44100
        ("fffb92c4", 418),  # the same with padding
        ("fffb54c4", 192),  # 64 kbit/s, 48 kHz
        ("fff380c4", 208),  # MPEG-2, 64 kbit/s, 22.05 kHz: 72 * 64000 / 22050
        ("fffda0c4", 626),  # MPEG-1 layer II, 192 kbit/s, 44.1 kHz
    ],
)
def test_mpeg_frame_size(header: str, size: int) -> None:
    frame = mpeg_frame(bytes.fromhex(header))
    assert frame is not None
    assert frame.size == size


@pytest.mark.parametrize("header", ["", "fffb", "49443304", "fffb00c4", "fffbf0c4", "ffeb90c4", "fff990c4", "fffb9cc4"])
def test_invalid_mpeg_frame_header_is_none(header: str) -> None:
    assert mpeg_frame(bytes.fromhex(header)) is None


def test_mp3_frame_count_is_read_from_its_header() -> None:
    frames = announced_mpeg_frames(io.BytesIO(make_audio(2.0, "mp3", "libmp3lame", rate=48_000, id3v2_version="0")))
    assert frames is not None
    assert abs(frames - 2 * 48_000 / 1_152) < 3


@pytest.mark.parametrize("name", [b"Xing", b"Info"])
@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\0\0\1", b"\0\0\0\1\0\0"])
def test_truncated_xing_header_is_none(name: bytes, rest: bytes) -> None:
    data = b"\xff\xfb\x90\x00" + bytes(32) + name + rest
    assert announced_mpeg_frames(io.BytesIO(data)) is None
    with pytest.raises(InvalidAudio):
        decode(data)


def test_truncated_vbri_header_is_none() -> None:
    data = b"\xff\xfb\x90\x00" + bytes(32) + b"VBRI" + bytes(range(10, 28))
    assert announced_mpeg_frames(io.BytesIO(data[:54])) is not None
    assert announced_mpeg_frames(io.BytesIO(data[:53])) is None


def test_mp3_without_frame_count_is_complete() -> None:
    data = make_audio(2.0, "mp3", "libmp3lame", rate=48_000, seekable=False, write_xing="0")
    assert announced_mpeg_frames(io.BytesIO(data)) is None
    assert len(decode(data)) == pytest.approx(32_000, abs=1_000)


def test_mp3_truncated_between_frames_is_detected_by_its_frame_count() -> None:
    data = make_audio(2.0, "mp3", "libmp3lame", rate=48_000)
    start = data.index(b"\xff\xfb")
    frames = (len(data) - start) // 192
    assert start + frames * 192 == len(data)  # constant bit rate: every frame has the same size
    with pytest.raises(InvalidAudio, match="truncated"):
        decode(data[: start + (frames - 20) * 192])


@pytest.mark.parametrize(
    "tail",
    [
        b"TAG" + b"x" * 125,
        bytes(1_000),
        b"APETAGEX\xd0\x07\0\0" + bytes(20) + b"Title=x" * 9,
        b"LYRICSBEGIN" + b"abc" * 50 + b"LYRICS200",
    ],
    ids=["id3v1", "padding", "ape", "lyrics"],
)
def test_mp3_tags_and_padding_at_the_end_are_accepted(tail: bytes) -> None:
    data = make_audio(2.0, "mp3", "libmp3lame", rate=44_100)
    assert len(decode(data + tail)) == pytest.approx(32_000, abs=420)


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("ogg", "libopus")])
def test_concatenated_files_are_decoded_completely(container: str, codec: str) -> None:
    data = make_audio(2.0, container, codec, rate=48_000)
    assert len(decode(data + data)) == pytest.approx(64_000, abs=1_500)


def test_mp3_with_a_hole_is_refused() -> None:
    data = make_audio(2.0, "mp3", "libmp3lame", rate=44_100)
    middle = len(data) // 2
    with pytest.raises(InvalidAudio, match="damaged"):
        decode(data[:middle] + bytes(4_000) + data[middle + 4_000 :])


def test_damaged_flac_is_refused() -> None:
    data = bytearray(make_audio(2.0, "flac", "flac", rate=44_100))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    with pytest.raises(InvalidAudio, match="damaged"):
        decode(bytes(data))


def test_flac_of_unknown_length_is_read_to_its_end() -> None:
    assert len(decode(make_audio(2.0, "flac", "flac", rate=44_100, seekable=False))) == pytest.approx(32_000, abs=1)


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("matroska", "flac"), ("ogg", "libopus")])
def test_live_recording_without_sizes_is_complete_unless_truncated(container: str, codec: str) -> None:
    data = make_audio(2.0, container, codec, rate=48_000, seekable=False)
    assert len(decode(data)) == pytest.approx(32_000, abs=400)
    assert find_truncation(io.BytesIO(data)) is None
    assert find_truncation(io.BytesIO(data[: len(data) * 2 // 3])) is not None


def test_ogg_tag_after_the_last_page_is_accepted() -> None:
    data = make_audio(1.0, "ogg", "libopus", rate=48_000)
    assert find_truncation(io.BytesIO(data + b"TAG" + bytes(125))) is None


def test_sample_rate_change_within_a_file() -> None:
    first, second = (make_audio(2.0, "adts", "aac", rate=rate) for rate in (48_000, 24_000))
    assert len(decode(first + second)) == pytest.approx(64_000, abs=2_500)


class CountingFile(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize(
    ("start", "header", "reason"),
    [
        (b"RIFF\0\0\0\0WAVE", b"junk\0\0\0\0", "more than 100000 headers"),
        (b"FORM\0\0\0\0AIFF", b"junk\0\0\0\0", "more than 100000 headers"),
        (b"\0\0\0\x08ftyp", b"\0\0\0\x08free", None),
        (b"\x1aE\xdf\xa3\x80", b"\xec\x80", None),
    ],
    ids=["riff", "aiff", "boxes", "ebml"],
)
def test_millions_of_headers_are_not_looked_at(start: bytes, header: bytes, reason: str | None) -> None:
    file = CountingFile(start + header * 1_000_000)
    found = find_truncation(file)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)
    assert file.reads < 3 * MAX_HEADERS + 10


def test_ogg_of_many_pages_is_checked_at_its_end() -> None:
    page = b"OggS" + bytes(22) + b"\1\5" + bytes(5)
    file = CountingFile(page * (MAX_HEADERS + 10))
    assert find_truncation(file) is None
    assert file.reads < 3 * MAX_HEADERS + 10
    assert find_truncation(io.BytesIO(page * (MAX_HEADERS + 10) + b"TAG" + bytes(125))) is None
    assert "3 bytes are missing" in str(find_truncation(io.BytesIO((page * (MAX_HEADERS + 10))[:-3])))
    assert "not whole" in str(find_truncation(io.BytesIO(page * (MAX_HEADERS + 10) + page[:20])))
