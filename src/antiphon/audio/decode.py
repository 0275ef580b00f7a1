"""Any audio file, judged by its content alone, becomes mono float32 at 16 kHz; a file that is not whole is refused.

The one place that knows PyAV's errors. It must not know models, requests or windows.
"""

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

# FFmpeg's names. A list of what is let in, because playlists (hls, concat, dash) would open other files and addresses.
_CONTAINERS = "aac,aiff,amr,asf,au,avi,caf,flac,matroska,mov,mp3,mpegts,ogg,w64,wav"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
# FFmpeg looks for DTS and AC-3 in up to 32 packets of a wav's PCM, which is 4 of the 5 ms that opening three seconds took: in
# one it takes a tenth. Its packets of 4 kB then take 1.8 ms to read, those of 8 kB 1.4, larger ones longer to look into.
_WAV_OPTIONS = {**_OPTIONS, "max_probe_packets": "1", "max_size": "8192"}
_RATES = range(1_000, 768_001)  # Hz; a forged rate would blow a few bytes up to hours
_TOGETHER = 1 << 16  # samples of a channel; numpy takes as long over a frame of a thousand as over thirty of them

Cancelling = Callable[[], bool]


class _Nameless:
    """A file without its name: FFmpeg lets a name's extension weigh in the guess, and names lie."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class _Watched:
    """A file whose reading stops when nobody wants it any more: a forged one can hold millions of empty headers.

    Not for FFmpeg, where an error in the middle of a read may surface in the thread's next file.
    """

    def __init__(self, file: BinaryIO, cancelled: Cancelling) -> None:
        self.seek = file.seek
        self._read = file.read
        self._cancelled = cancelled

    def read(self, size: int) -> bytes:
        _check_wanted(self._cancelled)
        return self._read(size)


@dataclass(slots=True)
class _Progress:
    """How far decoding has come; only here to say where it broke and whether the end was reached."""

    seconds: float = 0.0
    packets: int = 0
    last: bytes = b""
    last_size: int = 0


class _Mono:
    """Frames become mono float32 at 16 kHz and go into a spool, a few seconds of them at a time."""

    def __init__(self) -> None:
        self.spool = SampleStore()
        self._resampler = Resampler()
        self._kind: tuple[int, int, bool] | None = None  # rate, channels, planar: of the blocks that wait
        self._blocks: list[NDArray[Any]] = []
        self._count = 0

    def feed(self, frame: AudioFrame) -> None:
        block = frame.to_ndarray()
        kind = frame.sample_rate, frame.layout.nb_channels, frame.format.is_planar
        if self._blocks and (kind != self._kind or block.dtype != self._blocks[0].dtype or self._count >= _TOGETHER):
            self._convert()
        self._kind = kind
        self._blocks.append(block)
        self._count += frame.samples

    def finish(self) -> None:
        """Nothing may be fed afterwards."""
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
        self.spool.append(block)


def decode(
    source: Path | bytes | BinaryIO, *, max_seconds: float | None = None, cancelled: Cancelling | None = None
) -> Waveform:
    """Return the whole of `source` as mono float32 at 16 kHz, an array unless it is long. Blocking: call it off the event
    loop.

    InvalidAudio if it is not audio, damaged, cut short or empty; TooLarge as soon as it is longer than `max_seconds`;
    Cancelled soon after `cancelled`, which is asked often and must be quick, says so.
    """
    asked = cancelled or _never
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                return _decode(file, max_seconds, asked)
        except OSError as error:
            raise InvalidAudio(f"Cannot read {source}: {error.strerror}.") from error
    return _decode(BytesIO(source) if isinstance(source, bytes) else source, max_seconds, asked)


def _never() -> bool:
    return False


def _check_wanted(cancelled: Cancelling) -> None:
    if cancelled():
        raise Cancelled("The audio is not wanted any more.")


def _decode(file: BinaryIO, max_seconds: float | None, cancelled: Cancelling) -> Waveform:
    if not file.seek(0, 2):
        raise InvalidAudio("The file is empty.")
    headers = _Watched(file, cancelled)
    if reason := truncation.fault(headers):
        raise InvalidAudio(f"The audio cannot be used: {reason}.")
    announced = truncation.announced_mpeg_frames(headers)
    file.seek(0)
    progress = _Progress()
    sound = _Mono()
    with _translated(progress), _opened(file) as container:
        stream = _audio_track(container)
        for frame in _frames(container, stream, progress, cancelled):
            progress.seconds += frame.samples / _checked_rate(frame)
            if max_seconds is not None and progress.seconds > max_seconds:
                raise TooLarge(
                    f"The audio is longer than the {max_seconds:g} seconds this server takes.",
                    param="file",
                    code="audio_too_long",
                )
            sound.feed(frame)
        _check_end(container, stream, progress, announced)
    sound.finish()
    if not len(sound.spool):
        raise InvalidAudio("The audio holds no samples.")
    return sound.spool.finished()


def _opened(file: BinaryIO) -> InputContainer:
    head = file.read(12)
    file.seek(0)
    options = _WAV_OPTIONS if head[:4] == b"RIFF" and head[8:] == b"WAVE" else _OPTIONS
    # Tags are in whatever encoding their writer liked, and nothing here reads them.
    return av.open(_Nameless(file), "r", options=options, metadata_errors="replace")


def _audio_track(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise InvalidAudio("The file has no audio track.")
    stream = container.streams.audio[0]
    context: AudioCodecContext | None = stream.codec_context  # PyAV's types do not tell that there may be none
    if context is None:
        raise InvalidAudio(
            f"The audio track (stream {stream.index} of the {container.format.name} file) is in a codec that FFmpeg does "
            "not know: convert it."
        )
    return stream


def _frames(
    container: InputContainer, stream: AudioStream, progress: _Progress, cancelled: Cancelling
) -> Iterator[AudioFrame]:
    # PCM of unknown length ends in a short read, which FFmpeg flags too; the header check has dealt with those.
    pcm = stream.codec_context.name.startswith("pcm_")
    stream.codec_context.thread_count = 1  # the cores belong to the models
    junk = False
    for packet in container.demux(stream):
        _check_wanted(cancelled)
        if packet.is_corrupt and not pcm:
            raise _damaged(progress)
        if packet.size and container.format.name == "mp3":
            # Padding at either end reaches us as packets without a frame's sync word; in the middle it is damage.
            # Tags may stand anywhere: clients glue whole files together.
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
    """Refuse a stream that stopped before its own end, where the container could not tell but the codec can."""
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


def _checked_rate(frame: AudioFrame) -> int:
    if frame.sample_rate not in _RATES:
        raise InvalidAudio(f"The audio claims a sample rate of {frame.sample_rate} Hz.")
    return frame.sample_rate


def _mono(block: NDArray[Any]) -> Samples:
    """The average of the channels, the rows of `block`, full scale at 1.0."""
    if block.dtype == np.uint8:
        block = (block.astype(np.float32) - 128) / 128
    elif block.dtype.kind == "i":
        block = block.astype(np.float32) / 2.0 ** (8 * block.dtype.itemsize - 1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are refused at the end, without a word in the log
        mono = block[0] if len(block) == 1 else block.mean(axis=0, dtype=np.float32)
        return np.ascontiguousarray(mono, np.float32)


def _damaged(progress: _Progress) -> InvalidAudio:
    return InvalidAudio(f"The audio is truncated or damaged: it breaks off after {progress.seconds:.2f} s.")


@contextmanager
def _translated(progress: _Progress) -> Iterator[None]:
    """PyAV's errors in our words."""
    try:
        yield
    except FFmpegError as error:
        if progress.seconds:
            raise _damaged(progress) from error
        raise InvalidAudio(f"The file is not audio that can be read ({error.strerror}).") from error
