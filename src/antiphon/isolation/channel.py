"""Messages over a pair of pipes, between the server and a helper process."""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

MAX_MESSAGE_BYTES = 1 << 24  # a helper under an attacker's control must not fill the server's memory
_HEADER = struct.Struct("<cI")  # kind, and the number of bytes that follow


class Message(NamedTuple):
    """`kind` is one byte; its meaning is an agreement of the two modules that exchange it."""

    kind: bytes
    payload: bytes


class Channel:
    """One end of the two pipes between the server and a helper. EOFError if the other end is closed."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, kind: bytes, payload: bytes | memoryview = b"") -> None:
        """Send one message of at most MAX_MESSAGE_BYTES. Blocks while the pipe is full."""
        size = payload.nbytes if isinstance(payload, memoryview) else len(payload)
        try:
            self._writer.write(
                b"".join((_HEADER.pack(kind, size), payload))
            )  # in one piece: the other end wakes up once
            self._writer.flush()
        except (OSError, ValueError) as error:  # ValueError: closed here
            raise EOFError("The other process is gone.") from error

    def receive(self) -> Message:
        """Wait for the next message."""
        kind, size = _HEADER.unpack(self._read(_HEADER.size))
        if size > MAX_MESSAGE_BYTES:
            raise EOFError(f"The other process sent a message of {size} bytes.")
        return Message(kind, self._read(size))

    def _read(self, size: int) -> bytes:
        try:
            data = self._reader.read(size)
        except (OSError, ValueError) as error:
            raise EOFError("The other process is gone.") from error
        if len(data) < size:
            raise EOFError("The other process is gone.")
        return data
