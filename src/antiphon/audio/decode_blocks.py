"""Decode an audio file to mono float32 at 16 kHz. The format is detected from the content; incomplete files are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from antiphon.audio import truncation
from antiphon.audio.resample import Resampler
from antiphon.audio.sample_store import SampleStore
from antiphon.errors import Cancelled, InvalidAudio, TooLarge
from antiphon.types.audio import Samples, Waveform

# FFmpeg's names of the allowed containers. Playlists (hls, concat, dash) would open other files and addresses.
_CONTAINERS = "aac,aiff,amr,asf,au,avi,caf,flac,matroska,mov,mp3,mpegts,ogg,w64,wav"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
# FFmpeg searches up to 32 packets of a wav's PCM for DTS and AC-3, which took 4 of the 5 ms to open a file of 3 s; one packet
# takes a tenth of that. Reading then takes 1.8 ms in packets of 4 kB and 1.4 ms in packets of 8 kB; larger ones take longer
# to probe.
_WAV_OPTIONS = {**_OPTIONS, "max_probe_packets": "1", "max_size": "8192"}
_SAMPLE_RATES_HZ = range(1_000, 768_001)  # a forged rate would turn a few bytes into hours of audio
_BATCH_SAMPLES = 1 << 16  # per channel; numpy takes as long for a frame of a thousand as for thirty of them

CancelCheck = Callable[[], bool]


class _UnnamedFile:
    """A file without its name: FFmpeg would use the extension to guess the format, and extensions can be wrong."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class _CancellableFile:
    """A file that raises Cancelled from `read` after cancellation: a forged file can hold millions of empty headers.

    Not for FFmpeg: an error raised during one of its reads may surface in the thread's next file.
    """

    def __init__(self, file: BinaryIO, cancelled: CancelCheck) -> None:
        self.seek = file.seek
        self._read = file.read
        self._cancelled = cancelled

    def read(self, size: int) -> bytes:
        _raise_if_cancelled(self._cancelled)
        return self._read(size)


@dataclass(slots=True)
class _Progress:
    """How far decoding has come, for error messages and the check that the end was reached."""

    seconds: float = 0.0
    packets: int = 0
    last: bytes = b""
    last_size: int = 0


class _MonoConverter:
    """Converts frames to mono float32 at 16 kHz, a few seconds at a time, and appends them to a SampleStore."""

    def __init__(self) -> None:
        self.store = SampleStore()
        self._resampler = Resampler()
        self._kind: tuple[int, int, bool] | None = None  # rate, channels, planar, of the collected blocks
        self._blocks: list[NDArray[Any]] = []
        self._count = 0

    def feed(self, frame: AudioFrame) -> None:
        block = frame.to_ndarray()
        kind = frame.sample_rate, frame.layout.nb_channels, frame.format.is_planar
        if self._blocks and (
            kind != self._kind or block.dtype != self._blocks[0].dtype or self._count >= _BATCH_SAMPLES
        ):
            self._convert()
        self._kind = kind
        self._blocks.append(block)
        self._count += frame.samples

    def finish(self) -> None:
        """Convert the rest. Nothing may be fed afterwards."""
        self._convert()
        self._append(self._resampler.flush())

    def _convert(self) -> None:
        if self._kind is None:
            return
        rate, channels, planar = self._kind
        block = np.concatenate(self._blocks, axis=1)
        self._kind, self._count = None, 0
        self._blocks.clear()
        self._append(self._resampler.feed(_mono(block if planar else block.reshape(-1, channels).T), rate))

    def _append(self, block: Samples) -> None:
        if not np.isfinite(block).all():
            raise InvalidAudio("The audio holds samples that are not numbers.")
        self.store.append(block)


def decode(
    source: Path | bytes | BinaryIO, *, max_seconds: float | None = None, cancelled: CancelCheck | None = None
) -> Waveform:
    """Decode all of `source` to mono float32 at 16 kHz: an array, or a SampleStore if it is long. Blocks.

    Raises InvalidAudio if it is not audio, damaged, truncated or empty; TooLarge as soon as it exceeds `max_seconds`;
    Cancelled soon after `cancelled()` returns True. `cancelled` is called often and must be fast.
    """
    is_cancelled = cancelled or _never
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                return _decode(file, max_seconds, is_cancelled)
        except OSError as error:
            raise InvalidAudio(f"Cannot read {source}: {error.strerror}.") from error
    return _decode(BytesIO(source) if isinstance(source, bytes) else source, max_seconds, is_cancelled)


def _never() -> bool:
    return False


def _raise_if_cancelled(cancelled: CancelCheck) -> None:
    if cancelled():
        raise Cancelled("The decoding was cancelled.")


