"""Storage for decoded samples: in memory while they are few, in a temporary file once they are many."""

from __future__ import annotations

import logging
import mmap
import tempfile
import weakref
from typing import IO

import numpy as np

from antiphon.errors import Unavailable
from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform

logger = logging.getLogger(__name__)

MAX_SAMPLES_IN_MEMORY = 600 * SAMPLE_RATE  # ten minutes, 38 MB

_RETRY_AFTER_S = 60.0  # a full disk takes a while to be cleared
_WRITE_BYTES = 1 << 20  # collected before they are written to the file
_SAMPLE_BYTES = np.dtype(np.float32).itemsize


class SampleStore:
    """Collects blocks of mono float32 and returns any slice of them. Append from one thread, read from any.

    The file has no name, so it is deleted when the last reference to the store is gone.
    """

    def __init__(self, max_in_memory: int = MAX_SAMPLES_IN_MEMORY) -> None:
        self._max_in_memory = max_in_memory
        self._buffer = bytearray()  # grows in place: a list of blocks would need the memory twice
        self._file: IO[bytes] | None = None
        self._count = 0

    def append(self, block: Samples) -> None:
        """Raise Unavailable if the disk is full."""
        self._buffer += block.tobytes()
        self._count += len(block)
        limit = _WRITE_BYTES if self._file is not None else self._max_in_memory * _SAMPLE_BYTES
        if len(self._buffer) > limit:
            self._write()

    def finished(self) -> Waveform:
        """The samples: an array if they are in memory, else the store itself. Nothing may be appended afterwards."""
        if self._file is None:
            return np.frombuffer(self._buffer, np.float32)
        self._write()
        return self

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> Samples:
        """The samples of a slice without a step, as an array mapped onto the file.

        Mapped, queued windows cost no memory and finished ones do not fragment the heap: with arrays of their own the heap
        grew by 100 MB over an hour of audio.
        """
        first, last = _bounds(part, self._count)
        assert self._file is not None, "samples in memory are returned as an array"
        if last <= first:
            return np.empty(0, np.float32)
        skipped = first * _SAMPLE_BYTES % mmap.ALLOCATIONGRANULARITY  # a mapping has to start on a page
        start = first * _SAMPLE_BYTES - skipped
        mapped = mmap.mmap(self._file.fileno(), last * _SAMPLE_BYTES - start, access=mmap.ACCESS_READ, offset=start)
        return np.frombuffer(mapped, np.float32, offset=skipped)  # the array keeps the mapping alive

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="antiphon-")  # noqa: SIM115  closed by the finalizer
                weakref.finalize(self, self._file.close)
            self._file.write(self._buffer)
            self._file.flush()
        except OSError as error:
            raise storage_error(error) from error
        self._buffer.clear()


class SampleSlice:
    """A part of a waveform, read each time it is sliced, so that queued and finished windows hold no samples."""

    def __init__(self, whole: Waveform, start: int, end: int) -> None:
        self._whole = whole
        self._start = start
        self._count = end - start

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> Samples:
        """The samples of a slice without a step."""
        first, last = _bounds(part, self._count)
        return self._whole[self._start + first : self._start + max(first, last)]


def storage_error(error: OSError) -> Unavailable:
    """What a caller gets if a temporary file cannot be written. The log has the reason and the folder."""
    # gettempdir() may raise: it looks for a folder that can be written.
    logger.error(
        "Temporary files in %s cannot be written (%s): free some space, or set TMPDIR to a folder with more.",
        tempfile.tempdir or "the temporary folder",
        error.strerror or error,
    )
    return Unavailable("There is no room for the audio on this machine at the moment.", retry_after=_RETRY_AFTER_S)


def _bounds(part: slice, count: int) -> tuple[int, int]:
    first, last, step = part.indices(count)
    if step != 1:
        raise ValueError(f"A slice of samples cannot have a step of {step}.")
    return first, last
