"""Detect truncated files by the sizes in their container headers. FFmpeg decodes them to their end without an error."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

MAX_HEADERS = 100_000  # of one file are looked at: they take 0.3 s, and are forged from 8 bytes each
_MAX_OGG_PAGE_BYTES = 27 + 255 + 255 * 255
_TOO_MANY = f"it has more than {MAX_HEADERS} headers"

# Encoders that cannot seek back write 0, 2^32-1, or about 2^31 (sox, espeak-ng, arecord) instead of the size.
_UNKNOWN_RIFF_SIZE = 0x7FFF0000

_BITRATES = {  # kbit/s by (MPEG-1?, layer); index 0 is "free format", 15 is forbidden
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)  # MPEG-1; MPEG-2 has half, MPEG-2.5 a quarter


class Readable(Protocol):
    """The methods of a binary file that are used here."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...


class MpegFrame(NamedTuple):
    """The fields of an MPEG audio frame header that are used here. `size` is in bytes, header included."""

    size: int
    mpeg1: bool
    mono: bool


def mpeg_frame(header: bytes) -> MpegFrame | None:
    """Parse four bytes as an MPEG audio frame header; None if they are not one, or the size cannot be computed."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    mpeg1 = version == 3
    rate = _RATES[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    bitrate = _BITRATES[mpeg1, layer][bitrate_index - 1] * 1000
    if layer == 1:
        size = (12 * bitrate // rate + padding) * 4
    else:
        size = (72 if layer == 3 and not mpeg1 else 144) * bitrate // rate + padding
    return MpegFrame(size, mpeg1, mono=header[3] >> 6 == 3)


def announced_mpeg_frames(file: Readable) -> int | None:
    """The number of frames the Xing, Info or VBRI header of an mp3 without ID3 announces; None if it has none."""
    file.seek(0)
    head = file.read(10)
    frame = mpeg_frame(head)
    if frame is None:
        return None
    data = head + file.read(200)
    side = (17 if frame.mono else 32) if frame.mpeg1 else (9 if frame.mono else 17)
    tag = data[4 + side :]
    if tag[:4] in (b"Xing", b"Info") and len(tag) >= 12 and tag[7] & 1:
        return int.from_bytes(tag[8:12]) or None
    if data[36:40] == b"VBRI" and len(data) >= 54:
        return int.from_bytes(data[50:54]) or None
    return None


def find_truncation(file: Readable) -> str | None:
    """Describe what is missing according to the container; None if nothing is, or the container does not say."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    walk: Callable[[Readable, int], str | None] | None = None
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        walk = _riff
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        walk = _aiff
    elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        walk = _boxes
    elif head[:4] == b"OggS":
        walk = _ogg
    elif head[:4] == b"\x1aE\xdf\xa3":
        walk = _ebml
    return walk(file, size) if walk else None


def _missing(end: int, size: int) -> str | None:
    return f"it is truncated, {end - size} bytes are missing at its end" if end > size else None


def _riff(file: Readable, size: int) -> str | None:
    file.seek(4)
    riff_size, long_size, position = int.from_bytes(file.read(4), "little"), None, 12
    for _ in range(MAX_HEADERS):
        if position + 8 > size:
            return None
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        if name == b"data":
            if length == 0xFFFFFFFF and long_size:
                length = long_size
            elif length >= _UNKNOWN_RIFF_SIZE:
                return None
            if length == 0 and riff_size + 8 == size:
                return "it holds no samples"  # the header is final, so the rest is not audio
            return _missing(position + 8 + length, size)
        position += 8 + length + length % 2
    return _TOO_MANY


def _aiff(file: Readable, size: int) -> str | None:
    position = 12
    for _ in range(MAX_HEADERS):
        if position + 8 > size:
            return None
        file.seek(position)
        name, length = struct.unpack(">4sI", file.read(8))
        if name == b"SSND":
            return _missing(position + 8 + length, size)
        position += 8 + length + length % 2
    return _TOO_MANY


def _boxes(file: Readable, size: int) -> str | None:
    position = 0
    for _ in range(MAX_HEADERS):
        if position + 8 > size:
            return _missing(position, size)
        file.seek(position)
        length = int.from_bytes(file.read(4))
        if length == 1:
            file.seek(position + 8)
            length = int.from_bytes(file.read(8))
        if length < 8:  # 0: to the end of the file; less than a header: not a box
            return None
        position += length
    return None  # fragments of less than 0.1 s: the end of such a file is not checked


def _ogg(file: Readable, size: int) -> str | None:
    position = 0
    for _ in range(MAX_HEADERS):
        if position >= size:
            return _missing(position, size)
        file.seek(position)
        header = file.read(27)
        if header[:4] != b"OggS":
            return None  # a tag after the last page
        if len(header) < 27:
            return _missing(position + 27, size)
        position += 27 + header[26] + sum(file.read(header[26]))
    return _last_ogg_page(file, size)


def _last_ogg_page(file: Readable, size: int) -> str | None:
    """What is missing of the last page, in a file of more pages than are looked at: half an hour, if each holds 20 ms."""
    start = max(0, size - _MAX_OGG_PAGE_BYTES)
    file.seek(start)
    end = file.read(_MAX_OGG_PAGE_BYTES)
    page = end[end.rfind(b"OggS") :]
    if not page.startswith(b"OggS") or len(page) < 27:
        return "it is truncated, its last page is not whole"
    return _missing(size - len(page) + 27 + page[26] + sum(page[27 : 27 + page[26]]), size)


def _ebml(file: Readable, size: int) -> str | None:
    position = 0
    for _ in range(MAX_HEADERS):
        if position >= size:
            return _missing(position, size)
        file.seek(position)
        header = file.read(12)
        id_length = 9 - header[0].bit_length()
        size_byte = header[id_length] if id_length < len(header) else 0
        size_length = 9 - size_byte.bit_length()
        if id_length > 4:
            return None  # not an element
        start = id_length + size_length
        if size_length > 8 or len(header) < start:
            return _missing(position + max(start, len(header) + 1), size)
        mask = (1 << 7 * size_length) - 1
        length = int.from_bytes(header[id_length:start]) & mask
        # Live muxers leave the size of Segment and Cluster open: step inside. All other elements have a size.
        position += start if length == mask else start + length
    return None  # a live recording of more than half an hour: its end is not checked
