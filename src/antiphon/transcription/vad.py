"""Where in a file somebody speaks, found out no further than it is asked: behind an energy gate, a stretch at a time.

It must not know windows' limits, units or text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from antiphon.transcription.energy import Energy, Span, stretches
from antiphon.transcription.silero import FRAME, Detectors
from antiphon.types.audio import SAMPLE_RATE, Waveform
from antiphon.types.options import VadOptions

BELOW_ONSET = 0.15  # by how much less a frame's probability may be while speech lasts
LEAST_SPEECH = 3  # frames of 32 ms in the shortest speech, 96 ms
LEAST_PAUSE = 0.16  # seconds without speech that a window may end in
# Frames looked at in one go, 1 s, each time from a fresh start a warm-up earlier: what is found does not depend on what
# else was asked. On espeak-ng's voices 99 frames in 100 are judged as in one pass from the file's beginning.
BLOCK = 32
WARM_UP = 8


class Voice:
    """Where `samples` hold speech. All places are samples of the file. Not for two threads at once."""

    def __init__(self, samples: Waveform, loudness: Energy, detectors: Detectors, options: VadOptions) -> None:
        self._samples = samples
        self._loudness = loudness
        self._detectors = detectors
        self._onset = options.threshold
        self._offset = max(0.01, options.threshold - BELOW_ONSET)
        self._least_pause = LEAST_PAUSE if options.silence is None else options.silence
        self._total = len(samples)
        self._frames = -(-self._total // FRAME)
        self._probabilities = np.zeros(self._frames, np.float32)
        self._known = np.zeros(-(-self._frames // BLOCK), np.bool_)

    @property
    def seconds_looked_at(self) -> float:
        """How much of the file was given to the detector or needed none."""
        return min(self._total, int(np.count_nonzero(self._known)) * BLOCK * FRAME) / SAMPLE_RATE

    def next_speech(self, start: int, end: int | None = None) -> int:
        """The first sample of [start, end) that is speech, or `end`, which is the file's unless given."""
        end = self._total if end is None else end
        return next((stretch.start for stretch in self._speech(start, end)), end)

    def seconds(self, start: int, end: int, enough: float = math.inf, *, padding: int = 0) -> float:
        """Seconds of speech in [start, end), each stretch longer by `padding` samples at either end.

        Looks no further once there are `enough`.
        """
        found = 0.0
        reached = start
        for stretch in self._speech(max(0, start - padding), min(end + padding, self._total)):
            begin, reached = max(reached, stretch.start - padding), max(reached, min(stretch.end + padding, end))
            found += max(0, reached - begin) / SAMPLE_RATE
            if found >= enough:
                break
        return found

    def pauses(self, start: int, end: int) -> list[Span]:
        """Every stretch of [start, end) without speech that is long enough, in order; the two ends count as speech."""
        pauses: list[Span] = []
        reached = start
        for stretch in [*self._speech(start, end), Span(end, end)]:
            if stretch.start - reached >= self._least_pause * SAMPLE_RATE:
                pauses.append(Span(reached, stretch.start))
            reached = stretch.end
        return pauses

    def long_pause(self, start: int, end: int, least: int) -> Span | None:
        """The first stretch of more than `least` samples in [start, end) without speech; looks twice in so many."""
        half = least // 2
        at = start
        while at < end:
            speech = self.next_speech(at, end)
            if speech - at >= half:
                begin = max(
                    (each.end for each in self._speech(max(start, at - half), at)), default=max(start, at - half)
                )
                if speech - begin > least:
                    return Span(begin, speech)
            at = max(at + half, speech)
        return None

    def share(self) -> float:
        """Of the whole file, how much is speech: all of it is looked at."""
        return self.seconds(0, self._total) * SAMPLE_RATE / max(1, self._total)

    def _speech(self, start: int, end: int) -> Iterator[Span]:
        """Speech inside [start, end), as it comes, block by block; a stretch over a border comes in two parts."""
        first, last = start // FRAME, min(-(-end // FRAME), self._frames)
        while first < last:
            block = first // BLOCK
            upto = min((block + 1) * BLOCK, last)
            # The neighbours tell whether what touches a border is long enough.
            lead = max(0, min(block * BLOCK, first - LEAST_SPEECH))
            self._look(lead // BLOCK)
            self._look(block)
            spoken = self._spoken(lead, upto)
            if upto < self._frames and spoken.open_end:
                self._look(upto // BLOCK)
                spoken = self._spoken(lead, min(upto + LEAST_SPEECH, self._frames))
            for begin, stop in spoken.within(first, upto):
                yield Span(max(start, begin * FRAME), min(end, stop * FRAME))
            first = upto

    def _spoken(self, first: int, last: int) -> _Spoken:
        return _Spoken(first, self._probabilities[first:last], self._onset, self._offset)

    def _look(self, block: int) -> None:
        if self._known[block]:
            return
        self._known[block] = True
        first, last = block * BLOCK, min((block + 1) * BLOCK, self._frames)
        if self._loudness.dead(first * FRAME, min(last * FRAME, self._total)):
            return  # the detector is not asked about dead air
        warm = max(0, first - WARM_UP)
        with self._detectors.borrow() as detector:
            heard = detector.probabilities(self._samples[warm * FRAME : last * FRAME])
        self._probabilities[first:last] = heard[first - warm :]


class _Spoken:
    """The stretches of a few blocks in which somebody speaks."""

    def __init__(self, first: int, probabilities: NDArray[np.float32], onset: float, offset: float) -> None:
        lasting = probabilities >= offset
        self.open_end = bool(len(lasting)) and bool(lasting[-1])
        self._stretches = [
            (first + begin, first + end)
            for begin, end in stretches(lasting)
            if end - begin >= LEAST_SPEECH and np.any(probabilities[begin:end] >= onset)
        ]

    def within(self, first: int, last: int) -> list[tuple[int, int]]:
        clipped = [(max(first, begin), min(last, end)) for begin, end in self._stretches]
        return [(begin, end) for begin, end in clipped if begin < end]
