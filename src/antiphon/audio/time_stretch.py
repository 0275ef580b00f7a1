"""Change the speed of speech without changing its pitch, block by block."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.error import BlockingIOError as NothingReady
from av.error import EOFError as NothingLeft
from av.filter import Graph

from antiphon.types.audio import Samples
from antiphon.types.options import MAX_SPEED, MIN_SPEED


class TimeStretcher:
    """A stream of samples at `rate`, played `speed` times as fast: call `push` any number of times, then `finish`.

    The result does not depend on the block sizes, and its length is the input's over `speed`, rounded. At speed 1 samples
    pass through unchanged; otherwise 0.1 s are held back, and up to 0.33 s at speeds near 4.
    """

    def __init__(self, rate: int, speed: float) -> None:
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise ValueError(f"The speed must be from {MIN_SPEED:g} to {MAX_SPEED:g}, not {speed:g}.")
        self._speed = speed
        self._filter = None if speed == 1.0 else _Tempo(rate, speed)
        self._block = rate // 50  # samples; the filter's result depends slightly on the block size
        self._tail = rate // 2  # samples of silence after the end: the filter does not return all that it holds
        self._pending: Samples = np.empty(0, np.float32)
        self._received = 0
        self._returned = 0

    def push(self, samples: Samples) -> Samples:
        """Add samples and return the stretched ones that are ready."""
        if self._filter is None:
            return samples
        self._received += len(samples)
        pending = np.concatenate([self._pending, samples])
        whole = len(pending) - len(pending) % self._block
        self._pending = pending[whole:]
        ready = [self._filter.push(pending[start : start + self._block]) for start in range(0, whole, self._block)]
        stretched = np.concatenate([np.empty(0, np.float32), *ready])
        self._returned += len(stretched)
        return stretched

    def finish(self) -> Samples:
        """Return the samples held back. Nothing can be pushed afterwards."""
        if self._filter is None:
            return np.empty(0, np.float32)
        left = round(self._received / self._speed) - self._returned
        stretched = np.concatenate([self.push(np.zeros(self._tail, np.float32)), self._filter.finish()])
        return stretched[:left]


class _Tempo:
    """FFmpeg's `atempo`, chained where one alone would skip samples (above 2) or is not allowed (below 0.5)."""

    def __init__(self, rate: int, speed: float) -> None:
        self._rate = rate
        self._position = 0
        self._graph = Graph()
        self._source = self._graph.add_abuffer(
            sample_rate=rate, format="flt", layout="mono", time_base=Fraction(1, rate)
        )
        steps = math.ceil(abs(math.log2(speed)))
        filters = [self._graph.add("atempo", repr(speed ** (1 / steps))) for _ in range(steps)]
        self._sink = self._graph.add("abuffersink")
        self._graph.link_nodes(self._source, *filters, self._sink).configure()

    def push(self, block: Samples) -> Samples:
        frame = AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._position
        self._position += len(block)
        self._source.push(frame)
        return self._ready()

    def finish(self) -> Samples:
        self._source.push(None)
        return self._ready()

    def _ready(self) -> Samples:
        blocks = [np.empty(0, np.float32)]
        while True:
            try:
                frame = self._sink.pull()
            except (NothingReady, NothingLeft):
                return np.concatenate(blocks)
            assert isinstance(frame, AudioFrame)  # filter graphs can also produce video frames
            blocks.append(frame.to_ndarray()[0])
