"""The threads that turn uploads into samples, bounded, and the way to stop one whose caller has left.

They know files and samples; they must not know requests, forms or models.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import BinaryIO

from antiphon.audio.decode import decode
from antiphon.types.audio import Waveform

# Bytes. At 16 kbit/s, the least that speech is sent with, half an hour and a few seconds' work; what has more waits in
# a line of its own, so that a few long files cannot hold up the short ones.
LONG = 4 * 2**20


class Decoders:
    """Two threads a core, at least four in all, or as many as given; half are for long files. Close it at the end."""

    def __init__(self, threads: int | None = None) -> None:
        each = max(2, os.cpu_count() or 1) if threads is None else max(1, threads // 2)
        self._short = ThreadPoolExecutor(each, thread_name_prefix="antiphon-decode")
        self._long = ThreadPoolExecutor(each, thread_name_prefix="antiphon-decode-long")

    async def decode(self, file: BinaryIO, *, max_seconds: float) -> Waveform:
        """What `audio.decode` makes of `file`. Once this has ended, cancelled or not, nobody reads `file` any more."""
        stop = Event()
        pool = self._long if file.seek(0, os.SEEK_END) > LONG else self._short
        job = pool.submit(partial(decode, file, max_seconds=max_seconds, cancelled=stop.is_set))
        decoded = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(decoded)
        except asyncio.CancelledError:
            stop.set()
            if not job.cancel():  # it runs: its thread sees the flag within a packet
                await asyncio.wait((decoded,))
            raise

    def close(self) -> None:
        """Wait for the threads. Blocking."""
        for pool in (self._short, self._long):
            pool.shutdown(cancel_futures=True)
