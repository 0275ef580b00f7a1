"""Mono float32 samples become the bytes of an audio file, a few at a time, in each of the formats OpenAI names.

It must not know texts, voices, requests or HTTP, but for the name a format has there.
"""

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
PCM_RATE = 24_000  # Hz; what every client takes headerless samples for, whatever the model's own rate

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
_UNKNOWN_SIZE = 0xFFFFFFFF  # a RIFF size that nobody can know yet; what FFmpeg writes into a pipe too
_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_FLAC_SAMPLES = slice(18, 26)  # of the file; the number of samples is the low 36 bits


@dataclass(frozen=True, slots=True)
class _Codec:
    """How FFmpeg is asked for a format.

    `delay` is the number of samples of silence the codec puts first, where the container has no place to say so.
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
        # Without tags, because clients glue replies together, and a tag's length would be the first one's. Without a
        # reservoir of bits, because then no frame needs those before it: the first can go, and the glue has no seam.
        "mp3": _Codec(
            "libmp3lame",
            "mp3",
            "fltp",
            bit_rate=96_000,
            delay=1_105,
            options={"reservoir": "0"},
            muxer={"write_xing": "0", "id3v2_version": "0"},
        ),
        # A page goes out when the next one begins: two pages of 40 ms before there is sound. "bitexact" numbers the
        # stream 0 where FFmpeg would draw lots.
        "opus": _Codec(
            "libopus", "ogg", "flt", bit_rate=48_000, muxer={"page_duration": "40000", "fflags": "bitexact"}
        ),
        # The plain coder, without noise put in for sound: on speech the error is a fifth of the default's, for half the time.
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
    """One file of `audio_format` out of samples at `rate`: `encode` as often as you like, then `finish`, or `close`.

    How the samples are cut up changes no byte. A full scale of 1.0 is clipped at, never wrapped; a sample that is not a
    finite number is a ValueError. If the number of samples is known, `samples` puts it where the header of wav and flac
    has a place for it, and any other number is a ValueError; without it, wav has the sizes of a stream, 0xFFFFFFFF.

    pcm is resampled to 24 kHz; mp3, opus and aac to the next rate they have; wav and flac keep any. What remains: mp3 and
    aac begin with exactly one frame of silence (576 or 1,152 samples of mp3, 1,024 of aac) and end with less than one,
    because neither has a place to say what a decoder should skip. The others decode to the samples they were given.
    """

    def __init__(self, audio_format: AudioFormat, rate: int, *, samples: int | None = None) -> None:
        self._announced = samples
        self._received = 0
        self._closed = False
        codec = _CODECS.get(audio_format)
        if codec is not None:
            target = _rate_for(codec, rate)
            self._track: _Track = _Coded(codec, target, samples if audio_format == "flac" else None)
        else:
            target = PCM_RATE if audio_format == "pcm" else rate
            self._track = _Plain(b"" if audio_format == "pcm" else _wav_header(rate, samples))
        self._resampler: soxr.ResampleStream | None = None
        if target != rate:
            self._resampler = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def encode(self, samples: Samples) -> bytes:
        """The bytes that are ready once `samples` have been heard; often none."""
        self._check_open()
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError(f"Samples are a row of float32, not {samples.dtype} of shape {samples.shape}.")
        if not np.isfinite(samples).all():
            raise ValueError("There are samples that are not finite numbers.")
        self._received += len(samples)
        if self._announced is not None and self._received > self._announced:
            raise ValueError(f"{self._announced} samples were announced, and {self._received} came.")
        if self._resampler is not None and len(samples):
            samples = np.asarray(self._resampler.resample_chunk(samples), np.float32)
        return self._track.write(samples)

    def finish(self) -> bytes:
        """The end of the file. Nothing can be encoded afterwards."""
        self._check_open()
        if self._announced is not None and self._received != self._announced:
            raise ValueError(f"{self._announced} samples were announced, and {self._received} came.")
        rest = b""
        if self._resampler is not None:
            held_back = self._resampler.resample_chunk(np.empty(0, np.float32), last=True)
            rest = self._track.write(np.asarray(held_back, np.float32))
        rest += self._track.finish()
        self.close()
        return rest

    def close(self) -> None:
        """Give up what FFmpeg holds; after `finish` there is nothing left to give up."""
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
    """What becomes of samples at the file's own rate."""

    def write(self, samples: Samples) -> bytes: ...

    def finish(self) -> bytes: ...

    def close(self) -> None: ...


class _Plain:
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
    """Where FFmpeg's muxer writes. It has no `seek`, so that nothing already sent is gone back to."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class _Coded:
    """A codec and a container of FFmpeg's. Every packet is flushed as it comes."""

    def __init__(self, codec: _Codec, rate: int, samples: int | None) -> None:
        self._codec = codec
        self._rate = rate
        self._samples = samples
        self._sink = _Sink()
        self._container = av.open(
            self._sink, "w", format=codec.container, options={**codec.muxer, "flush_packets": "1"}
        )
        stream = self._container.add_stream(codec.name, rate=rate, options=dict(codec.options))
        assert isinstance(stream, AudioStream)  # PyAV's types do not tell by the name
        self._stream = stream
        context = stream.codec_context
        context.layout = "mono"
        context.format = codec.sample_format
        context.thread_count = 1  # the cores belong to the models
        if codec.bit_rate is not None:
            context.bit_rate = codec.bit_rate
        self._container.start_encoding()
        self._frame_size = context.frame_size
        # Silence that rounds the codec's own up to whole frames; all of those frames but the last are left out. That one
        # has to stay, because a frame is only right with the half of it that lies in the frame before.
        delay = codec.delay or 0
        lead = -delay % self._frame_size
        self._pending: Samples = np.zeros(lead, np.float32)
        self._position = -lead  # of the first pending sample; 0 is the first that was given
        self._decoded = -lead - delay  # the same of the first sample that a decoder makes of the next packet

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
                # What the packet decodes to begins here; its pts may be some samples off at the end.
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
    """The lowest rate of the codec's that loses nothing, or its highest."""
    rates = av.Codec(codec.name, "w").audio_rates
    if rates is None:
        return rate
    return min((known for known in rates if known >= rate), default=max(rates))


def _integers(samples: Samples) -> NDArray[np.int16]:
    """16-bit integers on the scale `decode` reads them: -1.0 is -32,768."""
    scaled: Samples = np.rint(samples * np.float32(32_768))
    return scaled.clip(-32_768, 32_767).astype(np.int16)


def _wav_header(rate: int, samples: int | None) -> bytes:
    size = None if samples is None else 2 * samples
    if size is None or size + _WAV_HEADER.size - 8 >= _UNKNOWN_SIZE:
        riff_size = data_size = _UNKNOWN_SIZE
    else:
        riff_size, data_size = size + _WAV_HEADER.size - 8, size
    return _WAV_HEADER.pack(b"RIFF", riff_size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data_size)
