"""Pass samples from the worker thread to an asyncio task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from antiphon.types.audio import Samples


class AudioStream:
    """Create it in the task that iterates over it; call `put` from any thread, `end` from the task's event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Samples | None] = asyncio.Queue()

    def put(self, samples: Samples) -> None:
        # The loop may already be closed if the server stops in the middle of a sentence.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, samples)

    def end(self) -> None:
        """End the iteration after everything that has been put."""
        self._loop.call_soon(self._queue.put_nowait, None)  # runs after the callbacks of all earlier `put` calls

    async def __aiter__(self) -> AsyncIterator[Samples]:
        while (samples := await self._queue.get()) is not None:
            yield samples
