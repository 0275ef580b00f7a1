"""Encoding: files that FFmpeg reads, with the right length, no clicks between blocks, and low latency."""

from __future__ import annotations

import io
import wave

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.decode import decode
from antiphon.audio.encode import AUDIO_FORMATS, AudioFormat, Encoder, content_type
from antiphon.types.audio import Samples
from tests.support.sounds import tone

RATES = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000]
EXACT: list[AudioFormat] = ["flac", "wav"]
HINTS = {"aac": "aac"}  # FFmpeg needs a few frames to detect aac, or a hint


def sweep(seconds: float, rate: int) -> Samples:
    """A rising tone: unlike a steady one, it matches itself at one position only."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 + 500 * times) * times)).astype(np.float32)


def encode(
    audio_format: AudioFormat, samples: Samples, rate: int, *, block: int | None = None, announced: bool = False
) -> bytes:
    with Encoder(audio_format, rate, samples=len(samples) if announced else None) as encoder:
        step = block or max(1, len(samples))
        pieces = [encoder.encode(samples[start : start + step]) for start in range(0, len(samples), step)]
        return b"".join([*pieces, encoder.finish()])


def read(data: bytes, container_format: str | None = None) -> tuple[Samples, int]:
    """All samples that FFmpeg decodes, and their rate."""
    with av.open(io.BytesIO(data), "r", format=container_format) as container:
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    sound = np.concatenate(blocks)
    scale = 2**15 if sound.dtype == np.int16 else 1
    return sound.astype(np.float32) / np.float32(scale), rate


def lag(decoded: Samples, original: Samples, most: int) -> int:
    """The delay of `original` in `decoded`, in samples."""
    start, length = len(original) // 4, len(original) // 2
    piece = original[start : start + length]
    return max(range(most), key=lambda shift: float(piece @ decoded[start + shift : start + shift + length]))


@pytest.mark.parametrize(
    ("audio_format", "media_type"),
    [
        ("mp3", "audio/mpeg"),
        ("opus", "audio/ogg"),
        ("aac", "audio/aac"),
        ("flac", "audio/flac"),
        ("wav", "audio/wav"),
        ("pcm", "audio/pcm"),
    ],
)
def test_content_types(audio_format: AudioFormat, media_type: str) -> None:
    assert audio_format in AUDIO_FORMATS
    assert content_type(audio_format) == media_type


@pytest.mark.parametrize("rate", RATES)
def test_wav_of_known_length_has_true_sizes(rate: int) -> None:
    samples = sweep(0.5, rate)
    data = encode("wav", samples, rate, announced=True)
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, rate, len(samples))
        written = np.frombuffer(file.readframes(len(samples)), "<i2")
    np.testing.assert_array_equal(written, np.rint(samples * 32_768.0))
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert int.from_bytes(data[40:44], "little") == len(data) - 44 == 2 * len(samples)


def test_streamed_wav_has_stream_sizes_and_no_trailer() -> None:
    samples = sweep(0.5, 24_000)
    data = encode("wav", samples, 24_000, block=100)
    assert data[:4] == b"RIFF"
    assert data[8:16] == b"WAVEfmt "
    assert data[36:40] == b"data"
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    assert len(data) == 44 + 2 * len(samples)
    np.testing.assert_allclose(read(data)[0], samples, atol=2**-16)


def test_wav_above_4_gib_has_stream_sizes() -> None:
    header = Encoder("wav", 24_000, samples=2**31).encode(np.zeros(1, np.float32))
    assert header[4:8] == header[40:44] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("rate", RATES)
def test_pcm_is_24_khz_for_any_rate(rate: int) -> None:
    samples = np.frombuffer(encode("pcm", tone(2.0, rate), rate, block=500), "<i2") / 32_768
    assert abs(len(samples) - 48_000) <= 1
    np.testing.assert_allclose(samples[2_000:46_000], tone(2.0, 24_000)[2_000:46_000], atol=2e-3)


@pytest.mark.parametrize("rate", [*RATES, 11_025, 96_000])
@pytest.mark.parametrize("audio_format", EXACT)
def test_lossless_formats_keep_every_sample_at_its_rate(audio_format: AudioFormat, rate: int) -> None:
    samples = sweep(0.7, rate)
    decoded, decoded_rate = read(encode(audio_format, samples, rate, block=333))
    assert decoded_rate == rate
    assert len(decoded) == len(samples)
    np.testing.assert_allclose(decoded, samples, atol=2**-16)


@pytest.mark.parametrize("seconds", [0.0005, 0.02, 0.7, 1.234])
@pytest.mark.parametrize("rate", [*RATES, 11_025, 96_000])
def test_opus_has_the_right_length_and_no_delay(rate: int, seconds: float) -> None:
    decoded, decoded_rate = read(encode("opus", sweep(seconds, rate), rate, block=333))
    assert decoded_rate == 48_000
    assert abs(len(decoded) - round(seconds * rate) / rate * 48_000) <= 2
    if seconds > 0.5:
        assert lag(decoded, sweep(seconds, 48_000), 200) == 0


@pytest.mark.parametrize("seconds", [0.0005, 0.02, 0.7, 1.234])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("audio_format", ["mp3", "aac"])
def test_mp3_and_aac_have_one_frame_of_silence_before_and_less_than_one_after(
    audio_format: AudioFormat, rate: int, seconds: float
) -> None:
    samples = sweep(seconds, rate)
    decoded, decoded_rate = read(encode(audio_format, samples, rate, block=333), HINTS.get(audio_format))
    frame = 1_024 if audio_format == "aac" else 576 if rate < 32_000 else 1_152
    assert decoded_rate == rate
    assert 0 <= len(decoded) - frame - len(samples) < frame
    if seconds > 0.5:
        assert lag(decoded, samples, 1_300) == frame
        assert np.abs(decoded[: frame // 2]).max() < 0.02
        np.testing.assert_allclose(
            decoded[frame + 1_000 : len(samples)], samples[1_000 : len(samples) - frame], atol=0.06
        )


@pytest.mark.parametrize(
    ("audio_format", "rate", "frame"), [("mp3", 16_000, 576), ("mp3", 48_000, 1_152), ("aac", 24_000, 1_024)]
)
def test_no_file_ends_with_an_empty_frame(audio_format: AudioFormat, rate: int, frame: int) -> None:
    """FFmpeg's encoders add one after some lengths."""
    for length in [*range(10, 3 * frame, 97), frame - 1, frame, frame + 1, 2 * frame]:
        decoded, _ = read(encode(audio_format, tone(0.5, rate)[:length], rate), audio_format)
        assert 0 <= len(decoded) - frame - length < frame


