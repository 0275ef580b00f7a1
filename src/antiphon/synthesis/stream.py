"""Pass samples from the worker thread to an asyncio task, and report when there are too many of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from threading import Lock

from antiphon.types.audio import Samples

MAX_STREAM_S = 10.0  # of audio that waits to be taken; beyond it the request's sentences wait


class AudioStream:
    """Create it in the task that iterates over it; call `put` from any thread, `end` from the task's event loop.

    It is `full` while more than `max_samples` have been put but not taken. `put` never blocks: the caller should stop
    when the stream is full. `on_room` is called in the event loop when it is no longer full.
    """

    def __init__(self, max_samples: int, on_room: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Samples | None] = asyncio.Queue()
        self._max_samples = max_samples
        self._on_room = on_room
        self._lock = Lock()
        self._waiting = 0  # samples

    @property
    def full(self) -> bool:
        return self._waiting > self._max_samples

    def put(self, samples: Samples) -> None:
        # The loop may already be closed if the server stops in the middle of a sentence.
        if not self._loop.is_closed():
            self._count(len(samples))
            self._loop.call_soon_threadsafe(self._queue.put_nowait, samples)

    def end(self) -> None:
        """End the iteration after everything that has been put."""
        self._loop.call_soon(self._queue.put_nowait, None)  # runs after the callbacks of all earlier `put` calls

    async def __aiter__(self) -> AsyncIterator[Samples]:
        while (samples := await self._queue.get()) is not None:
            was_full = self.full
            self._count(-len(samples))
            if was_full and not self.full:
                self._on_room()
            yield samples

    def _count(self, samples: int) -> None:
        with self._lock:
            self._waiting += samples
