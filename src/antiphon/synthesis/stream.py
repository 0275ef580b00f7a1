"""Samples on their way from the worker thread to one asyncio task.

It must not know what they are samples of, nor who made them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from antiphon.types.audio import Samples


class AudioStream:
    """Made by the task that iterates over it; `put` may be called from any thread, `end` from the task's own loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Samples | None] = asyncio.Queue()

    def put(self, samples: Samples) -> None:
        # The loop may be closed when a server ends in the middle of a sentence: nobody is left to listen.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, samples)

    def end(self) -> None:
        """Nothing more will come."""
        # Behind every `put` that was made before: those are in the loop's queue already.
        self._loop.call_soon(self._queue.put_nowait, None)

    async def __aiter__(self) -> AsyncIterator[Samples]:
        while (samples := await self._queue.get()) is not None:
            yield samples