@pytest.mark.parametrize(
    ("audio_format", "rate", "nearest"),
    [("mp3", 7_000, 8_000), ("mp3", 96_000, 48_000), ("mp3", 30_000, 32_000), ("aac", 20_000, 22_050)],
)
def test_unsupported_rate_becomes_the_next_supported_one(audio_format: AudioFormat, rate: int, nearest: int) -> None:
    decoded, decoded_rate = read(encode(audio_format, tone(1.0, rate), rate))
    assert decoded_rate == nearest
    middle = decoded[nearest // 4 : nearest // 4 + nearest // 2]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * nearest / len(middle) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
@settings(derandomize=True, deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 6_000), max_size=30), rate=st.sampled_from([16_000, 22_050, 24_000]))
def test_block_sizes_do_not_change_the_bytes(audio_format: AudioFormat, cuts: list[int], rate: int) -> None:
    samples = sweep(0.25, 24_000)
    with Encoder(audio_format, rate) as encoder:
        pieces = [encoder.encode(piece) for piece in np.split(samples, sorted(cuts))]
        assert b"".join([*pieces, encoder.finish()]) == encode(audio_format, samples, rate)


@pytest.mark.parametrize("rate", [16_000, 24_000])
@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav"])
def test_bytes_are_returned_early(audio_format: AudioFormat, rate: int) -> None:
    """At any time all of the sound but the last 150 ms has been returned."""
    samples, block = sweep(0.6, rate), rate // 100
    data = b""
    with Encoder(audio_format, rate) as encoder:
        for start in range(0, len(samples), block):
            data += encoder.encode(samples[start : start + block])
            given = (start + block) / rate
            if given >= 0.2:
                decoded, decoded_rate = read(data, HINTS.get(audio_format))
                assert len(decoded) / decoded_rate > given - 0.15


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
def test_samples_beyond_full_scale_are_clipped(audio_format: AudioFormat) -> None:
    loud = tone(0.3, 24_000) * 5
    assert encode(audio_format, loud, 24_000) == encode(audio_format, loud.clip(-1, 1), 24_000)


def test_clipping_does_not_wrap() -> None:
    samples = np.array([0.0, 1.0, -1.0, 1.5, -1.5, 1e30, -1e30], np.float32)
    written = np.frombuffer(encode("pcm", samples, 24_000), "<i2")
    assert written.tolist() == [0, 32_767, -32_768, 32_767, -32_768, 32_767, -32_768]


