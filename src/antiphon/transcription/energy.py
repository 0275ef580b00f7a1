"""How loud every 10 ms of a file is, and the pauses in it, judged against its own noise and its own speech.

Pure arithmetic on samples; it must not know windows, models or text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from antiphon.types.audio import SAMPLE_RATE, Waveform

HOP = SAMPLE_RATE // 100  # samples between frames: 10 ms; a frame is three hops long, centred on its own
DEAD_LEVEL = -70.0  # dBFS below which nothing is ever heard
FLOOR_LEVEL = -120.0  # dBFS given to digital silence
ABOVE_NOISE = 6.0  # dB a pause may lie above the noise floor (10th percentile)
BELOW_SPEECH = 20.0  # dB a pause must lie below the loud frames (95th percentile), so that steady noise has none
# Frames in the shortest pause, Silero's 98 ms: a silence of 10 hops has 8 frames that reach no sound on either side.
PAUSE_FRAMES = 8
LIVELY = 15.0  # dB above the noise floor: what reaches it is no steady noise
_BLOCK = 60 * SAMPLE_RATE  # samples looked at in one go, a whole number of hops: a long file is not all in memory


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file, in samples: a pause, speech, or what is decoded as one or as a chain."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Energy:
    """The level of every 10 ms of a file. `levels` is dBFS, shape = (frames,); below `threshold` a frame is a pause."""

    levels: NDArray[np.float32]
    threshold: float
    total: int

    @cached_property
    def pauses(self) -> tuple[Span, ...]:
        """Every pause of 98 ms or more, in order."""
        return tuple(
            Span(start * HOP, min(end * HOP, self.total))
            for start, end in stretches(self.levels < self.threshold)
            if end - start >= PAUSE_FRAMES
        )

    def between(self, start: int, end: int) -> tuple[Span, ...]:
        """The pauses that reach into [start, end), whole."""
        first = bisect_right(self.pauses, start, key=lambda pause: pause.end)
        return self.pauses[first : max(first, bisect_left(self.pauses, end, key=lambda pause: pause.start))]

    @cached_property
    def sounding(self) -> NDArray[np.intp]:
        """The frames that are not dead air."""
        return np.flatnonzero(self.levels >= DEAD_LEVEL)

    @cached_property
    def lively(self) -> float:
        """The share of all frames that stand 15 dB and more above the noise floor (10th percentile of what is not dead)."""
        if not len(self.sounding):
            return 0.0
        floor = float(np.percentile(self.levels[self.sounding], 10.0))
        return float(np.count_nonzero(self.levels >= floor + LIVELY)) / len(self.levels)

    def sounding_seconds(self, start: int, end: int) -> float:
        """Seconds of [start, end) that are not dead air."""
        first, last = np.searchsorted(self.sounding, (start // HOP, -(-end // HOP)))
        return float(last - first) * HOP / SAMPLE_RATE

    def speech_seconds(self, start: int, end: int) -> float:
        """Seconds of [start, end) loud enough to be speech."""
        loud = np.count_nonzero(self.levels[_frames(start, end)] >= self.threshold)
        return float(loud) * HOP / SAMPLE_RATE

    def dead(self, start: int, end: int) -> bool:
        """True if every frame of [start, end) is below -70 dBFS."""
        return not bool(np.any(self.levels[_frames(start, end)] >= DEAD_LEVEL))

    def next_sound(self, start: int) -> int:
        """The first sample at or after `start` in a frame that is not dead, or the end of the file."""
        at = int(np.searchsorted(self.sounding, start // HOP))
        return max(start, int(self.sounding[at]) * HOP) if at < len(self.sounding) else self.total


def measure(samples: Waveform) -> Energy:
    """The loudness of a whole file: its pauses are judged against its own noise and its own speech."""
    total = len(samples)
    frames = -(-total // HOP)
    energy, counts = np.zeros(frames), np.full(frames, float(HOP))
    for first in range(0, total, _BLOCK):
        block = samples[first : first + _BLOCK]
        whole = len(block) // HOP
        hops = block[: whole * HOP].reshape(whole, HOP)
        at = first // HOP
        energy[at : at + whole] = np.einsum("ij,ij->i", hops, hops, dtype=np.float64)
        if rest := len(block) - whole * HOP:  # the file's very end
            tail = block[whole * HOP :].astype(np.float64)
            energy[at + whole], counts[at + whole] = tail @ tail, rest
    power = _three(energy) / np.maximum(_three(counts), 1.0)
    levels = (10.0 * np.log10(np.maximum(power, 10.0 ** (FLOOR_LEVEL / 10.0)))).astype(np.float32)
    # Digital silence says nothing of the noise that speech stands in: a tenth of it would hide every pause.
    alive = levels[levels >= DEAD_LEVEL]
    if not len(alive):
        return Energy(levels, DEAD_LEVEL, total)
    quiet, loud = np.percentile(alive, [10.0, 95.0])
    return Energy(levels, max(DEAD_LEVEL, min(float(quiet) + ABOVE_NOISE, float(loud) - BELOW_SPEECH)), total)


def _frames(start: int, end: int) -> slice:
    """The frames centred in [start, end), half a hop at either end counting as in."""
    return slice(start // HOP, max(start // HOP, -(-end // HOP)))


def _three(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value plus its two neighbours, as far as there are any."""
    summed = values.copy()
    summed[1:] += values[:-1]
    summed[:-1] += values[1:]
    return summed


def stretches(flags: NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    """The [start, end) of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
