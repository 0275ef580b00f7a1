"""Decoding: any container becomes mono 16 kHz float32; incomplete or invalid audio is refused with the reason."""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.decode import decode
from antiphon.audio.formats import CODECS
from antiphon.errors import Cancelled, InvalidAudio, TooLarge
from tests.support.hostile_audio import many_channels, wav_of_64_bit_integers, with_video
from tests.support.sounds import USUAL_FORMATS, encode, make_audio, tone

CONTAINERS = [
    # container, codec, rate, tolerance of the length (one frame of the codec), and muxer options
    ("wav", "pcm_u8", 16_000, 0.0, {}),
    ("wav", "pcm_s16le", 16_000, 0.0, {}),
    ("wav", "pcm_s24le", 44_100, 0.0, {}),
    ("wav", "pcm_s32le", 48_000, 0.0, {}),
    ("wav", "pcm_f32le", 16_000, 0.0, {}),
    ("wav", "pcm_f64le", 22_050, 0.0, {}),
    ("wav", "pcm_mulaw", 8_000, 0.0, {}),
    ("wav", "pcm_alaw", 8_000, 0.0, {}),
    ("aiff", "pcm_s16be", 44_100, 0.0, {}),
    ("flac", "flac", 44_100, 0.0, {}),
    ("mp3", "libmp3lame", 44_100, 1_152 / 44_100, {}),
    ("mp3", "libmp3lame", 22_050, 576 / 22_050, {}),
    ("mp3", "libmp3lame", 48_000, 2 * 1_152 / 48_000, {"write_xing": "0"}),
    ("adts", "aac", 48_000, 2 * 1_024 / 48_000, {}),
    ("mp4", "aac", 44_100, 1_024 / 44_100, {}),
    ("ipod", "aac", 44_100, 1_024 / 44_100, {}),
    ("mp4", "aac", 44_100, 2 * 1_024 / 44_100, {"movflags": "frag_keyframe+empty_moov"}),
    ("mp4", "flac", 44_100, 0.0, {}),
    ("webm", "libopus", 48_000, 0.02, {}),
    ("webm", "libopus", 48_000, 0.02, {"live": "1"}),
    ("matroska", "pcm_s16le", 16_000, 0.0, {}),
    ("ogg", "libopus", 48_000, 0.02, {}),
    ("ogg", "flac", 44_100, 0.0, {}),
    ("ogg", "vorbis", 44_100, 1_024 / 44_100, {}),
]
NAMES = [
    f"{container}-{codec}-{rate}-{'-'.join(options.values())}" for container, codec, rate, _, options in CONTAINERS
]


@pytest.mark.parametrize(("container", "codec", "rate", "slack", "options"), CONTAINERS, ids=NAMES)
def test_every_container_keeps_its_length_and_its_level(
    container: str, codec: str, rate: int, slack: float, options: dict[str, str]
) -> None:
    samples = decode(make_audio(2.0, container, codec, rate=rate, channels=2, **options))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 32_000) <= slack * 16_000 + 1
    middle = samples[8_000:24_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    assert dominant_frequency(middle) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("container", "codec", "rate", "slack", "options"), CONTAINERS, ids=NAMES)
@pytest.mark.parametrize("part", [0.6, 0.97, "all but 3 bytes"])
def test_every_container_is_refused_when_cut(
    container: str, codec: str, rate: int, slack: float, options: dict[str, str], part: float | str
) -> None:
    data = make_audio(2.0, container, codec, rate=rate, channels=2, **options)
    kept = len(data) - 3 if isinstance(part, str) else round(len(data) * part)
    with pytest.raises(InvalidAudio, match=r"truncated|not audio that can be read"):
        decode(data[:kept])


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000])
def test_every_rate_becomes_16_khz(rate: int) -> None:
    samples = decode(make_audio(1.5, rate=rate))
    assert len(samples) == pytest.approx(24_000, abs=1)
    assert dominant_frequency(samples[4_000:20_000]) == pytest.approx(440, abs=2)


def test_resampling_has_no_seams_between_blocks() -> None:
    samples = decode(make_audio(3.0, rate=44_100, codec="pcm_f32le"))
    expected = tone(3.0, 16_000)
    np.testing.assert_allclose(samples[1_000:47_000], expected[1_000:47_000], atol=1e-3)


def test_resampling_removes_content_above_8_khz_without_aliasing() -> None:
    sound = tone(1.0, 48_000, frequency=11_000)[None]
    samples = decode(encode(sound, 48_000, codec="pcm_f32le"))
    assert np.abs(samples[2_000:14_000]).max() < 1e-3


def test_16_khz_samples_are_unchanged() -> None:
    sound = tone(0.5, 16_000)
    np.testing.assert_array_equal(decode(encode(sound[None], 16_000, codec="pcm_f32le")), sound)


