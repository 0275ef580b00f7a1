"""Limits how many uploads are read at the same time, and how many of their bytes are in temporary files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from starlette.formparsers import MultiPartParser

from antiphon.errors import Overloaded
from antiphon.settings import Settings

# Long enough for a burst of short clips, each of which takes milliseconds to read.
MAX_WAIT_S = 5.0
MEMORY_BYTES = MultiPartParser.spool_max_size  # of an upload; with more it is in a temporary file
_RETRY_AFTER_S = 5.0


class UploadLimits:
    """The limits of one server, for its event loop."""

    def __init__(self, settings: Settings) -> None:
        self.max_uploads = settings.max_uploads or 4 * (os.cpu_count() or 1) + 32
        self.max_bytes = settings.max_spooled_bytes or 4 * settings.max_upload_bytes
        self.spooled_bytes = 0
        self._places = asyncio.Semaphore(self.max_uploads)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """One of `max_uploads` places, in order of arrival. Overloaded if none is free within `MAX_WAIT_S`."""
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise _overloaded(f"{self.max_uploads} uploads are in progress, as many as max_uploads allows") from None
        try:
            yield
        finally:
            self._places.release()

    def check_room(self, count: int) -> None:
        """Overloaded if `count` more bytes in temporary files would exceed the limit."""
        if self.spooled_bytes + count > self.max_bytes:
            raise _overloaded(
                f"uploads have {self.spooled_bytes} bytes on disk, and max_spooled_bytes is {self.max_bytes}"
            )


class SpooledBytes:
    """The bytes of one upload, which count towards the limit from `MEMORY_BYTES` on until `release`."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._counted = 0

    async def count(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The same pieces of the body. Overloaded at the first that there is no room for."""
        received = 0
        async with aclosing(stream):
            async for piece in stream:
                received += len(piece)
                if received > MEMORY_BYTES:
                    self._add(received - self._counted)
                yield piece

    def release(self) -> None:
        """The temporary file is closed."""
        self._limits.spooled_bytes -= self._counted
        self._counted = 0

    def _add(self, count: int) -> None:
        self._limits.check_room(count)
        self._limits.spooled_bytes += count
        self._counted += count


def _overloaded(why: str) -> Overloaded:
    message = f"The server is busy: {why}. Try again in {_RETRY_AFTER_S:g} s."
    return Overloaded(message, retry_after=_RETRY_AFTER_S, reason="uploads")
