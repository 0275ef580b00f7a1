"""Whole audio files of many kinds, and random changes to them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from av.error import FFmpegError

from tests.support import hostile_audio
from tests.support.sounds import make_audio

# container, codec, rate, channels, options of the muxer
KINDS: tuple[tuple[str, str, int, int, dict[str, str]], ...] = (
    ("wav", "pcm_s16le", 16_000, 1, {}),
    ("wav", "pcm_u8", 8_000, 2, {}),
    ("wav", "pcm_f64le", 16_000, 1, {}),
    ("wav", "adpcm_ms", 16_000, 1, {}),
    ("wav", "adpcm_ima_wav", 16_000, 2, {}),
    ("wav", "pcm_mulaw", 8_000, 1, {}),
    ("wav", "ac3", 48_000, 2, {}),
    ("w64", "pcm_s24le", 16_000, 2, {}),
    ("aiff", "pcm_s16be", 16_000, 1, {}),
    ("au", "pcm_s16be", 16_000, 1, {}),
    ("caf", "pcm_s16be", 16_000, 1, {}),
    ("caf", "alac", 44_100, 1, {}),
    ("flac", "flac", 44_100, 2, {"metadata": "title=x"}),
    ("ogg", "libopus", 48_000, 1, {}),
    ("ogg", "vorbis", 44_100, 2, {}),
    ("ogg", "flac", 44_100, 1, {}),
    ("mp3", "libmp3lame", 44_100, 2, {}),
    ("mp3", "libmp3lame", 22_050, 1, {"write_xing": "0"}),
    ("adts", "aac", 48_000, 1, {}),
    ("ipod", "aac", 44_100, 2, {}),
    ("mp4", "aac", 48_000, 1, {"movflags": "frag_keyframe+empty_moov"}),
    ("mp4", "aac", 48_000, 1, {"movflags": "faststart"}),
    ("mp4", "flac", 44_100, 1, {}),
    ("mov", "pcm_s16be", 16_000, 2, {}),
    ("webm", "libopus", 48_000, 1, {}),
    ("webm", "libopus", 48_000, 1, {"live": "1"}),
    ("matroska", "pcm_s16le", 16_000, 2, {}),
    ("matroska", "ac3", 48_000, 2, {}),
    ("mpegts", "aac", 48_000, 1, {}),
    ("mpegts", "mp2", 48_000, 2, {}),
    ("avi", "libmp3lame", 44_100, 1, {}),
    ("asf", "wmav2", 44_100, 2, {}),
    ("amr", "libopencore_amrnb", 8_000, 1, {}),
)
# Rich in tags, tracks and channels.
RICH: dict[str, Callable[[], bytes]] = {
    "opus tags": lambda: hostile_audio.opus_tags(200),
    "flac tags": lambda: hostile_audio.flac_tags(200),
    "mp3 tags": lambda: hostile_audio.mp3_tags(200),
    "aiff tags": lambda: hostile_audio.aiff_tags(200),
    "twelve channels": hostile_audio.many_channels,
    "many tracks": lambda: hostile_audio.many_tracks(20),
    "mp4 with video": lambda: hostile_audio.with_video("mp4", 64),
    "mpegts with video": lambda: hostile_audio.with_video("mpegts", 64),
    "trun": lambda: hostile_audio.fragment_bomb(1_000),
    "stsz": lambda: hostile_audio.sample_table_bomb(1_000),
    "cmov": lambda: hostile_audio.compressed_header_bomb(1_000),
    "64-bit integers": hostile_audio.wav_of_64_bit_integers,
}
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def whole_files() -> dict[str, bytes]:
    """A short file of each kind that this build of FFmpeg can write, by name."""
    files = {name: make() for name, make in RICH.items()}
    for container, codec, rate, channels, options in KINDS:
        name = "-".join((container, codec, *options.values()))
        try:
            files[name] = make_audio(0.3, container, codec, rate=rate, channels=channels, **options)
        except (FFmpegError, ValueError):  # the encoder is not in this build
            continue
    return files


def mutate(data: bytes, others: list[bytes], random: Random) -> bytes:
    """Change a file in one to six places."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        random.choice(MUTATIONS)(changed, others, random)
        changed.extend(b"" if changed else b"\0")
    return bytes(changed[: 4 << 20])


def _place(data: bytearray, random: Random) -> int:
    """Every second one in the headers."""
    return random.randrange(max(1, min(len(data), 600) if random.random() < 0.5 else len(data)))


def _flip(data: bytearray, _others: list[bytes], random: Random) -> None:
    for _ in range(random.choice((1, 4, 30))):
        place = _place(data, random)
        data[place : place + 1] = bytes([random.randrange(256)])


def _cut(data: bytearray, _others: list[bytes], random: Random) -> None:
    del data[_place(data, random) :]


def _remove(data: bytearray, _others: list[bytes], random: Random) -> None:
    start = _place(data, random)
    del data[start : start + random.choice((1, 4, 100, 5_000))]


def _insert(data: bytearray, _others: list[bytes], random: Random) -> None:
    start = _place(data, random)
    data[start:start] = random.randbytes(random.choice((1, 4, 100, 5_000)))


def _repeat(data: bytearray, _others: list[bytes], random: Random) -> None:
    start = _place(data, random)
    part = data[start : start + random.choice((4, 32, 200, 4_000))]
    data[start:start] = part * random.choice((1, 3, 50))


def _splice(data: bytearray, others: list[bytes], random: Random) -> None:
    other, start = random.choice(others), _place(data, random)
    data[start:] = other[random.randrange(len(other)) :]


def _append(data: bytearray, others: list[bytes], random: Random) -> None:
    data += random.choice(others)


def _set_number(data: bytearray, _others: list[bytes], random: Random) -> None:
    """A field of a header, as large or small as it can be."""
    value, start = random.choice(INTERESTING), _place(data, random)
    if random.random() < 0.3:
        data[start : start + 2] = struct.pack(random.choice("<>") + "H", value & 0xFFFF)
    else:
        data[start : start + 4] = struct.pack(random.choice("<>") + "I", value)


def _move(data: bytearray, _others: list[bytes], random: Random) -> None:
    start, length = _place(data, random), random.choice((8, 188, 1_000))
    part = data[start : start + length]
    del data[start : start + length]
    target = _place(data, random)
    data[target:target] = part


MUTATIONS = (_flip, _flip, _cut, _remove, _insert, _repeat, _splice, _append, _set_number, _set_number, _move)
