"""Files that are small and cost much, or that crash decoders: each is a function that makes its bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import av
import numpy as np

from tests.support.sounds import make_audio, tone


def many_channels(layout: str = "7.1.4", frames: int = 20) -> bytes:
    """An Opus file of more than eight channels, 20 ms a frame."""
    target = io.BytesIO()
    with av.open(target, "w", format="ogg") as output:
        stream: Any = output.add_stream("libopus", rate=48_000, options={"mapping_family": "255"})
        stream.layout = layout
        output.start_encoding()
        noise = np.random.default_rng(0)
        for index in range(frames):
            sound = (0.1 * noise.standard_normal((1, stream.layout.nb_channels * 960))).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(sound, format="flt", layout=layout)
            frame.sample_rate, frame.pts = 48_000, index * 960
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


def opus_tags(count: int) -> bytes:
    """An Opus file with so many comments, each with a key of its own."""
    comments = [f"K{index}=v".encode() for index in range(count)]
    tags = b"OpusTags" + struct.pack("<I", 1) + b"x" + struct.pack("<I", count)
    tags += b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    pages = split_pages(make_audio(1.0, "ogg", "libopus", rate=48_000))
    serial = pages[0][14:18]
    return pages[0] + ogg_pages(tags, serial, 1) + b"".join(pages[2:])


def split_pages(data: bytes) -> list[bytes]:
    pages, position = [], 0
    while position < len(data):
        segments = data[position + 26]
        end = position + 27 + segments + sum(data[position + 27 : position + 27 + segments])
        pages.append(data[position:end])
        position = end
    return pages


def ogg_pages(packet: bytes, serial: bytes, sequence: int) -> bytes:
    """One packet on as many pages as it takes; the numbers of later pages of the stream do not matter to FFmpeg."""
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    pages = []
    for start in range(0, len(lacing), 255):
        part = lacing[start : start + 255]
        body = packet[start * 255 : start * 255 + sum(part)]
        flags = 1 if start else 0
        head = b"OggS\0" + bytes([flags]) + bytes(8) + serial + struct.pack("<I", sequence + len(pages))
        page = bytearray(head + bytes(4) + bytes([len(part)]) + part + body)
        page[22:26] = struct.pack("<I", ogg_crc(page))
        pages.append(bytes(page))
    return b"".join(pages)


def _crc_table() -> list[int]:
    table = []
    for index in range(256):
        value = index << 24
        for _ in range(8):
            value = (value << 1) ^ 0x04C11DB7 if value & 0x80000000 else value << 1
        table.append(value & 0xFFFFFFFF)
    return table


CRC_TABLE = tuple(_crc_table())


def ogg_crc(data: bytes | bytearray) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ CRC_TABLE[value >> 24 ^ byte]
    return value


def flac_tags(count: int) -> bytes:
    """A FLAC file with so many comments, in one metadata block after the first."""
    comments = [f"K{index}=v".encode() for index in range(count)]
    body = struct.pack("<I", 1) + b"x" + struct.pack("<I", count)
    body += b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    plain = make_audio(1.0, "flac", "flac", rate=48_000)
    block = b"\x04" + len(body).to_bytes(3) + body
    return plain[:42] + block + plain[42:]


def id3(count: int) -> bytes:
    """An ID3v2 tag of so many text frames."""
    texts = (b"\0K%d\0v" % index for index in range(count))
    frames = b"".join(b"TXXX" + struct.pack(">IH", len(text), 0) + text for text in texts)
    return b"ID3\x03\0\0" + bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0)) + frames


def mp3_tags(count: int) -> bytes:
    return id3(count) + make_audio(1.0, "mp3", "libmp3lame", rate=48_000, id3v2_version="0")


def aiff_tags(count: int) -> bytes:
    """An AIFF with an ID3 chunk, which reaches FFmpeg: 100,000 tags take it two minutes."""
    plain, tag = make_audio(0.5, "aiff", "pcm_s16be"), id3(count)
    return plain[:12] + b"ID3 " + struct.pack(">I", len(tag)) + tag + bytes(len(tag) % 2) + plain[12:]


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def boxes(data: bytes) -> dict[bytes, bytes]:
    """The boxes on one level of an mp4, by name; of several of one name the last."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        found[data[position + 4 : position + 8]] = data[position + 8 : position + size]
        position += size
    return found


