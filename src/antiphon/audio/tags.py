"""Bound the tags of a file before FFmpeg reads them: it takes time by the square of their number."""

from __future__ import annotations

from antiphon.audio.truncation import Readable
from antiphon.errors import InvalidAudio

MAX_COMMENTS = 2_000  # FFmpeg reads so many in 0.04 s, and 10,000 in 0.9 s
_MAX_VENDOR_BYTES = 1 << 14  # of the name of the encoder, which precedes the number of comments
_MAX_OGG_PAGES = 1_000  # to look for the comments of all streams in
_MAX_ID3_TAGS = 100  # some programs add one in front of another
_FLAC_COMMENTS = 4  # the type of the metadata block


def skip_id3(file: Readable) -> int:
    """The position behind the ID3v2 tags at the start of `file`."""
    start = 0
    for _ in range(_MAX_ID3_TAGS):
        file.seek(start)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return start
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        start += 10 + size + (10 if head[5] & 0x10 else 0)
    raise InvalidAudio(f"The file starts with more than {_MAX_ID3_TAGS} ID3 tags.")


def check_comments(file: Readable) -> None:
    """Raise InvalidAudio for too many Vorbis comments in a FLAC or Ogg file."""
    file.seek(0)
    head = file.read(4)
    if head == b"fLaC":
        _check_flac(file)
    elif head == b"OggS":
        _check_ogg(file)


def _check_flac(file: Readable) -> None:
    position, total, last = 4, 0, False
    while not last:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4:
            return
        last = bool(head[0] & 0x80)
        if head[0] & 0x7F == _FLAC_COMMENTS:
            total += _count(file.read(8 + _MAX_VENDOR_BYTES))
            _check_count(total)
        position += 4 + int.from_bytes(head[1:])


def _check_ogg(file: Readable) -> None:
    """Look at the second packet of each stream: Opus, Vorbis, Speex and FLAC have their comments there."""
    streams: dict[bytes, _FirstPackets] = {}
    position = 0
    for _ in range(_MAX_OGG_PAGES):
        file.seek(position)
        head = file.read(27)
        if len(head) < 27 or head[:4] != b"OggS":
            break
        lacing = file.read(head[26])
        stream = streams.setdefault(head[14:18], _FirstPackets())
        if not stream.complete:
            stream.add(lacing, file.read(sum(lacing)))
        if all(each.complete for each in streams.values()):
            break
        position += 27 + len(lacing) + sum(lacing)
    for each in streams.values():
        _check_count(each.comments())


class _FirstPackets:
    """The first packet of an Ogg stream, and as much of the second as is needed."""

    def __init__(self) -> None:
        self._packets = [b""]

    @property
    def complete(self) -> bool:
        return len(self._packets) > 2 or len(self._packets[-1]) > 2 * _MAX_VENDOR_BYTES

    def add(self, lacing: bytes, body: bytes) -> None:
        """Add the packets of a page, whose lengths are in `lacing`; a length of 255 goes on in the next value."""
        start = end = 0
        for length in lacing:
            end += length
            if length < 255:
                self._packets[-1] += body[start:end]
                self._packets.append(b"")
                start = end
        self._packets[-1] += body[start:]

    def comments(self) -> int:
        """The number of comments that the second packet announces."""
        if len(self._packets) < 2:
            return 0
        first, second = self._packets[:2]
        for name in (b"OpusTags", b"\x03vorbis", b"\x81theora"):
            if second.startswith(name):
                return _count(second[len(name) :])
        if first.startswith(b"\x7fFLAC") and second[:1] in (b"\x04", b"\x84"):
            return _count(second[4:])
        return _count(second) if first.startswith(b"Speex   ") else 0


def _count(comments: bytes) -> int:
    """The number of comments that a block of them announces, behind the vendor string."""
    vendor = int.from_bytes(comments[:4], "little")
    if vendor > _MAX_VENDOR_BYTES:
        raise InvalidAudio(f"The file has tags that start with a name of {vendor} bytes.")
    return int.from_bytes(comments[4 + vendor : 8 + vendor], "little")


def _check_count(count: int) -> None:
    if count > MAX_COMMENTS:
        raise InvalidAudio(f"The file has {count} tags; at most {MAX_COMMENTS} are allowed.")
