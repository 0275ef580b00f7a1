"""Decodes uploads on a bounded number of threads, and stops when the client disconnects."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import BinaryIO

from antiphon.audio.decode import decode
from antiphon.types.audio import Waveform

# At 16 kbit/s, the lowest bit rate in use for speech, this is half an hour of audio and a few seconds of decoding. Larger
# files have threads of their own, so that a few long files do not delay the short ones.
LONG_FILE_BYTES = 4 * 2**20


class Decoders:
    """Two thread pools, one for short and one for long files, with half of `threads` each; by default one a core, at least two.

    Call `close` at the end.
    """

    def __init__(self, threads: int | None = None) -> None:
        pool_size = max(2, os.cpu_count() or 1) if threads is None else max(1, threads // 2)
        self._short = ThreadPoolExecutor(pool_size, thread_name_prefix="antiphon-decode")
        self._long = ThreadPoolExecutor(pool_size, thread_name_prefix="antiphon-decode-long")

    async def decode(self, file: BinaryIO, *, max_seconds: float) -> Waveform:
        """Decode `file` with `audio.decode`. When this returns or raises, cancelled or not, no thread reads `file` any more."""
        stop = Event()
        pool = self._long if file.seek(0, os.SEEK_END) > LONG_FILE_BYTES else self._short
        job = pool.submit(partial(decode, file, max_seconds=max_seconds, cancelled=stop.is_set))
        decoded = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(decoded)
        except asyncio.CancelledError:
            stop.set()
            if not job.cancel():  # it is running: the thread checks the flag at every packet
                await asyncio.wait((decoded,))
            raise

    def close(self) -> None:
        """Wait for the threads to end. Blocking."""
        for pool in (self._short, self._long):
            pool.shutdown(cancel_futures=True)
