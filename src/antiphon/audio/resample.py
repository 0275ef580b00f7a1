"""Resample mono blocks of any rate to 16 kHz, without discontinuities between blocks."""

from __future__ import annotations

import numpy as np
import soxr

from antiphon.types.audio import SAMPLE_RATE, Samples


class Resampler:
    """Resamples a stream of blocks to 16 kHz. The rate may change between blocks, as in a chained ogg file."""

    def __init__(self) -> None:
        self._rate = SAMPLE_RATE
        self._stream: soxr.ResampleStream | None = None

    def feed(self, block: Samples, rate: int) -> Samples:
        """Add a block and return the 16 kHz samples that are ready."""
        if rate == self._rate:
            return self._convert(block)
        rest = self.flush()
        self._rate = rate
        self._stream = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        return np.concatenate([rest, self._convert(block)])

    def flush(self) -> Samples:
        """Return the samples the filter holds back. Nothing may be fed at this rate afterwards."""
        if self._stream is None:
            return np.empty(0, np.float32)
        return np.asarray(self._stream.resample_chunk(np.empty(0, np.float32), last=True), dtype=np.float32)

    def _convert(self, block: Samples) -> Samples:
        if self._stream is None:
            return block
        return np.asarray(self._stream.resample_chunk(block), dtype=np.float32)
