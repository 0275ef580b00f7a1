"""The helper process that decodes uploads: `python -m antiphon.audio.helper`. Only what decoding needs is imported here."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator

import numpy as np

from antiphon.audio import decode_messages as messages
from antiphon.audio.decode_blocks import Checkpoint, decode_blocks
from antiphon.errors import AntiphonError, InvalidAudio, RequestError
from antiphon.isolation.channel import Channel
from antiphon.isolation.child import limit_time, run_helper, task_limits
from antiphon.types.audio import Samples

# What one task may use. An attacker's small file gets little; a usual file needs a tenth of it.
_MEMORY_BYTES = 64 << 20
_MEMORY_PER_BYTE = 8
_MOST_MEMORY_BYTES = 1 << 30
_OPENING_SECONDS = 2.0  # until the first sample; usual files take a few milliseconds
_OPENING_SECONDS_PER_BYTE = 1e-7
_SECONDS = 10.0
_SECONDS_PER_BYTE = 1e-6
_SECONDS_PER_AUDIO_SECOND = 0.01  # Opus, the slowest usual codec, takes 0.0006 on one core of a server

# A task of the short class ends here, to be started again in the long class: a minute of audio takes less than 0.1 s.
_SHORT_AUDIO_SECONDS = 60.0
_SHORT_SECONDS = 0.15  # of processor time, checked between packets
_MOST_SHORT_SECONDS = 0.3  # when the process is killed: FFmpeg may need any time for one packet, or to open the file

_BLOCK_BYTES = 1 << 18  # of the file, in one request for more of it
_BLOCKS_KEPT = 4  # a demuxer alternates between two or three places


class _TooLongForShort(AntiphonError):
    """The task belongs into the long class."""


class _ServerFile:
    """The server's file, of which the first bytes are here, and the rest is requested in blocks."""

    def __init__(self, channel: Channel, size: int, head: bytes) -> None:
        self._channel = channel
        self._size = size
        self._head = head
        self._blocks: dict[int, bytes] = {}
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._position + size, self._size)
        parts = list(self._parts(self._position, end))
        self._position = max(self._position, end)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("The position is before the start of the file.")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def _parts(self, start: int, end: int) -> Iterator[bytes]:
        if start < len(self._head):
            yield self._head[start:end]
            start = len(self._head)
        while start < end:
            index = start // _BLOCK_BYTES
            block = self._block(index)[start - index * _BLOCK_BYTES : end - index * _BLOCK_BYTES]
            yield block
            start += len(block)

    def _block(self, index: int) -> bytes:
        block = self._blocks.pop(index, None)
        if block is None:
            start = index * _BLOCK_BYTES
            expected = min(_BLOCK_BYTES, self._size - start)
            self._channel.send(messages.READ, messages.RANGE.pack(start, expected))
            block = self._channel.receive().payload
            if len(block) != expected:
                raise EOFError("The server's file has changed.")
            if len(self._blocks) >= _BLOCKS_KEPT:
                del self._blocks[next(iter(self._blocks))]
        self._blocks[index] = block  # behind the others: the first one is the one that was used longest ago
        return block


def serve(channel: Channel) -> None:
    """Decode one file after another."""
    while True:
        kind, payload = channel.receive()
        if kind != messages.TASK:
            raise EOFError(f"A message of kind {kind!r} came before a task.")
        size, max_seconds, short = messages.TASK_HEADER.unpack_from(payload)
        file = _ServerFile(channel, size, payload[messages.TASK_HEADER.size :])
        memory = min(_MEMORY_BYTES + _MEMORY_PER_BYTE * size, _MOST_MEMORY_BYTES)
        seconds = _SECONDS + size * _SECONDS_PER_BYTE + max_seconds * _SECONDS_PER_AUDIO_SECOND
        with task_limits(memory_bytes=memory, cpu_seconds=seconds):
            opening = _OPENING_SECONDS + size * _OPENING_SECONDS_PER_BYTE
            limit_time(_MOST_SHORT_SECONDS if short else opening)
            checkpoint = _short_checkpoint() if short else _long_checkpoint(seconds)
            answer = _decode(channel, file, max_seconds, checkpoint)
        del file, payload
        channel.send(*answer)


def _short_checkpoint() -> Checkpoint:
    """Raises if the task has become too long for the short class."""
    started = time.process_time()

    def checkpoint(seconds: float) -> None:
        if seconds > _SHORT_AUDIO_SECONDS or time.process_time() - started > _SHORT_SECONDS:
            raise _TooLongForShort

    return checkpoint


def _long_checkpoint(seconds_allowed: float) -> Checkpoint:
    """Extends the time from that for opening a file to that for decoding it, once there are samples."""
    opening = True

    def checkpoint(seconds: float) -> None:
        nonlocal opening
        if opening and seconds:
            opening = False
            limit_time(seconds_allowed)

    return checkpoint


def _decode(channel: Channel, file: _ServerFile, max_seconds: float, checkpoint: Checkpoint) -> tuple[bytes, bytes]:
    """Send the samples, and return the last message."""
    try:
        for block in decode_blocks(file, max_seconds=max_seconds, checkpoint=checkpoint):
            for start in range(0, len(block), messages.MAX_BLOCK_SAMPLES):
                _send(channel, block[start : start + messages.MAX_BLOCK_SAMPLES])
    except _TooLongForShort:
        return messages.LONG, b""
    except RequestError as error:
        return messages.ERROR, _describe(error)
    return messages.DONE, b""


def _send(channel: Channel, block: Samples) -> None:
    channel.send(messages.SAMPLES, np.ascontiguousarray(block).data.cast("B"))


def _describe(error: RequestError) -> bytes:
    cause = error.__cause__
    unexpected = repr(cause) if cause is not None and not hasattr(cause, "strerror") else None
    fields = {
        "error": type(error).__name__,
        "message": str(error),
        "param": error.param,
        "code": error.code,
        "unexpected": unexpected,
    }
    return json.dumps(fields).encode()


def _warm_up() -> None:
    """Decode a file, so that all modules and tables are loaded while files may still be read."""
    sound = bytes(8_820)
    header = struct.pack("<HHIIHH", 1, 1, 44_100, 88_200, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", len(sound)) + sound
    wav = b"RIFF" + struct.pack("<I", len(body)) + body
    for data in (wav, b"not audio"):
        try:
            for _ in decode_blocks(_Memory(data), max_seconds=1.0, checkpoint=lambda _seconds: None):
                pass
        except InvalidAudio as error:
            _describe(error)


class _Memory(_ServerFile):
    """A file that is in memory as a whole."""

    def __init__(self, data: bytes) -> None:
        super().__init__(Channel(None, None), len(data), data)  # type: ignore[arg-type]


if __name__ == "__main__":
    _warm_up()
    run_helper(serve, reads_files=False)
