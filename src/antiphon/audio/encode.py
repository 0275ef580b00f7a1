"""Encode mono float32 samples incrementally, in the audio formats of OpenAI's API."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Literal, Protocol, Self

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from antiphon.types.audio import Samples

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
AUDIO_FORMATS: tuple[AudioFormat, ...] = ("mp3", "opus", "aac", "flac", "wav", "pcm")  # in OpenAI's order
PCM_RATE = 24_000  # Hz; clients assume this rate for headerless samples

_CONTENT_TYPES: Mapping[AudioFormat, str] = MappingProxyType(
    {
        "mp3": "audio/mpeg",
        "opus": "audio/ogg",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "pcm": "audio/pcm",
    }
)
_UNKNOWN_SIZE = 0xFFFFFFFF  # the RIFF size of a stream, as FFmpeg writes it to a pipe
_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_FLAC_SAMPLES = slice(18, 26)  # bytes of the file; the number of samples is in their low 36 bits


@dataclass(frozen=True, slots=True)
class _Codec:
    """FFmpeg's settings for a format.

    `delay` is the number of samples of silence the codec puts first, if the container cannot declare it.
    """

    name: str
    container: str
    sample_format: Literal["flt", "fltp", "s16"]
    bit_rate: int | None = None
    delay: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    muxer: Mapping[str, str] = field(default_factory=dict)


_CODECS: Mapping[AudioFormat, _Codec] = MappingProxyType(
    {
        # No tags: clients concatenate replies, and a tag would declare the length of the first one only. No bit reservoir:
        # no frame depends on earlier ones, so the first can be dropped and concatenated replies play without a gap.
        "mp3": _Codec(
            "libmp3lame",
            "mp3",
            "fltp",
            bit_rate=96_000,
            delay=1_105,
            options={"reservoir": "0"},
            muxer={"write_xing": "0", "id3v2_version": "0"},
        ),
        # A page is sent when the next one begins: sound starts after two pages of 40 ms. "bitexact" sets the serial number
        # to 0, which FFmpeg otherwise draws at random.
        "opus": _Codec(
            "libopus", "ogg", "flt", bit_rate=48_000, muxer={"page_duration": "40000", "fflags": "bitexact"}
        ),
        # The fast coder without noise substitution: on speech a fifth of the default's error in half the time.
        "aac": _Codec(
            "aac",
            "adts",
            "fltp",
            bit_rate=64_000,
            delay=1_024,
            options={"aac_coder": "fast", "aac_pns": "0", "aac_tns": "0"},
        ),
        "flac": _Codec("flac", "flac", "s16", muxer={"metadata_header_padding": "0"}),
    }
)


def content_type(audio_format: AudioFormat) -> str:
    """The media type of a format."""
    return _CONTENT_TYPES[audio_format]


class Encoder:
    """Encodes samples at `rate` into one file: call `encode` any number of times, then `finish`, or `close` to give up.

    The result does not depend on the block sizes. Samples beyond ±1.0 are clipped. `samples`, if known, goes into the
    header of wav and flac; without it wav has the sizes of a stream, 0xFFFFFFFF. Raises ValueError for samples that are
    not finite, and if their number is not the announced one.

    pcm is resampled to 24 kHz; mp3, opus and aac to the next higher rate they support; wav and flac keep any rate. mp3
    and aac start with exactly one frame of silence (576 or 1,152 samples of mp3, 1,024 of aac) and end with less than
    one, because they cannot declare what a decoder should skip. The other formats decode to the input.
    """

    def __init__(self, audio_format: AudioFormat, rate: int, *, samples: int | None = None) -> None:
        self._announced = samples
        self._received = 0
        self._closed = False
        codec = _CODECS.get(audio_format)
        if codec is not None:
            target = _rate_for(codec, rate)
            self._track: _Track = _CodecTrack(codec, target, samples if audio_format == "flac" else None)
        else:
            target = PCM_RATE if audio_format == "pcm" else rate
            self._track = _PcmTrack(b"" if audio_format == "pcm" else _wav_header(rate, samples))
        self._resampler: soxr.ResampleStream | None = None
        if target != rate:
            self._resampler = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def encode(self, samples: Samples) -> bytes:
        """Add samples and return the bytes that are ready, often none."""
        self._check_open()
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError(f"Samples must be one-dimensional float32, not {samples.dtype} of shape {samples.shape}.")
        if not np.isfinite(samples).all():
            raise ValueError("Samples must be finite numbers.")
        self._received += len(samples)
        if self._announced is not None and self._received > self._announced:
            raise ValueError(f"{self._announced} samples were announced, but {self._received} received.")
        if self._resampler is not None and len(samples):
            samples = np.asarray(self._resampler.resample_chunk(samples), np.float32)
        return self._track.write(samples)

    def finish(self) -> bytes:
        """Return the end of the file. Nothing can be encoded afterwards."""
        self._check_open()
        if self._announced is not None and self._received != self._announced:
            raise ValueError(f"{self._announced} samples were announced, but {self._received} received.")
        rest = b""
        if self._resampler is not None:
            held_back = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
            rest = self._track.write(np.asarray(held_back, np.float32))
        rest += self._track.finish()
        self.close()
        return rest

    def close(self) -> None:
        """Free FFmpeg's resources; `finish` does so as well."""
        self._closed = True
        self._track.close()
        self._resampler = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("The encoder is closed.")


