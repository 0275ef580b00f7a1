"""Decoded samples as they come in: in memory while they are few, in a temporary file once they are many; and parts of them.

It must not know containers, models or requests.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from typing import IO

import numpy as np

from antiphon.errors import Unavailable
from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform

# Samples; ten minutes, 38 MB. What is shorter stays in memory, where it costs no more than a few windows do.
MOST_IN_MEMORY = 600 * SAMPLE_RATE

_RETRY_AFTER = 60.0  # seconds; a full disk is not emptied by waiting a moment
_BYTES = np.dtype(np.float32).itemsize


class SampleStore:
    """Takes blocks of mono float32, then hands out any stretch of them. Appended to by one thread, read by any.

    The file has no name, and is gone with the last who holds the spool.
    """

    def __init__(self, most_in_memory: int = MOST_IN_MEMORY) -> None:
        self._most = most_in_memory
        self._buffer = bytearray()  # grows in place: a list of blocks would need the memory twice
        self._file: IO[bytes] | None = None
        self._count = 0

    def append(self, block: Samples) -> None:
        """Raises Unavailable if there is no room for it on the disk."""
        self._buffer += block.tobytes()
        self._count += len(block)
        if len(self._buffer) > self._most * _BYTES or (self._file is not None and len(self._buffer) >= 1 << 20):
            self._write()

    def finished(self) -> Waveform:
        """What was appended: an array if it is in memory. Nothing may be appended afterwards."""
        if self._file is None:
            return np.frombuffer(self._buffer, np.float32)
        self._write()
        return self

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, stretch: slice) -> Samples:
        """The samples of a stretch without a step: an array over the file, which is in memory only where it was looked at.

        Windows that wait cost nothing so, and those that were heard leave no hole in the heap: with arrays of their own
        the heap of an hour's file grew by 100 MB.
        """
        first, last, step = stretch.indices(self._count)
        if step != 1:
            raise ValueError(f"a stretch has no step, not {step}")
        assert self._file is not None, "what is in memory is handed out as an array"
        if last <= first:
            return np.empty(0, np.float32)
        ahead = first * _BYTES % mmap.ALLOCATIONGRANULARITY  # where a mapping may begin is not up to us
        start = first * _BYTES - ahead
        mapped = mmap.mmap(self._file.fileno(), last * _BYTES - start, access=mmap.ACCESS_READ, offset=start)
        return np.frombuffer(mapped, np.float32, offset=ahead)  # the array holds the mapping

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="antiphon-")  # noqa: SIM115  closed with the spool
                weakref.finalize(self, self._file.close)
            self._file.write(self._buffer)
            self._file.flush()
        except OSError as error:
            raise Unavailable(
                f"There is no room for the decoded audio in {tempfile.gettempdir()} ({error.strerror}): make some, or set "
                "TMPDIR to a folder that has it.",
                retry_after=_RETRY_AFTER,
            ) from error
        self._buffer.clear()


class Stretch:
    """Part of a waveform, read each time it is asked for: windows that wait, or were heard, hold no samples."""

    def __init__(self, whole: Waveform, start: int, end: int) -> None:
        self._whole = whole
        self._start = start
        self._count = end - start

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, stretch: slice) -> Samples:
        """The samples of a stretch without a step."""
        first, last, step = stretch.indices(self._count)
        if step != 1:
            raise ValueError(f"a stretch has no step, not {step}")
        return self._whole[self._start + first : self._start + max(first, last)]