def test_channels_are_averaged() -> None:
    left, right = tone(1.0, 16_000), np.zeros(16_000, np.float32)
    samples = decode(encode(np.stack([left, right]), 16_000, codec="pcm_f32le"))
    np.testing.assert_allclose(samples, left / 2, atol=1e-6)


def test_opposite_channels_cancel() -> None:
    left = tone(1.0, 16_000)
    samples = decode(encode(np.stack([left, -left]), 16_000, codec="pcm_f32le"))
    np.testing.assert_allclose(samples, 0, atol=1e-6)


def test_sources_may_be_paths_bytes_and_files(tmp_path: Path) -> None:
    data = make_audio(1.0, "mp3", "libmp3lame", rate=44_100)
    misnamed = tmp_path / "recording.wav"
    misnamed.write_bytes(data)
    expected = decode(data)
    np.testing.assert_array_equal(decode(misnamed), expected)
    np.testing.assert_array_equal(decode(io.BytesIO(data)), expected)
    with misnamed.open("rb") as file:
        np.testing.assert_array_equal(decode(file), expected)
    with tempfile.SpooledTemporaryFile(max_size=1_000) as spooled:
        spooled.write(data)
        np.testing.assert_array_equal(decode(spooled), expected)


def wav(
    samples: bytes,
    *,
    data_size: int | None = None,
    riff_size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    tag: int = 1,
) -> bytes:
    """A 16 kHz 16-bit wav with the given sizes and format tag."""
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, tag, 1, 16_000, 32_000, 2, 16)
    body = b"WAVE" + fmt + before + b"data"
    body += struct.pack("<I", len(samples) if data_size is None else data_size) + samples + after
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


PCM = (tone(1.0, 16_000) * 32_767).astype("<i2").tobytes()


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
def test_wav_without_sizes_is_read_to_the_end(size: int) -> None:
    for riff_size in (0, 0xFFFFFFFF, size):
        assert len(decode(wav(PCM, data_size=size, riff_size=riff_size))) == 16_000


def test_wrong_riff_size_alone_is_accepted() -> None:
    for riff_size in (0, 10, 0xFFFFFFFF, 10**6):
        assert len(decode(wav(PCM, riff_size=riff_size))) == 16_000


def test_wav_chunks_around_the_samples_are_ignored() -> None:
    extra = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    samples = decode(wav(PCM, before=extra, after=extra * 20))
    assert len(samples) == 16_000


def test_file_name_that_is_not_utf_8_is_accepted() -> None:
    entry = b"INAM" + struct.pack("<I", 4) + b"Caf\xe9"
    info = b"LIST" + struct.pack("<I", 4 + len(entry)) + b"INFO" + entry
    for tagged in (wav(PCM, before=info), wav(PCM, after=info)):
        assert len(decode(tagged)) == 16_000


def test_title_tag_that_is_not_utf_8_is_accepted() -> None:
    title = b"\x03Caf\xe9"  # 3 declares UTF-8
    frame = b"TIT2" + struct.pack(">IH", len(title), 0) + title
    tag = b"ID3\x04\0\0" + struct.pack(">I", len(frame)) + frame
    mp3 = make_audio(1.0, "mp3", "libmp3lame", rate=48_000, id3v2_version="0")
    assert len(decode(tag + mp3)) == len(decode(mp3))


def test_unsupported_codec_error_names_the_stream() -> None:
    with pytest.raises(InvalidAudio, match=r"stream 0 of the wav file\) is in a codec that is not supported"):
        decode(wav(PCM, tag=0x9999))


def test_wav_that_claims_more_than_it_holds_is_truncated() -> None:
    with pytest.raises(InvalidAudio, match="truncated, 2 bytes are missing"):
        decode(wav(PCM, data_size=len(PCM) + 2))


@pytest.mark.parametrize("after", [b"", b"LIST" + struct.pack("<I", 4) + b"INFO"])
def test_wav_without_samples_is_refused(after: bytes) -> None:
    with pytest.raises(InvalidAudio, match="holds no samples"):
        decode(wav(b"", after=after))


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"This is not audio. " * 200,
        bytes(5_000),
        bytes(range(256)) * 40,
        b"\xff\xfb\x90\x64" * 3,
        b"{}",
        b"ID3\x04\0\0\0\0\0\0",
        b"RIFF",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"OggS",
        b"fLaC",
        b"\x1aE\xdf\xa3",
        b"\0\0\0\x18ftypM4A ",
        b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_file_that_is_not_audio_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidAudio) as caught:
        decode(data)
    assert caught.value.param == "file"
    assert caught.value.code == "invalid_audio"


def test_random_bytes_never_escape_as_another_error() -> None:
    random = np.random.default_rng(1)
    heads = [
        b"",
        b"RIFF....WAVEfmt ",
        b"OggS\0\2",
        b"\x1aE\xdf\xa3",
        b"\0\0\0\x08ftyp",
        b"fLaC\0\0\0\x22",
        b"ID3\4",
        b"\xff\xf1",
    ]
    for round_ in range(64):
        with pytest.raises(InvalidAudio):
            decode(heads[round_ % len(heads)] + random.bytes(int(random.integers(1, 4_000))))


