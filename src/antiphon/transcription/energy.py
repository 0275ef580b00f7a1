"""The signal level of every 10 ms of a file, and its pauses, relative to the file's own noise floor and speech level."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from antiphon.types.audio import SAMPLE_RATE, Waveform

HOP_SAMPLES = SAMPLE_RATE // 100  # 10 ms between frames; a frame is three hops long, centred on its own hop
DEAD_AIR_DBFS = -70.0  # below this there is nothing to transcribe
FLOOR_DBFS = -120.0  # the level of digital silence
MAX_PAUSE_ABOVE_NOISE_DB = 6.0  # over the noise floor, the 10th percentile
MIN_PAUSE_BELOW_SPEECH_DB = 20.0  # under the loud frames, the 95th percentile; so steady noise has no pauses
# The shortest pause, Silero's 98 ms: of a silence of 10 hops, 8 frames touch no sound on either side.
MIN_PAUSE_FRAMES = 8
DYNAMIC_ABOVE_NOISE_DB = 15.0  # frames this far over the noise floor are not steady noise
_BLOCK_SAMPLES = 60 * SAMPLE_RATE  # processed at a time, a whole number of hops, so a long file is never all in memory


@dataclass(frozen=True, slots=True)
class Span:
    """A range of samples in a file: a pause, speech, or a chunk."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Energy:
    """The levels of a file's frames in dBFS, shape (frames,); a frame below `threshold` is part of a pause.

    `total` is the length of the file in samples.
    """

    levels: NDArray[np.float32]
    threshold: float
    total: int

    @cached_property
    def pauses(self) -> tuple[Span, ...]:
        """The pauses of 98 ms or more, in order."""
        return tuple(
            Span(start * HOP_SAMPLES, min(end * HOP_SAMPLES, self.total))
            for start, end in true_spans(self.levels < self.threshold)
            if end - start >= MIN_PAUSE_FRAMES
        )

    def pauses_in(self, start: int, end: int) -> tuple[Span, ...]:
        """The pauses that overlap [start, end), at their full length."""
        first = bisect_right(self.pauses, start, key=lambda pause: pause.end)
        return self.pauses[first : max(first, bisect_left(self.pauses, end, key=lambda pause: pause.start))]

    @cached_property
    def audible(self) -> NDArray[np.intp]:
        """The indices of the frames that are not dead air."""
        return np.flatnonzero(self.levels >= DEAD_AIR_DBFS)

    @cached_property
    def dynamic_share(self) -> float:
        """The share of all frames at least 15 dB over the noise floor (10th percentile of the audible frames)."""
        if not len(self.audible):
            return 0.0
        floor = float(np.percentile(self.levels[self.audible], 10.0))
        return float(np.count_nonzero(self.levels >= floor + DYNAMIC_ABOVE_NOISE_DB)) / len(self.levels)

    def audible_seconds(self, start: int, end: int) -> float:
        """Seconds of [start, end) that are not dead air."""
        first, last = np.searchsorted(self.audible, (start // HOP_SAMPLES, -(-end // HOP_SAMPLES)))
        return float(last - first) * HOP_SAMPLES / SAMPLE_RATE

    def loud_seconds(self, start: int, end: int) -> float:
        """Seconds of [start, end) loud enough to be speech."""
        loud = np.count_nonzero(self.levels[_frames(start, end)] >= self.threshold)
        return float(loud) * HOP_SAMPLES / SAMPLE_RATE

    def is_dead(self, start: int, end: int) -> bool:
        """True if every frame of [start, end) is below -70 dBFS."""
        return not bool(np.any(self.levels[_frames(start, end)] >= DEAD_AIR_DBFS))

    def next_audible(self, start: int) -> int:
        """The first sample at or after `start` in a frame that is not dead air, or the end of the file."""
        at = int(np.searchsorted(self.audible, start // HOP_SAMPLES))
        return max(start, int(self.audible[at]) * HOP_SAMPLES) if at < len(self.audible) else self.total


def measure(samples: Waveform) -> Energy:
    """The energy of a whole file, with its pause threshold."""
    total = len(samples)
    frames = -(-total // HOP_SAMPLES)
    energy, counts = np.zeros(frames), np.full(frames, float(HOP_SAMPLES))
    for first in range(0, total, _BLOCK_SAMPLES):
        block = samples[first : first + _BLOCK_SAMPLES]
        whole = len(block) // HOP_SAMPLES
        hops = block[: whole * HOP_SAMPLES].reshape(whole, HOP_SAMPLES)
        at = first // HOP_SAMPLES
        energy[at : at + whole] = np.einsum("ij,ij->i", hops, hops, dtype=np.float64)
        if rest := len(block) - whole * HOP_SAMPLES:  # a partial hop at the end of the file
            tail = block[whole * HOP_SAMPLES :].astype(np.float64)
            energy[at + whole], counts[at + whole] = tail @ tail, rest
    power = _sum_of_three(energy) / np.maximum(_sum_of_three(counts), 1.0)
    levels = (10.0 * np.log10(np.maximum(power, 10.0 ** (FLOOR_DBFS / 10.0)))).astype(np.float32)
    # Digital silence is left out of the percentiles: if a tenth of a file were digital silence, it would set the noise floor,
    # and no pause in real background noise would be found.
    audible = levels[levels >= DEAD_AIR_DBFS]
    if not len(audible):
        return Energy(levels, DEAD_AIR_DBFS, total)
    quiet, loud = np.percentile(audible, [10.0, 95.0])
    threshold = min(float(quiet) + MAX_PAUSE_ABOVE_NOISE_DB, float(loud) - MIN_PAUSE_BELOW_SPEECH_DB)
    return Energy(levels, max(DEAD_AIR_DBFS, threshold), total)


def true_spans(flags: NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    """The [start, end) of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _frames(start: int, end: int) -> slice:
    """The frames of the hops that overlap [start, end)."""
    return slice(start // HOP_SAMPLES, max(start // HOP_SAMPLES, -(-end // HOP_SAMPLES)))


def _sum_of_three(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value plus its neighbours."""
    summed = values.copy()
    summed[1:] += values[:-1]
    summed[:-1] += values[1:]
    return summed