class _Track(Protocol):
    """Writes samples at the file's own rate."""

    def write(self, samples: Samples) -> bytes: ...

    def finish(self) -> bytes: ...

    def close(self) -> None: ...


class _PcmTrack:
    """A header, if any, and 16-bit integers."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def write(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + _integers(samples).astype("<i2").tobytes()

    def finish(self) -> bytes:
        return self.write(np.empty(0, np.float32))

    def close(self) -> None:
        pass


class _Sink:
    """The file FFmpeg's muxer writes to. Without `seek`, so the muxer cannot rewrite bytes already sent."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class _CodecTrack:
    """One of FFmpeg's codecs and containers. Every packet is flushed at once."""

    def __init__(self, codec: _Codec, rate: int, samples: int | None) -> None:
        self._codec = codec
        self._rate = rate
        self._samples = samples
        self._sink = _Sink()
        self._container = av.open(
            self._sink, "w", format=codec.container, options={**codec.muxer, "flush_packets": "1"}
        )
        stream = self._container.add_stream(codec.name, rate=rate, options=dict(codec.options))
        assert isinstance(stream, AudioStream)  # PyAV's types do not follow from the name
        self._stream = stream
        context = stream.codec_context
        context.layout = "mono"
        context.format = codec.sample_format
        context.thread_count = 1  # the cores are for the models
        if codec.bit_rate is not None:
            context.bit_rate = codec.bit_rate
        self._container.start_encoding()
        self._frame_size = context.frame_size
        # Silence that extends the codec's delay to whole frames. All of those but the last are dropped: transform frames
        # overlap by half, so the first frame of sound needs the one before it.
        delay = codec.delay or 0
        lead = -delay % self._frame_size
        self._pending: Samples = np.zeros(lead, np.float32)
        self._position = -lead  # of the first pending sample; 0 is the first one received
        self._decoded = -lead - delay  # of the first sample that the next packet decodes to

    def write(self, samples: Samples) -> bytes:
        pending = np.concatenate([self._pending, samples])
        whole = len(pending) - len(pending) % self._frame_size
        for start in range(0, whole, self._frame_size):
            self._push(pending[start : start + self._frame_size])
        self._pending = pending[whole:]
        return self._take()

    def finish(self) -> bytes:
        if self._position + len(self._pending) > 0:
            self._push(self._pending)
        self._mux(None)
        self._container.close()
        return self._take()

    def close(self) -> None:
        self._container.close()

    def _push(self, block: Samples) -> None:
        if not len(block):
            return
        values = _integers(block) if self._codec.sample_format == "s16" else block.clip(-1.0, 1.0)
        frame = AudioFrame.from_ndarray(values[None], format=self._codec.sample_format, layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._position
        self._position += len(block)
        self._mux(frame)

    def _mux(self, frame: AudioFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if self._codec.delay is not None:
                # Computed, because the pts of the last packets may be off by some samples.
                begins = self._decoded
                self._decoded += self._frame_size
                if not -self._frame_size <= begins < self._position:
                    continue
            self._container.mux(packet)

    def _take(self) -> bytes:
        data = self._sink.take()
        if self._samples is not None and data:
            word = int.from_bytes(data[_FLAC_SAMPLES]) | self._samples
            data = data[: _FLAC_SAMPLES.start] + word.to_bytes(8) + data[_FLAC_SAMPLES.stop :]
            self._samples = None
        return data


def _rate_for(codec: _Codec, rate: int) -> int:
    """The codec's lowest rate of at least `rate`, or its highest."""
    rates = av.Codec(codec.name, "w").audio_rates
    if rates is None:
        return rate
    return min((known for known in rates if known >= rate), default=max(rates))


def _integers(samples: Samples) -> NDArray[np.int16]:
    """Convert to 16-bit integers on the scale of `decode`: -1.0 is -32,768."""
    scaled: Samples = np.rint(samples * np.float32(32_768))
    return scaled.clip(-32_768, 32_767).astype(np.int16)


def _wav_header(rate: int, samples: int | None) -> bytes:
    size = None if samples is None else 2 * samples
    if size is None or size + _WAV_HEADER.size - 8 >= _UNKNOWN_SIZE:
        riff_size = data_size = _UNKNOWN_SIZE
    else:
        riff_size, data_size = size + _WAV_HEADER.size - 8, size
    return _WAV_HEADER.pack(b"RIFF", riff_size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data_size)