def _decode(file: BinaryIO, max_seconds: float | None, cancelled: CancelCheck) -> Waveform:
    if not file.seek(0, 2):
        raise InvalidAudio("The file is empty.")
    headers = _CancellableFile(file, cancelled)
    if reason := truncation.find_truncation(headers):
        raise InvalidAudio(f"The audio cannot be used: {reason}.")
    announced = truncation.announced_mpeg_frames(headers)
    file.seek(0)
    progress = _Progress()
    converter = _MonoConverter()
    with _translate_errors(progress), _open(file) as container:
        stream = _audio_track(container)
        for frame in _frames(container, stream, progress, cancelled):
            progress.seconds += frame.samples / _sample_rate(frame)
            if max_seconds is not None and progress.seconds > max_seconds:
                raise TooLarge(
                    f"The audio is longer than the {max_seconds:g} seconds this server accepts.",
                    param="file",
                    code="audio_too_long",
                )
            converter.feed(frame)
        _check_end(container, stream, progress, announced)
    converter.finish()
    if not len(converter.store):
        raise InvalidAudio("The audio holds no samples.")
    return converter.store.finished()


def _open(file: BinaryIO) -> InputContainer:
    head = file.read(12)
    file.seek(0)
    options = _WAV_OPTIONS if head[:4] == b"RIFF" and head[8:] == b"WAVE" else _OPTIONS
    # Tags may be in any encoding, and are not used here.
    return av.open(_UnnamedFile(file), "r", options=options, metadata_errors="replace")


def _audio_track(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise InvalidAudio("The file has no audio track.")
    stream = container.streams.audio[0]
    context: AudioCodecContext | None = stream.codec_context  # PyAV's types do not allow for None
    if context is None:
        raise InvalidAudio(
            f"The audio track (stream {stream.index} of the {container.format.name} file) is in a codec that FFmpeg does "
            "not support: convert it."
        )
    return stream


def _frames(
    container: InputContainer, stream: AudioStream, progress: _Progress, cancelled: CancelCheck
) -> Iterator[AudioFrame]:
    # FFmpeg also flags the short read at the end of PCM of unknown length; find_truncation has checked those files.
    pcm = stream.codec_context.name.startswith("pcm_")
    stream.codec_context.thread_count = 1  # the cores are for the models
    junk = False
    for packet in container.demux(stream):
        _raise_if_cancelled(cancelled)
        if packet.is_corrupt and not pcm:
            raise _damaged(progress)
        if packet.size and container.format.name == "mp3":
            # Packets without a frame's sync word are padding at either end of the file, and damage in the middle.
            # Tags may be anywhere: clients concatenate whole files.
            head = bytes(memoryview(packet)[:4])
            if head[:3] in (b"ID3", b"TAG", b"APE"):
                continue
            if head[:1] != b"\xff" or head[1:2] < b"\xe0":
                junk = progress.packets > 0
                continue
            if junk:
                raise _damaged(progress)
            progress.last = head
        progress.packets += bool(packet.size)
        progress.last_size = packet.size or progress.last_size
        yield from packet.decode()


def _check_end(
    container: InputContainer, stream: AudioStream, progress: _Progress, announced_frames: int | None
) -> None:
    """Raise InvalidAudio for a stream that stopped early, where the codec shows it and the container does not."""
    if container.format.name == "mp3":
        frame = truncation.mpeg_frame(progress.last)
        if frame is not None and progress.last_size < frame.size:
            raise _damaged(progress)
        # Some encoders count the header frame itself.
        if announced_frames is not None and progress.packets < announced_frames - 1:
            raise _damaged(progress)
    if container.format.name == "flac" and stream.duration is not None and stream.time_base is not None:
        total = float(stream.duration * stream.time_base)
        if progress.seconds < total - 1.5 / stream.rate:
            raise _damaged(progress)


def _sample_rate(frame: AudioFrame) -> int:
    if frame.sample_rate not in _SAMPLE_RATES_HZ:
        raise InvalidAudio(f"The audio claims a sample rate of {frame.sample_rate} Hz.")
    return frame.sample_rate


def _mono(block: NDArray[Any]) -> Samples:
    """Average the channels, the rows of `block`, and scale to ±1.0."""
    if block.dtype == np.uint8:
        block = (block.astype(np.float32) - 128) / 128
    elif block.dtype.kind == "i":
        block = block.astype(np.float32) / 2.0 ** (8 * block.dtype.itemsize - 1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are rejected at the end
        mono = block[0] if len(block) == 1 else block.mean(axis=0, dtype=np.float32)
        return np.ascontiguousarray(mono, np.float32)


def _damaged(progress: _Progress) -> InvalidAudio:
    return InvalidAudio(f"The audio is truncated or damaged: it breaks off after {progress.seconds:.2f} s.")


@contextmanager
def _translate_errors(progress: _Progress) -> Iterator[None]:
    """Convert PyAV's errors to InvalidAudio."""
    try:
        yield
    except FFmpegError as error:
        if progress.seconds:
            raise _damaged(progress) from error
        raise InvalidAudio(f"The file is not audio that can be read ({error.strerror}).") from error
