"""Tags are bounded before FFmpeg reads them."""

from __future__ import annotations

import io
import struct

import pytest

from antiphon.audio.decode import decode
from antiphon.audio.tags import MAX_COMMENTS, check_comments, skip_id3
from antiphon.errors import InvalidAudio
from tests.support.hostile_audio import flac_tags, id3, mp3_tags, ogg_pages, opus_tags, split_pages
from tests.support.sounds import make_audio

MANY = 100_000  # which take FFmpeg about a minute


@pytest.mark.parametrize("make", [opus_tags, flac_tags])
def test_too_many_comments_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InvalidAudio, match=r"has 10000[01] tags; at most 2000"):
        decode(make(MANY))
    assert len(decode(make(MAX_COMMENTS - 100))) == pytest.approx(16_000, abs=400)


def test_id3_tags_are_skipped_however_many() -> None:
    assert len(decode(mp3_tags(MANY))) == len(decode(mp3_tags(0)))


def test_id3_before_flac_is_skipped() -> None:
    flac = make_audio(1.0, "flac", "flac", rate=48_000)
    assert len(decode(id3(5) + flac)) == 16_000
    with pytest.raises(InvalidAudio, match="tags"):
        decode(id3(5) + flac_tags(MANY))


@pytest.mark.parametrize("footer", [False, True])
def test_several_id3_tags_are_skipped(footer: bool) -> None:
    tag = bytearray(id3(3))
    if footer:
        tag[5] |= 0x10
        tag += b"3DI" + bytes(7)
    assert skip_id3(io.BytesIO(bytes(tag) * 3 + b"rest")) == 3 * len(tag)


def test_endless_id3_tags_are_refused() -> None:
    with pytest.raises(InvalidAudio, match="more than 100 ID3 tags"):
        decode(b"ID3\x04\0\0\0\0\0\0" * 1_000)


def test_comments_on_several_pages_and_of_several_streams_are_counted() -> None:
    hostile = split_pages(opus_tags(MANY))
    other = bytes(4)  # the serial number of a second stream
    first = bytearray(hostile[0])
    first[14:18] = other
    tags = b"OpusTags" + struct.pack("<I", 0) + struct.pack("<I", 0)
    whole = hostile[0] + bytes(first) + ogg_pages(tags, other, 1) + b"".join(hostile[1:])
    with pytest.raises(InvalidAudio, match="has 100000 tags"):
        check_comments(io.BytesIO(whole))


def test_long_vendor_string_is_refused() -> None:
    data = bytearray(flac_tags(1))
    data[46:50] = struct.pack("<I", 1 << 20)
    with pytest.raises(InvalidAudio, match="a name of 1048576 bytes"):
        check_comments(io.BytesIO(bytes(data)))


def test_picture_of_megabytes_is_accepted() -> None:
    """Ogg has pictures in a comment."""
    comment = b"METADATA_BLOCK_PICTURE=" + b"A" * 3_000_000
    tags = b"OpusTags" + struct.pack("<I", 1) + b"x" + struct.pack("<II", 1, len(comment)) + comment
    pages = split_pages(make_audio(1.0, "ogg", "libopus", rate=48_000))
    check_comments(io.BytesIO(pages[0] + ogg_pages(tags, pages[0][14:18], 1) + b"".join(pages[2:])))


@pytest.mark.parametrize("size", [0, 3, 4, 30, 100, 5_000])
@pytest.mark.parametrize("make", [opus_tags, flac_tags])
def test_cut_file_is_left_to_the_other_checks(make: object, size: int) -> None:
    assert callable(make)
    check_comments(io.BytesIO(make(10)[:size]))
