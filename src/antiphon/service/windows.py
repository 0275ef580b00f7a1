"""Where a file may be cut: loudness by frames, the pauses in it, and runs whose two ends are safe.

Pure arithmetic on samples; it must not know models, units or text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from antiphon.types import SAMPLE_RATE, WINDOW_SAMPLES, Waveform

HOP = SAMPLE_RATE // 100  # samples between frames: 10 ms; a frame is three hops long, centred on its own
DEAD_LEVEL = -70.0  # dBFS below which nothing is ever heard
FLOOR_LEVEL = -120.0  # dBFS given to digital silence
ABOVE_NOISE = 6.0  # dB a pause may lie above the noise floor (10th percentile)
BELOW_SPEECH = 20.0  # dB a pause must lie below the loud frames (95th percentile), so that steady noise has none
# Frames in the shortest pause, Silero's 98 ms: a silence of 10 hops has 8 frames that reach no sound on either side.
PAUSE_FRAMES = 8
REACH = 10 * SAMPLE_RATE  # samples before the limit in which the longest pause is chosen
EARLIEST_CUT = 5 * SAMPLE_RATE  # samples; a cut before it would buy a whole encoder pass for little audio
DEAD_GAP = SAMPLE_RATE  # samples of dead air at the start of a run worth skipping in a long file
DEAD_MARGIN = SAMPLE_RATE // 2  # samples of dead air kept before sound
_BLOCK = 60 * SAMPLE_RATE  # samples looked at in one go, a whole number of hops: a long file is not all in memory
HARD_RUN_TAIL = SAMPLE_RATE // 2  # samples of the pause that a run without earlier ones takes in at most


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of samples whose two ends are soft: an end of the file, or inside a pause."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Loudness:
    """The level of every 10 ms of a file. `levels` is dBFS, shape = (frames,); below `threshold` a frame is a pause."""

    levels: NDArray[np.float32]
    threshold: float
    total: int

    @cached_property
    def pauses(self) -> tuple[Run, ...]:
        """Every pause of 98 ms or more, in order."""
        stretches = _stretches(self.levels < self.threshold)
        return tuple(
            Run(int(start) * HOP, min(int(end) * HOP, self.total))
            for start, end in stretches
            if end - start >= PAUSE_FRAMES
        )

    @cached_property
    def sounding(self) -> NDArray[np.intp]:
        """The frames that are not dead air."""
        return np.flatnonzero(self.levels >= DEAD_LEVEL)

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


def measure(samples: Waveform) -> Loudness:
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
        return Loudness(levels, DEAD_LEVEL, total)
    quiet, loud = np.percentile(alive, [10.0, 95.0])
    return Loudness(levels, max(DEAD_LEVEL, min(float(quiet) + ABOVE_NOISE, float(loud) - BELOW_SPEECH)), total)


def plan(loudness: Loudness, window: int = WINDOW_SAMPLES) -> tuple[Run, ...]:
    """Runs in file order that hold every frame above -70 dBFS exactly once. Only dead air is left out, never spliced.

    A run of at most `window` samples is one window; a longer one has no pause in reach and is decoded as a chain.
    """
    runs: list[Run] = []
    position = 0
    while position < loudness.total:
        if loudness.total > window and (sound := loudness.next_sound(position)) - position > DEAD_GAP:
            position = sound - DEAD_MARGIN if sound < loudness.total else sound
            continue
        end = _run_end(loudness, position, window)
        if not loudness.dead(position, end):
            runs.append(Run(position, end))
        position = end
    return tuple(runs)


def _run_end(loudness: Loudness, start: int, window: int) -> int:
    limit = start + window
    if limit >= loudness.total:
        return loudness.total
    pauses = loudness.pauses
    first = bisect_right(pauses, start, key=lambda pause: pause.end)
    beyond = bisect_left(pauses, limit, key=lambda pause: pause.start)
    reachable = [Run(max(pause.start, start), min(pause.end, limit)) for pause in pauses[first:beyond]]
    late = [pause for pause in reachable if _middle(pause) >= limit - REACH]
    if late:
        return _middle(max(late, key=lambda pause: (pause.end - pause.start, pause.start)))
    early = [pause for pause in reachable if _middle(pause) >= start + EARLIEST_CUT]
    if early:
        return _middle(early[-1])
    if beyond == len(pauses):
        return loudness.total
    pause = pauses[beyond]
    return min(_middle(pause), pause.start + HARD_RUN_TAIL)


def _middle(pause: Run) -> int:
    return (pause.start + pause.end) // 2


def _frames(start: int, end: int) -> slice:
    """The frames centred in [start, end), half a hop at either end counting as in."""
    return slice(start // HOP, max(start // HOP, -(-end // HOP)))


def _three(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value plus its two neighbours, as far as there are any."""
    summed = values.copy()
    summed[1:] += values[:-1]
    summed[:-1] += values[1:]
    return summed


def _stretches(flags: NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    """The [start, end) of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