def fragment_bomb(samples: int = 60_000_000) -> bytes:
    """A fragmented mp4 whose `trun` announces so many samples, which take no bytes."""
    whole = make_audio(0.1, "mp4", "aac", rate=48_000, movflags="frag_keyframe+empty_moov")
    parts = boxes(whole)
    head = box(b"ftyp", parts[b"ftyp"]) + box(b"moov", parts[b"moov"])
    header = box(b"mfhd", struct.pack(">II", 0, 1))
    # The base is the fragment (0x020000), with a default duration and size (0x18).
    track = box(b"tfhd", struct.pack(">IIII", 0x020018, 1, 1024, 1))
    run = box(b"trun", struct.pack(">III", 0x000001, samples, 0))
    return head + box(b"moof", header + box(b"traf", track + run)) + box(b"mdat", bytes(100))


def replace_box(data: bytes, path: list[bytes], change: Callable[[bytes], bytes]) -> bytes:
    """The content of a box with the box at `path` inside it changed."""
    out, position = b"", 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        name, body = data[position + 4 : position + 8], data[position + 8 : position + size]
        if name == path[0]:
            body = change(body) if len(path) == 1 else replace_box(body, path[1:], change)
        out += box(name, body)
        position += size
    return out


TABLES = [b"moov", b"trak", b"mdia", b"minf", b"stbl"]


def sample_table_bomb(samples: int = 60_000_000) -> bytes:
    """An m4a whose tables announce so many samples of one byte each."""
    data = make_audio(0.5, "ipod", "aac", rate=48_000)
    data = replace_box(data, [*TABLES, b"stsz"], lambda _: struct.pack(">III", 0, 1, samples))
    data = replace_box(data, [*TABLES, b"stsc"], lambda _: struct.pack(">IIIII", 0, 1, 1, samples, 1))
    return replace_box(data, [*TABLES, b"stts"], lambda _: struct.pack(">IIII", 0, 1, samples, 1024))


def compressed_header_bomb(entries: int = 20_000_000) -> bytes:
    """An m4a whose header is compressed, and holds a table of so many entries."""
    data = make_audio(0.5, "ipod", "aac", rate=48_000)
    data = replace_box(data, [*TABLES, b"stsz"], lambda _: struct.pack(">III", 0, 0, entries) + bytes(4 * entries))
    header = box(b"moov", boxes(data)[b"moov"])
    packed = box(b"cmvd", struct.pack(">I", len(header)) + zlib.compress(header, 9))
    small = box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + packed))
    return box(b"ftyp", boxes(data)[b"ftyp"]) + small + box(b"mdat", boxes(data)[b"mdat"])


def many_tracks(count: int = 990) -> bytes:
    """An m4a with so many tracks."""
    data = make_audio(0.5, "ipod", "aac", rate=48_000)
    track = box(b"trak", boxes(boxes(data)[b"moov"])[b"trak"])
    return replace_box(data, [b"moov"], lambda body: body + track * count)


def wav_of_64_bit_integers(seconds: float = 0.5) -> bytes:
    sound = (tone(seconds, 16_000) * 2.0**62).astype("<i8").tobytes()
    header = struct.pack("<HHIIHH", 1, 1, 16_000, 128_000, 8, 64)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(body)) + body


def with_video(container: str, size: int = 2_000, codec: str = "libx264") -> bytes:
    """Half a second of sound beside two square pictures of that size."""
    target = io.BytesIO()
    with av.open(target, "w", format=container) as output:
        video: Any = output.add_stream(codec, rate=10)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        audio: Any = output.add_stream("aac", rate=48_000, layout="mono")
        for index in range(2):
            picture = av.VideoFrame.from_ndarray(np.zeros((size * 3 // 2, size), np.uint8), format="yuv420p")
            picture.pts = index
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        for index in range(24):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1_024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, index * 1_024
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    return target.getvalue()


def long_silence(hours: float = 3.9) -> bytes:
    """FLAC of silence: 3.9 hours are a few kilobytes."""
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as output:
        stream: Any = output.add_stream("flac", rate=1_000, layout="mono")
        stream.codec_context.options = {"frame_size": "65535", "strict": "-2"}
        stream.open()
        size = stream.frame_size or 4096
        silence = np.zeros((1, size), np.int16)
        for index in range(round(hours * 3_600_000 / size)):
            frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 1_000, index * size
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()