def test_resampling_does_not_wrap() -> None:
    """A filtered square wave at full scale overshoots."""
    square = np.sign(tone(0.5, 16_000, 100.0))
    written = np.frombuffer(encode("pcm", square, 16_000), "<i2").astype(int)
    assert np.abs(written).max() >= 32_767
    assert np.abs(np.diff(written)).max() < 60_000


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_raise(audio_format: AudioFormat, fault: float) -> None:
    samples = tone(0.1, 24_000)
    samples[1_000] = fault
    with Encoder(audio_format, 24_000) as encoder, pytest.raises(ValueError, match="must be finite numbers"):
        encoder.encode(samples)


@pytest.mark.parametrize("samples", [np.zeros(10), np.zeros(10, np.int16), np.zeros((1, 10), np.float32)])
def test_samples_that_are_not_one_dimensional_float32_raise(samples: Samples) -> None:
    with Encoder("wav", 24_000) as encoder, pytest.raises(ValueError, match="one-dimensional float32"):
        encoder.encode(samples)


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
@pytest.mark.parametrize("announced", [999, 1_001])
def test_wrong_number_of_announced_samples_raises(audio_format: AudioFormat, announced: int) -> None:
    samples = np.zeros(1_000, np.float32)
    with Encoder(audio_format, 24_000, samples=announced) as encoder:
        if announced > 1_000:
            encoder.encode(samples)
        with pytest.raises(ValueError, match=f"{announced} samples were announced, but 1000 received"):
            _ = encoder.finish() if announced > 1_000 else encoder.encode(samples)


def test_mp3_replies_can_be_concatenated() -> None:
    """No tag gives a length, and no frame depends on earlier ones: its first bits say how far back it refers."""
    samples = sweep(0.5, 24_000)
    data = encode("mp3", samples, 24_000, announced=True)
    assert data[:2] == b"\xff\xf3"
    assert not any(tag in data for tag in (b"ID3", b"TAG", b"Xing", b"Info", b"VBRI"))
    with av.open(io.BytesIO(data), "r") as container:
        assert [bytes(packet)[4] for packet in container.demux() if packet.size] == [0] * (len(data) // 288)
    one, _ = read(data)
    both, _ = read(data + data)
    np.testing.assert_allclose(both, np.concatenate([one, one]), atol=0.02)


def test_headers_are_short() -> None:
    """FFmpeg would put 8 KiB of padding into flac's."""
    for audio_format in AUDIO_FORMATS:
        with Encoder(audio_format, 24_000) as encoder:
            assert len(encoder.encode(np.zeros(1, np.float32))) < 200


def test_flac_header_has_the_length_if_known() -> None:
    samples = sweep(0.5, 24_000)
    with av.open(io.BytesIO(encode("flac", samples, 24_000, announced=True)), "r") as container:
        assert container.duration == 500_000
    with av.open(io.BytesIO(encode("flac", samples, 24_000)), "r") as container:
        assert container.duration is None


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav"])
@pytest.mark.parametrize("announced", [False, True])
def test_encoded_audio_is_decoded_again(audio_format: AudioFormat, announced: bool) -> None:
    samples = decode(encode(audio_format, tone(1.0, 24_000), 24_000, announced=announced))
    assert 16_000 <= len(samples) < 16_000 + 2 * 1_024 * 16_000 / 24_000
    spectrum = np.abs(np.fft.rfft(samples[2_000:14_000]))
    assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(440, abs=2)


def test_no_samples_is_an_empty_file() -> None:
    with wave.open(io.BytesIO(encode("wav", np.empty(0, np.float32), 16_000, announced=True))) as file:
        assert file.getnframes() == 0
    assert encode("pcm", np.empty(0, np.float32), 16_000) == b""
    assert encode("mp3", np.empty(0, np.float32), 16_000) == b""
    assert encode("aac", np.empty(0, np.float32), 16_000) == b""
    assert encode("flac", np.empty(0, np.float32), 16_000)[:4] == b"fLaC"
    assert encode("opus", np.empty(0, np.float32), 16_000)[:4] == b"OggS"


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
def test_closed_encoder_raises(audio_format: AudioFormat) -> None:
    with Encoder(audio_format, 16_000) as abandoned:
        abandoned.encode(tone(0.3, 16_000))
    finished = Encoder(audio_format, 16_000)
    finished.finish()
    for encoder in (abandoned, finished):
        encoder.close()
        with pytest.raises(ValueError, match="closed"):
            encoder.encode(tone(0.3, 16_000))
        with pytest.raises(ValueError, match="closed"):
            encoder.finish()
