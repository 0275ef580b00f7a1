"""Decode an audio file to blocks of mono float32 at 16 kHz. The format is detected from the content; incomplete files are
refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from antiphon.audio import truncation
from antiphon.audio.formats import CODECS, options_for
from antiphon.audio.mono import MonoConverter
from antiphon.audio.tags import check_comments, skip_id3
from antiphon.errors import AntiphonError, InvalidAudio, TooLarge
from antiphon.types.audio import Samples

logger = logging.getLogger(__name__)

_SAMPLE_RATES_HZ = range(1_000, 768_001)  # a forged rate would turn a few bytes into hours of audio

Checkpoint = Callable[[float], None]


class AudioFile(Protocol):
    """The methods of a binary file that are used here."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...


class _Part:
    """A file from `start` on. Without a name: FFmpeg would use the extension to guess the format, and those can be wrong."""

    def __init__(self, file: AudioFile, start: int) -> None:
        self._file = file
        self._start = start
        self.read = file.read

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset + self._start if whence == 0 else offset, whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


class _CheckedFile:
    """A file that passes a checkpoint at each `read`: a forged file can hold millions of empty headers.

    Not for FFmpeg: an error raised during one of its reads may surface in the thread's next file.
    """

    def __init__(self, file: AudioFile, checkpoint: Checkpoint) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._read = file.read
        self._checkpoint = checkpoint

    def read(self, size: int) -> bytes:
        self._checkpoint(0.0)
        return self._read(size)


@dataclass(slots=True)
class _Progress:
    """How far decoding has come, for error messages and the check that the end was reached."""

    seconds: float = 0.0
    packets: int = 0
    last: bytes = b""
    last_size: int = 0


def decode_blocks(file: AudioFile, *, max_seconds: float | None, checkpoint: Checkpoint) -> Iterator[Samples]:
    """The samples of `file` in blocks of a few seconds.

    Raises InvalidAudio if it is not audio, damaged, truncated or empty; TooLarge as soon as it exceeds `max_seconds`. At
    every packet `checkpoint` gets the seconds decoded so far; it may raise to stop.
    """
    if not file.seek(0, 2):
        raise InvalidAudio("The file is empty.")
    progress = _Progress()
    samples = 0
    with _translate_errors(progress):
        for block in _decode(file, max_seconds, checkpoint, progress):
            samples += len(block)
            yield block
    if not samples:
        raise InvalidAudio("The audio holds no samples.")


def _decode(
    file: AudioFile, max_seconds: float | None, checkpoint: Checkpoint, progress: _Progress
) -> Iterator[Samples]:
    part = _Part(file, skip_id3(file))
    headers = _CheckedFile(part, checkpoint)
    if reason := truncation.find_truncation(headers):
        raise InvalidAudio(f"The audio cannot be used: {reason}.")
    check_comments(headers)
    announced = truncation.announced_mpeg_frames(headers)
    converter = MonoConverter()
    with _open(part) as container:
        stream = _audio_track(container)
        for frame in _frames(container, stream, progress, checkpoint):
            progress.seconds += frame.samples / _sample_rate(frame)
            if max_seconds is not None and progress.seconds > max_seconds:
                raise TooLarge(
                    f"The audio is longer than the {max_seconds:g} seconds this server accepts.",
                    param="file",
                    code="audio_too_long",
                )
            block = converter.feed(frame)
            if block is not None:
                yield block
        _check_end(container, stream, progress, announced)
    yield converter.finish()


def _open(file: AudioFile) -> InputContainer:
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    # Tags may be in any encoding, and are not used here.
    return av.open(file, "r", options=options_for(head), metadata_errors="replace")


def _audio_track(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise InvalidAudio("The file has no audio track.")
    stream = container.streams.audio[0]
    context: AudioCodecContext | None = stream.codec_context  # PyAV's types do not allow for None
    if context is None or context.name not in CODECS:
        raise InvalidAudio(
            f"The audio track (stream {stream.index} of the {container.format.name} file) is in a codec that is not "
            "supported: convert it."
        )
    return stream


def _frames(
    container: InputContainer, stream: AudioStream, progress: _Progress, checkpoint: Checkpoint
) -> Iterator[AudioFrame]:
    # FFmpeg also flags the short read at the end of PCM of unknown length; find_truncation has checked those files.
    pcm = stream.codec_context.name.startswith("pcm_")
    stream.codec_context.thread_count = 1  # the cores are for the models
    junk = False
    for packet in container.demux(stream):
        checkpoint(progress.seconds)
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


def _damaged(progress: _Progress) -> InvalidAudio:
    return InvalidAudio(f"The audio is truncated or damaged: it breaks off after {progress.seconds:.2f} s.")


@contextmanager
def _translate_errors(progress: _Progress) -> Iterator[None]:
    """Convert all errors but Antiphon's own to InvalidAudio: a forged file makes PyAV raise any class."""
    try:
        yield
    except AntiphonError:
        raise
    except FFmpegError as error:
        if progress.seconds:
            raise _damaged(progress) from error
        raise InvalidAudio(f"The file is not audio that can be read ({error.strerror}).") from error
    except MemoryError as error:
        raise InvalidAudio("The file takes more memory to decode than files of its size may.") from error
    except Exception as error:
        logger.warning("A file made decoding fail: %r", error, exc_info=error)
        raise InvalidAudio("The file is not audio that can be read.") from error