@pytest.mark.parametrize(("container", "codec"), USUAL_FORMATS)
def test_damaged_bytes_never_escape_as_another_error(container: str, codec: str) -> None:
    random = np.random.default_rng(2)
    whole = make_audio(0.3, container, codec, rate=48_000)
    for round_ in range(24):
        data = bytearray(whole)
        for _ in range(int(random.integers(1, 8))):
            place = int(
                random.integers(min(len(data), 400) if round_ % 2 else len(data))
            )  # every second one in the headers
            data[place] = int(random.integers(256))
        try:
            decode(bytes(data[: len(data) - round_ % 3 * 7]), max_seconds=60.0)
        except (InvalidAudio, TooLarge):
            continue


def test_decoding_stops_when_cancelled() -> None:
    checks = []

    def cancelled() -> bool:
        checks.append(None)
        return len(checks) > 5

    for data in (make_audio(5.0), make_audio(5.0, "mp3", "libmp3lame", rate=48_000)):
        checks.clear()
        with pytest.raises(Cancelled):
            decode(data, cancelled=cancelled)
        assert len(checks) == 6
        assert len(decode(data)) == pytest.approx(80_000, abs=800)


def test_header_scan_stops_when_cancelled() -> None:
    wanted = iter([False] * 100)
    with pytest.raises(Cancelled):
        decode(b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 10_000, cancelled=lambda: next(wanted, True))


def test_empty_file_is_refused() -> None:
    with pytest.raises(InvalidAudio, match="empty"):
        decode(b"")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidAudio, match=r"gone\.wav"):
        decode(tmp_path / "gone.wav")


def test_file_without_an_audio_track_is_refused() -> None:
    with pytest.raises(InvalidAudio):
        decode(b"\x89PNG\r\n\x1a\n" + bytes(200))


def test_nan_samples_are_refused() -> None:
    sound = tone(0.5, 16_000)
    sound[100] = np.nan
    with pytest.raises(InvalidAudio, match="not numbers"):
        decode(encode(sound[None], 16_000, codec="pcm_f32le"))


def test_infinite_samples_are_refused_without_a_warning() -> None:
    left = tone(0.5, 16_000)
    left[100] = np.inf
    with pytest.raises(InvalidAudio, match="not numbers"):
        decode(encode(np.stack([left, -left]), 16_000, codec="pcm_f32le"))


def test_implausible_sample_rate_is_refused() -> None:
    data = bytearray(wav(PCM))
    data[24:28] = struct.pack("<I", 1)
    with pytest.raises(InvalidAudio, match="1 Hz"):
        decode(bytes(data))


def test_too_long_audio_is_refused_while_decoding() -> None:
    data = make_audio(3.0, "mp3", "libmp3lame", rate=44_100)
    assert len(decode(data, max_seconds=3.0)) == pytest.approx(48_000, abs=420)
    with pytest.raises(TooLarge, match="longer than the 2 seconds") as caught:
        decode(data, max_seconds=2.0)
    assert caught.value.param == "file"
    assert caught.value.code == "audio_too_long"


def dominant_frequency(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * 16_000 / len(samples))


def test_float_samples_beyond_full_scale_are_clipped() -> None:
    sound = tone(0.5, 16_000) * 1e6
    samples = decode(encode(sound[None], 16_000, codec="pcm_f32le"))
    assert np.abs(samples[:]).max() == 8.0


@pytest.mark.parametrize("layout", ["7.1.4", "22.2"])
def test_more_than_eight_planar_channels_are_averaged(layout: str) -> None:
    assert np.abs(decode(many_channels(layout))[:]).mean() == pytest.approx(0.1 / np.sqrt(12) * 0.4, rel=0.9)


def test_64_bit_integers_are_scaled_to_full_scale() -> None:
    samples = decode(wav_of_64_bit_integers())[:]
    np.testing.assert_allclose(samples, tone(0.5, 16_000) / 2, atol=1e-6)


def test_unexpected_exception_is_invalid_audio(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PyAV's demuxer raises IndexError at the end of some damaged mpegts."""

    def broken(*_: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr("antiphon.audio.decode_blocks._check_end", broken)
    with pytest.raises(InvalidAudio, match="not audio that can be read"):
        decode(wav(PCM))
    assert "IndexError" in caplog.text


def test_video_decoders_do_not_run() -> None:
    """FFmpeg would decode a picture to find out about its track."""
    assert not {"h264", "hevc", "vp8", "vp9", "mjpeg", "png", "mpeg4"} & CODECS
    assert len(decode(with_video("matroska", 320))) > 7_500


def test_codec_outside_the_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.audio.decode_blocks.CODECS", CODECS - {"flac"})
    with pytest.raises(InvalidAudio, match="codec that is not supported"):
        decode(make_audio(1.0, "flac", "flac"))
