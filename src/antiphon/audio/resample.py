"""Mono blocks at any rate become mono blocks at 16 kHz, with no seam between blocks.

It knows rates and samples; it must not know containers, files or requests.
"""

from __future__ import annotations

import numpy as np
import soxr

from antiphon.types.audio import SAMPLE_RATE, Samples


class Resampler:
    """A stream of blocks at one rate after another (a chained ogg may change it); what comes out is 16 kHz."""

    def __init__(self) -> None:
        self._rate = SAMPLE_RATE
        self._stream: soxr.ResampleStream | None = None

    def feed(self, block: Samples, rate: int) -> Samples:
        """The 16 kHz samples that are ready once `block` has been heard."""
        if rate == self._rate:
            return self._convert(block)
        rest = self.flush()
        self._rate = rate
        self._stream = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        return np.concatenate([rest, self._convert(block)])

    def flush(self) -> Samples:
        """What the filter still holds back; nothing may be fed at this rate afterwards."""
        if self._stream is None:
            return np.empty(0, np.float32)
        return np.asarray(self._stream.resample_chunk(np.empty(0, np.float32), last=True), dtype=np.float32)

    def _convert(self, block: Samples) -> Samples:
        if self._stream is None:
            return block
        return np.asarray(self._stream.resample_chunk(block), dtype=np.float32)
